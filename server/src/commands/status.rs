//! `flukedeploy status`: where deployments are, and following one to its end.

use flukedeploy_domain::deployment::DeploymentId;
use serde_json::Value;

use crate::cli::Status;
use crate::client::api::{Api, Target};
use crate::client::exit::{Exit, Failure};
use crate::client::output::{self, Paint, list};
use crate::client::report::PHASES;
use crate::client::{follow, report};
use crate::commands::history;

pub(crate) async fn run(args: &Status) -> anyhow::Result<Exit> {
    let (api, json) = (Api::of(&args.remote.client)?, args.remote.json);
    let Some(of) = &args.of else {
        let active = api.get(&Target::of(&["deployments", "active"])).await?;
        history::print(&active, json)?;
        return Ok(Exit::Done);
    };
    let summary = if of.parse::<DeploymentId>().is_ok() {
        api.get(&Target::of(&["deployments", of])).await?
    } else {
        newest(&api, of, args.environment.as_deref()).await?
    };
    if args.watch {
        let id = output::text(&summary["deployment_id"]);
        return follow::to_the_end(&api, &id, args.timeout, json).await;
    }
    if json {
        output::json(&summary)?;
        return Ok(Exit::Done);
    }
    for phase in PHASES {
        output::line(&report::phase(&summary, phase, Paint(false)))?;
    }
    report::print(&summary)?;
    Ok(Exit::Done)
}

async fn newest(api: &Api, app: &str, environment: Option<&str>) -> anyhow::Result<Value> {
    let target = Target::of(&["apps", app, "deployments"])
        .with("limit", Some(1))
        .with("environment", Some(environment.unwrap_or("production")));
    let answer = api.get(&target).await?;
    let newest = list(&answer, "deployments").first().cloned();
    newest.ok_or_else(|| Failure::not_found(format!("{app} was never deployed there")).into())
}
