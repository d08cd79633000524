//! Waiting for a condition, with a deadline: tests never sleep a fixed time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Looks until `look` has a value. An error of `look` ends the waiting at once.
pub async fn until<T, F, Fut>(what: &str, deadline: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = look().await? {
            return Ok(value);
        }
        if started.elapsed() > deadline {
            bail!("waited {} s in vain: {what}", deadline.as_secs());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
