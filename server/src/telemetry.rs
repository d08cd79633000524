//! The program's own log: lines on standard error, filtered by `FLUKEDEPLOY_LOG`.

use tracing_subscriber::EnvFilter;

/// `FLUKEDEPLOY_LOG` takes `error`, `warn`, `info`, `debug`, or `target=level` pairs.
pub(crate) fn start(default: &str) {
    let filter =
        EnvFilter::try_from_env("FLUKEDEPLOY_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // Started twice only in tests; the first one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
