//! `flukedeploy tokens`: API tokens.

use http::Method;
use serde_json::{Value, json};

use crate::cli::{Tokens, TokensCommand, TokensCreate};
use crate::client::api::{Api, Target, body};
use crate::client::exit::Exit;
use crate::client::output::{self, line, list, note, text};

pub(crate) async fn run(args: &Tokens) -> anyhow::Result<Exit> {
    let (api, json) = (Api::of(&args.remote.client)?, args.remote.json);
    match &args.command {
        None | Some(TokensCommand::List) => show_all(&api, json).await,
        Some(TokensCommand::Create(args)) => {
            let made = api.post(&Target::of(&["tokens"]), wanted(args)).await?;
            show_once(&made, json)
        }
        Some(TokensCommand::Rotate(args)) => {
            let target = Target::of(&["tokens", &args.of.id, "rotate"]);
            let overlap = body([("overlap_seconds", json!(args.overlap_seconds))]);
            show_once(&api.post(&target, overlap).await?, json)
        }
        Some(TokensCommand::Revoke(of)) => {
            let target = Target::of(&["tokens", &of.id]);
            api.call(
                Method::DELETE,
                &target,
                None,
                crate::client::api::ANSWER_TIME,
            )
            .await?;
            if json {
                output::json(&json!({"id": of.id, "revoked": true}))?;
            } else {
                line(&format!("revoked {}", of.id))?;
            }
            Ok(Exit::Done)
        }
    }
}

fn wanted(args: &TokensCreate) -> Value {
    let some = |names: &Vec<String>| json!((!names.is_empty()).then_some(names));
    body([
        ("name", json!(args.name)),
        ("tier", json!(args.tier)),
        ("apps", some(&args.apps)),
        ("projects", some(&args.projects)),
        ("environments", some(&args.environments)),
        ("role", json!(args.role)),
        ("expires_at", json!(args.expires_at)),
    ])
}

async fn show_all(api: &Api, json: bool) -> anyhow::Result<Exit> {
    let answer = api.get(&Target::of(&["tokens"])).await?;
    if json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = list(&answer, "tokens")
        .iter()
        .map(|token| {
            let revoked = if token["revoked_at"].is_null() {
                ""
            } else {
                "revoked"
            };
            vec![
                text(&token["id"]),
                text(&token["name"]),
                text(&token["tier"]),
                text(&token["created_by"]),
                text(&token["expires_at"]),
                revoked.to_owned(),
            ]
        })
        .collect();
    output::table(&["ID", "NAME", "TIER", "MADE BY", "ENDS", ""], &rows)?;
    Ok(Exit::Done)
}

/// The token alone on standard output, so that it can go where it belongs.
fn show_once(made: &Value, json: bool) -> anyhow::Result<Exit> {
    if json {
        output::json(made)?;
    } else {
        note(&format!(
            "token {} ({}); it is shown this once:",
            text(&made["id"]),
            text(&made["name"])
        ));
        line(&text(&made["token"]))?;
    }
    Ok(Exit::Done)
}
