//! `flukedeploy apps`: listing, making, showing and deleting apps.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::cli::{AppOf, Apps, AppsCommand, AppsCreate, AppsDelete};
use crate::client::api::{Api, Target, body};
use crate::client::exit::{Exit, Failure};
use crate::client::output::{self, line, list, text};
use crate::client::{prompt, report};

/// Its services are stopped before the answer.
const DELETE_TIME: Duration = Duration::from_mins(5);

pub(crate) async fn run(args: &Apps) -> anyhow::Result<Exit> {
    let (api, json) = (Api::of(&args.remote.client)?, args.remote.json);
    match &args.command {
        None | Some(AppsCommand::List) => show_all(&api, json).await,
        Some(AppsCommand::Create(args)) => create(&api, args, json).await,
        Some(AppsCommand::Show(of)) => show(&api, of, json).await,
        Some(AppsCommand::Delete(args)) => delete(&api, args, json).await,
    }
}

async fn show_all(api: &Api, json: bool) -> anyhow::Result<Exit> {
    let answer = api.get(&Target::of(&["apps"])).await?;
    if json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = list(&answer, "apps")
        .iter()
        .map(|app| {
            vec![
                report::name(app),
                text(&app["state"]),
                replicas(app),
                text(&app["version"]),
                text(&app["url"]),
            ]
        })
        .collect();
    output::table(&["APP", "STATE", "REPLICAS", "VERSION", "ADDRESS"], &rows)?;
    Ok(Exit::Done)
}

fn replicas(app: &Value) -> String {
    let replicas = &app["replicas"];
    format!(
        "{}/{}",
        text(&replicas["ready"]),
        text(&replicas["requested"])
    )
}

async fn create(api: &Api, args: &AppsCreate, json: bool) -> anyhow::Result<Exit> {
    let health = args.health_path.as_ref().map(|path| json!({"path": path}));
    let domains = (!args.domains.is_empty()).then_some(&args.domains);
    let new = body([
        ("app_name", json!(args.app)),
        ("container_port", json!(args.port)),
        ("replicas", json!(args.replicas)),
        ("health", json!(health)),
        ("domains", json!(domains)),
        ("strategy", json!(args.strategy)),
    ]);
    let made = api.post(&Target::of(&["apps"]), new).await?;
    if json {
        output::json(&made)?;
    } else {
        line(&format!(
            "made {}: {}",
            text(&made["app_name"]),
            text(&made["url"])
        ))?;
    }
    Ok(Exit::Done)
}

/// The address of an app's settings in one environment.
pub(crate) fn target(of: &AppOf) -> Target {
    Target::of(&["apps", &of.app]).with("environment", of.environment.as_ref())
}

async fn show(api: &Api, of: &AppOf, json: bool) -> anyhow::Result<Exit> {
    let app = api.get(&target(of)).await?;
    if json {
        output::json(&app)?;
        return Ok(Exit::Done);
    }
    line(&format!("{}  {}", report::name(&app), text(&app["state"])))?;
    for (name, value) in [
        ("address", text(&app["url"])),
        ("replicas", replicas(&app)),
        ("release", text(&app["active_release"])),
        ("version", text(&app["version"])),
        ("image", text(&app["image"])),
        ("strategy", text(&app["strategy"])),
    ] {
        if !value.is_empty() {
            line(&format!("  {name:<10} {value}"))?;
        }
    }
    for drift in list(&app, "drift") {
        line(&format!("  drift: {}", text(drift)))?;
    }
    let names: Vec<String> = list(&app, "environments")
        .iter()
        .map(|environment| text(&environment["name"]))
        .collect();
    line(&format!("  environments: {}", names.join(", ")))?;
    if app["latest_deployment"].is_object() {
        report::print(&app["latest_deployment"])?;
    }
    Ok(Exit::Done)
}

async fn delete(api: &Api, args: &AppsDelete, json: bool) -> anyhow::Result<Exit> {
    let app = &args.app;
    if !args.yes {
        if !prompt::is_asked() {
            return Err(Failure::usage(
                format!(
                    "{app} is deleted with everything that belongs to it, and nobody can be asked"
                ),
                "say --yes",
            )
            .into());
        }
        let question = format!("{app} and everything that belongs to it is deleted. Type its name");
        if prompt::line(&question).await? != *app {
            return Err(
                Failure::usage("that is not its name: nothing was deleted", "try again").into(),
            );
        }
    }
    let target = Target::of(&["apps", app]);
    api.call(Method::DELETE, &target, None, DELETE_TIME).await?;
    if json {
        output::json(&json!({"app_name": app, "deleted": true}))?;
    } else {
        line(&format!("deleted {app}"))?;
    }
    Ok(Exit::Done)
}
