//! `flukedeploy validate`: what would be found before a release runs.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::cli::Validate;
use crate::client::api::{Api, Target, body};
use crate::client::exit::Exit;
use crate::client::output::{self, line, list, text};

/// Tests and scanners take their time.
const VALIDATE_TIME: Duration = Duration::from_mins(30);

pub(crate) async fn run(args: &Validate) -> anyhow::Result<Exit> {
    let api = Api::of(&args.remote.client)?;
    let wanted = body([
        ("environment", json!(args.of.environment)),
        ("image", json!(args.image)),
        ("run_tests", json!(!args.no_tests)),
        ("run_security_scan", json!(!args.no_scan)),
    ]);
    let target = Target::of(&["apps", &args.of.app, "validate"]);
    let report = api
        .call(Method::POST, &target, Some(wanted), VALIDATE_TIME)
        .await?;
    if args.remote.json {
        output::json(&report)?;
    } else {
        for check in list(&report, "checks") {
            let (status, name) = (text(&check["status"]), text(&check["name"]));
            line(&format!(
                "{status:<8} {name:<24} {}",
                text(&check["message"])
            ))?;
            if let Some(suggestion) = check["suggestion"].as_str() {
                line(&format!("{:<8} {:<24} next: {suggestion}", "", ""))?;
            }
        }
        line(&format!("{}: {}", args.of.app, text(&report["status"])))?;
    }
    Ok(if report["status"] == "failed" {
        Exit::Failed
    } else {
        Exit::Done
    })
}
