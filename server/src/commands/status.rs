//! `flukedeploy status`: where deployments are, and following one to its end.

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
    let summary = if is_id(of) {
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

/// `dep-1770200000000-9f3c1a7e`; anything else is an app.
fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let ["dep", time, random] = parts.as_slice() else {
        return false;
    };
    let digits = |b: u8| b.is_ascii_digit();
    time.len() > 10 && time.bytes().all(digits) && random.bytes().all(|b| b.is_ascii_hexdigit())
}

async fn newest(api: &Api, app: &str, environment: Option<&str>) -> anyhow::Result<Value> {
    let target = Target::of(&["apps", app, "deployments"])
        .with("limit", Some(1))
        .with("environment", Some(environment.unwrap_or("production")));
    let answer = api.get(&target).await?;
    let newest = list(&answer, "deployments").first().cloned();
    newest.ok_or_else(|| Failure::not_found(format!("{app} was never deployed there")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_and_apps_are_told_apart_by_their_looks() {
        assert!(is_id("dep-1770200000000-9f3c1a7e"));
        for app in [
            "shop",
            "shop-web",
            "dep",
            "dep-shop",
            "dep-1-web",
            "dep-1-2",
        ] {
            assert!(!is_id(app), "{app}");
        }
    }
}
