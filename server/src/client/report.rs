//! A deployment in words: its phases while it goes on, and how it ended.

use std::fmt::Write as _;

use flukedeploy_domain::diagnosis::tame;
use serde_json::Value;

use super::exit::Exit;
use super::output::{self, Colour, Paint, line, list, text};

pub(crate) const PHASES: [&str; 5] = ["pre_build", "build", "pre_deploy", "deploy", "post_deploy"];

/// How it ended; `None` while it goes on.
pub(crate) fn ended(summary: &Value) -> Option<Exit> {
    match summary["status"].as_str()? {
        "success" => Some(Exit::Done),
        "failed" | "rolled_back" => Some(Exit::Failed),
        _ => None,
    }
}

/// `shop` in production, `shop/staging` elsewhere.
pub(crate) fn name(of: &Value) -> String {
    let app = text(&of["app_name"]);
    match of["environment"].as_str() {
        None | Some("production") => app,
        Some(environment) => format!("{app}/{environment}"),
    }
}

/// The first line about a deployment.
pub(crate) fn head(summary: &Value) -> String {
    let act = text(&summary["act"]);
    let id = text(&summary["deployment_id"]);
    tame(&format!("{}  {act}  {id}", name(summary)), 200)
}

/// One line for a phase: how it is, and how long it took.
pub(crate) fn phase(summary: &Value, phase: &str, paint: Paint) -> String {
    let own = &summary["phases"][phase];
    let status = own["status"].as_str().unwrap_or("pending");
    let (sign, colour) = match status {
        "success" => ("+", Colour::Good),
        "failed" => ("x", Colour::Bad),
        "pending" => (".", Colour::Faint),
        _ => (">", Colour::Busy),
    };
    let took = own["duration_ms"].as_u64().map(seconds).unwrap_or_default();
    let now = if phase == "deploy" && !matches!(status, "pending" | "success" | "failed") {
        rollout(summary)
    } else {
        String::new()
    };
    let rest = tame(&format!("{status:<10} {took:>8}  {now}"), 200);
    let line = format!("{sign} {phase:<12} {}", rest.trim_end());
    paint.paint(colour, &line)
}

fn rollout(summary: &Value) -> String {
    let replicas = &summary["replicas"];
    let mut now = format!(
        "{} of {} replicas ready",
        text(&replicas["ready"]),
        text(&replicas["requested"])
    );
    let rollout = &summary["rollout"];
    if let Some(percent) = rollout["percent"].as_u64() {
        let _ = write!(now, ", {percent} % of the requests");
    }
    if rollout["paused"] == true {
        now.push_str(", paused");
    }
    now
}

pub(crate) fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// How it ended, or where it is; why it failed and what to try.
pub(crate) fn print(summary: &Value) -> std::io::Result<()> {
    let paint = Paint::for_stdout();
    let (word, colour) = match summary["status"].as_str().unwrap_or_default() {
        "success" => ("done", Colour::Good),
        "failed" => ("failed", Colour::Bad),
        "rolled_back" => ("rolled back", Colour::Bad),
        _ => ("going on", Colour::Busy),
    };
    let mut first = paint.paint(colour, word);
    for (what, value) in [
        ("release", &summary["release"]),
        ("back on release", &summary["returned_to"]),
        ("image", &summary["image"]),
    ] {
        if !value.is_null() {
            let _ = write!(first, "  {what} {}", tame(&text(value), 300));
        }
    }
    if let Some(took) = summary["total_duration_ms"].as_u64() {
        let _ = write!(first, "  in {}", seconds(took));
    }
    output::painted(&format!("{}: {first}", head(summary)))?;
    for (words, of) in [
        ("", &summary["diagnosis"]),
        ("before: ", &summary["because"]),
    ] {
        diagnosis(words, of)?;
    }
    Ok(())
}

fn diagnosis(words: &str, of: &Value) -> std::io::Result<()> {
    let Some(message) = of["message"].as_str() else {
        return Ok(());
    };
    let phase = text(&of["phase"]);
    line(&format!(
        "{words}{message} ({}, in {phase})",
        text(&of["code"])
    ))?;
    let evidence = &of["evidence"];
    if let Some(object) = evidence.as_object() {
        for (name, value) in object {
            if name != "untrusted_output" {
                line(&format!("  {}: {}", name.replace('_', " "), text(value)))?;
            }
        }
    }
    let output = list(evidence, "untrusted_output");
    if !output.is_empty() {
        line("  what it printed last:")?;
    }
    for said in output {
        line(&format!("  | {}", text(said)))?;
    }
    for step in list(of, "next") {
        line(&format!("next: {}", text(step)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_phase_tells_how_it_is_and_moves_no_cursor() {
        let summary = json!({
            "phases": {
                "build": {"status": "success", "duration_ms": 1_250},
                "deploy": {"status": "run\u{1b}[2Jning"},
            },
            "replicas": {"requested": 3, "ready": 1},
            "rollout": {"percent": 10, "paused": true},
        });
        let plain = Paint(false);
        assert_eq!(
            phase(&summary, "build", plain),
            "+ build        success       1.2 s"
        );
        let deploy = phase(&summary, "deploy", plain);
        assert!(
            deploy.contains("running") && !deploy.contains('\u{1b}'),
            "{deploy:?}"
        );
        assert!(deploy.ends_with("1 of 3 replicas ready, 10 % of the requests, paused"));
        assert_eq!(
            phase(&summary, "pre_build", plain),
            ". pre_build    pending"
        );
        assert!(phase(&summary, "build", Paint(true)).starts_with("\u{1b}[32m+"));
    }

    #[test]
    fn only_an_end_is_an_end() {
        let ended = |status: &str| ended(&json!({"status": status}));
        assert_eq!(ended("success"), Some(Exit::Done));
        assert_eq!(ended("failed"), Some(Exit::Failed));
        assert_eq!(ended("rolled_back"), Some(Exit::Failed));
        for status in ["pending", "building", "deploying", "something newer"] {
            assert_eq!(ended(status), None);
        }
    }
}
