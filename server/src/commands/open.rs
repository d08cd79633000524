//! `flukedeploy open`: where an app or the dashboard is.

use std::io::{self, IsTerminal as _};
use std::process::{Command, Stdio};

use http::Uri;
use serde_json::json;

use crate::cli::{AppOf, Open};
use crate::client::api::Api;
use crate::client::exit::{Exit, Failure};
use crate::client::output::{self, line};
use crate::commands::apps;

pub(crate) async fn run(args: &Open) -> anyhow::Result<Exit> {
    let api = Api::of(&args.remote.client)?;
    let url = match &args.app {
        None => api.url().to_owned(),
        Some(app) => {
            let of = AppOf {
                app: app.clone(),
                environment: args.environment.clone(),
            };
            output::text(&api.get(&apps::target(&of)).await?["url"])
        }
    };
    // It becomes an argument of another program: nothing but an address of the web may.
    let uri = url.parse::<Uri>().ok();
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let Some(uri) = uri else {
        return Err(Failure::unreadable("the answer has no address of the web").into());
    };
    if args.remote.json {
        output::json(&json!({"url": uri.to_string()}))?;
        return Ok(Exit::Done);
    }
    line(&uri.to_string())?;
    if !args.print && io::stdout().is_terminal() {
        let opened = Command::new("xdg-open")
            .arg(uri.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if opened.is_err() {
            output::note("no browser was opened: there is no xdg-open here");
        }
    }
    Ok(Exit::Done)
}
