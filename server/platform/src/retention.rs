//! How long log entries are kept: the server's usual, or what an app's production environment sets.

use std::collections::BTreeMap;
use std::time::Duration;

use flukedeploy_domain::app::LogSettings;
use time::OffsetDateTime;

use crate::config::LogsConfig;
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{Keep, Retention};

/// Between two rounds when no setting changes.
const EVERY: Duration = Duration::from_mins(1);
/// How often it asks whether a setting has changed; reading a number in memory.
const LOOK: Duration = Duration::from_millis(500);

/// Ends when the platform stops.
pub(crate) async fn run(px: Platform) {
    let mut seen = None;
    let mut applied: Option<BTreeMap<String, LogSettings>> = None;
    let mut rounds_until = tokio::time::Instant::now();
    loop {
        let changes = px.parts().store.changes();
        let is_due = tokio::time::Instant::now() >= rounds_until;
        if is_due || seen != Some(changes) {
            match settings(&px).await {
                Ok(now) if is_due || applied.as_ref() != Some(&now) => {
                    rounds_until = tokio::time::Instant::now() + EVERY;
                    if let Err(error) = apply(&px, &now).await {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "log entries were not expired"
                        );
                    }
                    (seen, applied) = (Some(changes), Some(now));
                }
                Ok(_) => seen = Some(changes),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "how long log entries are kept could not be read"
                ),
            }
        }
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Of each app whose settings are not the usual.
async fn settings(px: &Platform) -> Result<BTreeMap<String, LogSettings>, Error> {
    let environments = px.parts().store.environments().await?;
    let production = environments.into_iter().filter(|environment| {
        let logs = &environment.settings.logs;
        environment.name.is_production() && (logs.retain_days.is_some() || logs.retain_mb.is_some())
    });
    Ok(production
        .map(|environment| (environment.app.to_string(), environment.settings.logs))
        .collect())
}

/// One round now; returns how many lines went.
pub(crate) async fn expire_now(px: &Platform) -> Result<u64, Error> {
    let settings = settings(px).await?;
    apply(px, &settings).await
}

async fn apply(px: &Platform, settings: &BTreeMap<String, LogSettings>) -> Result<u64, Error> {
    let (usual, now) = (px.config().logs, px.now());
    let forwarders = px.parts().store.forwarders().await?;
    let retention = Retention {
        usual: keep(usual, &LogSettings::default(), now),
        apps: settings
            .iter()
            .map(|(app, settings)| (app.clone(), keep(usual, settings, now)))
            .collect(),
        unread_after: forwarders
            .iter()
            .map(|forwarder| forwarder.progress.cursor)
            .min(),
    };
    let lines = px.parts().log_store.expire(&retention).await?;
    if lines > 0 {
        tracing::info!(lines, "old log entries were removed");
    }
    Ok(lines)
}

fn keep(usual: LogsConfig, settings: &LogSettings, now: OffsetDateTime) -> Keep {
    let days = settings.retain_days.unwrap_or(usual.retain_days);
    let mb = settings.retain_mb.unwrap_or(usual.retain_mb);
    Keep {
        since: now - time::Duration::days(i64::from(days)),
        bytes: u64::from(mb) << 20,
    }
}
