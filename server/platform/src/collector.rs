//! Follows what the replicas print and makes entries of it.

use std::collections::HashMap;
use std::time::Duration;

use flukedeploy_domain::deployment::PhaseName;
use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogMetadata, LogSource, SourceType,
};
use futures_util::StreamExt as _;
use tokio::task::JoinHandle;

use crate::platform::Platform;
use crate::ports::{RawLine, ServiceState};
use crate::secret::random_u64;

/// Follows every release service of the instance. Ends when the platform stops.
pub(crate) async fn run(px: Platform) {
    let mut followers: HashMap<String, JoinHandle<()>> = HashMap::new();
    let mut changes = px.parts().fleet.changes();
    loop {
        if let Ok(services) = px.parts().engine.services().await {
            followers.retain(|name, follower| {
                let there = services.iter().any(|service| service.name == *name);
                there && !follower.is_finished()
            });
            for service in services {
                if !followers.contains_key(&service.name) {
                    let name = service.name.clone();
                    let handle = px.parts().tasks.spawn(follow(px.clone(), service));
                    followers.insert(name, handle);
                }
            }
        }
        tokio::select! {
            () = px.stopping().cancelled() => return,
            () = async {
                // A new service shows as a change of the fleet; look then, but not at each.
                tokio::time::sleep(Duration::from_millis(200)).await;
                let _ = tokio::time::timeout(Duration::from_secs(5), changes.changed()).await;
            } => {}
        }
    }
}

async fn follow(px: Platform, service: ServiceState) {
    let since = match px.parts().log_store.newest_of_service(&service.name).await {
        Ok(since) => since,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "log position could not be read"
            );
            None
        }
    };
    let labels = &service.labels;
    let app = labels
        .get("com.flukedeploy.app")
        .cloned()
        .unwrap_or_default();
    let release = labels
        .get("com.flukedeploy.release")
        .and_then(|number| number.parse().ok());
    let environment = labels.get("com.flukedeploy.environment").cloned();
    let deployment = labels.get("com.flukedeploy.deployment").cloned();
    let mut lines = px.parts().engine.follow_logs(&service.name, since);
    loop {
        let line = tokio::select! {
            () = px.stopping().cancelled() => return,
            line = lines.next() => line,
        };
        match line {
            Some(Ok(line)) => {
                let mut metadata = LogMetadata {
                    environment: environment.clone(),
                    release,
                    ..LogMetadata::new(EventType::PostDeploy, app.as_str())
                };
                // What a release prints while it is being deployed belongs to that story.
                if let Some(id) = &deployment
                    && px.parts().runner.was_running(id, line.at)
                {
                    metadata.deployment_id = Some(id.clone());
                    metadata.event_type = EventType::DeployStart;
                    metadata.phase = Some(PhaseName::Deploy);
                }
                px.parts()
                    .journal
                    .record(entry(&service.name, &app, line, metadata));
            }
            Some(Err(error)) => {
                tracing::debug!(error = %error, service = service.name, "following logs was interrupted");
                return;
            }
            None => return,
        }
    }
}

pub(crate) fn entry(service: &str, app: &str, line: RawLine, metadata: LogMetadata) -> LogEntry {
    let (level, message) = understand(&line.text);
    let source = LogSource {
        kind: SourceType::Container,
        container_name: app.to_owned(),
        service_id: Some(service.to_owned()),
        node_id: line.node_id,
        task_id: line.task_id,
        stream: Some(if line.stderr { "stderr" } else { "stdout" }.to_owned()),
    };
    LogEntry::new(line.at, random_u64(), level, message, source, metadata)
}

/// Level and message of a line: from JSON where the line is an object with the usual keys, else
/// from a level word among the first words.
fn understand(text: &str) -> (Level, String) {
    if text.starts_with('{')
        && let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(text)
    {
        let word = |keys: [&str; 3]| keys.iter().find_map(|key| fields.get(*key)?.as_str());
        if let Some(message) = word(["message", "msg", "text"]) {
            let level = word(["level", "severity", "lvl"])
                .and_then(level_word)
                .unwrap_or(Level::Info);
            return (level, message.to_owned());
        }
    }
    let level = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(8)
        .find_map(|word| {
            // Only words that stand out as a level: a sentence may hold "error" as any other word.
            let stands_out = word.chars().all(|c| c.is_ascii_uppercase());
            stands_out.then(|| level_word(word)).flatten()
        })
        .unwrap_or(Level::Info);
    (level, text.to_owned())
}

fn level_word(word: &str) -> Option<Level> {
    match word.to_ascii_lowercase().as_str() {
        "trace" | "debug" => Some(Level::Debug),
        "info" | "notice" => Some(Level::Info),
        "warn" | "warning" => Some(Level::Warn),
        "error" | "err" | "fatal" | "critical" | "crit" | "panic" => Some(Level::Error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_levels_and_messages() {
        let cases = [
            (
                r#"{"level":"warn","msg":"slow","ms":12}"#,
                Level::Warn,
                "slow",
            ),
            (
                "2026-01-01 ERROR cannot connect",
                Level::Error,
                "2026-01-01 ERROR cannot connect",
            ),
            ("no error at all", Level::Info, "no error at all"),
            ("{broken", Level::Info, "{broken"),
        ];
        for (line, level, message) in cases {
            assert_eq!(understand(line), (level, message.to_owned()), "{line}");
        }
    }
}
