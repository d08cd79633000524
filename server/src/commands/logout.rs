//! `flukedeploy logout`: forgetting a server and its token.

use serde_json::json;

use crate::cli::Logout;
use crate::client::config::Config;
use crate::client::exit::{Exit, Failure};
use crate::client::output;

pub(crate) fn run(args: &Logout) -> anyhow::Result<Exit> {
    let path = Config::path()?;
    let mut config = Config::load(&path)?;
    let name = args.name.clone().or_else(|| config.default.clone());
    let forgotten = name
        .as_ref()
        .and_then(|name| config.servers.remove_entry(name));
    let Some((name, kept)) = forgotten else {
        return Err(Failure::usage(
            "no such server is kept",
            "list them with 'flukedeploy servers'",
        )
        .into());
    };
    if config.default.as_ref() == Some(&name) {
        config.default = None;
    }
    config.save(&path)?;
    if args.json {
        output::json(&json!({"server": name, "url": kept.url}))?;
    } else {
        output::line(&format!("forgot {name}"))?;
        output::note("its token stays valid until it is revoked");
    }
    Ok(Exit::Done)
}
