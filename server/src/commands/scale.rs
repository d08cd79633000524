//! `flukedeploy scale`: another number of replicas.

use serde_json::json;

use crate::cli::Scale;
use crate::client::api::{Api, Target, body};
use crate::client::exit::Exit;
use crate::client::follow;

pub(crate) async fn run(args: &Scale) -> anyhow::Result<Exit> {
    let api = Api::of(&args.remote.client)?;
    let wanted = body([
        ("environment", json!(args.of.environment)),
        ("replicas", json!(args.replicas)),
        ("queue", json!(args.recorded.queue)),
        ("reason", json!(args.recorded.reason)),
        ("idempotency_key", json!(args.recorded.idempotency_key)),
    ]);
    let target = Target::of(&["apps", &args.of.app, "scale"]);
    let accepted = api.post(&target, wanted).await?;
    follow::finish(&api, accepted, &args.waiting, args.remote.json).await
}
