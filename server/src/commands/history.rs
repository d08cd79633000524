//! `flukedeploy history`: an app's deployments.

use serde_json::Value;

use crate::cli::History;
use crate::client::api::{Api, Target};
use crate::client::exit::Exit;
use crate::client::output::{self, list, text};
use crate::client::report;

pub(crate) async fn run(args: &History) -> anyhow::Result<Exit> {
    let api = Api::of(&args.remote.client)?;
    let target = Target::of(&["apps", &args.of.app, "deployments"])
        .with("limit", Some(args.limit))
        .with("environment", args.of.environment.as_ref());
    let answer = api.get(&target).await?;
    print(&answer, args.remote.json)?;
    Ok(Exit::Done)
}

/// Deployments, one a line.
pub(crate) fn print(answer: &Value, json: bool) -> std::io::Result<()> {
    if json {
        return output::json(answer);
    }
    let rows: Vec<Vec<String>> = list(answer, "deployments")
        .iter()
        .map(|summary| {
            let took = summary["total_duration_ms"].as_u64();
            let why = text(&summary["diagnosis"]["code"]);
            vec![
                text(&summary["deployment_id"]),
                report::name(summary),
                text(&summary["act"]),
                text(&summary["status"]),
                text(&summary["release"]),
                text(&summary["initiated_at"]),
                took.map(report::seconds).unwrap_or_default(),
                why,
            ]
        })
        .collect();
    let heads = [
        "DEPLOYMENT",
        "APP",
        "ACT",
        "STATUS",
        "RELEASE",
        "BEGUN",
        "TOOK",
        "WHY",
    ];
    output::table(&heads, &rows)
}
