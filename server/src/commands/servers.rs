//! `flukedeploy servers`: what `login` keeps.

use serde_json::{Value, json};

use crate::cli::Servers;
use crate::client::config::Config;
use crate::client::exit::{Exit, Failure};
use crate::client::output;

pub(crate) fn run(args: &Servers) -> anyhow::Result<Exit> {
    let path = Config::path()?;
    let mut config = Config::load(&path)?;
    if let Some(name) = &args.default {
        if !config.servers.contains_key(name) {
            return Err(Failure::usage(
                format!("no server is kept under the name '{name}'"),
                "list them with 'flukedeploy servers'",
            )
            .into());
        }
        config.default = Some(name.clone());
        config.save(&path)?;
    }
    let is_default = |name: &String| config.default.as_ref() == Some(name);
    if args.json {
        let servers: Vec<Value> = config
            .servers
            .iter()
            .map(|(name, kept)| json!({"server": name, "url": kept.url, "default": is_default(name)}))
            .collect();
        output::json(&json!({"total": servers.len(), "servers": servers}))?;
    } else {
        let rows: Vec<Vec<String>> = config
            .servers
            .iter()
            .map(|(name, kept)| {
                let mark = if is_default(name) { "default" } else { "" };
                vec![name.clone(), kept.url.clone(), mark.to_owned()]
            })
            .collect();
        output::table(&["NAME", "ADDRESS", ""], &rows)?;
    }
    Ok(Exit::Done)
}
