//! An instance for tests that are not written in Rust: starts one, prints what there is to know about it
//! as one line of JSON, and removes all of it when its standard input ends.

use std::io::Write;

use anyhow::{Context, Result};
use flukedeploy_end2end::images::{Images, Sample};
use flukedeploy_end2end::instance::{Instance, Options};
use serde_json::json;
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> Result<()> {
    // The password of the account `admin`, and behind it what `serve` is to be told.
    let mut arguments = std::env::args().skip(1);
    let options = Options {
        admin_password: arguments.next(),
        arguments: arguments.collect(),
        ..Options::default()
    };
    let instance = Instance::start("web", options).await?;
    let images = Images::new(instance.docker.clone())?;
    let about = json!({
        "url": instance.url(),
        "token": instance.token,
        "http_port": instance.http_address().port(),
        "stream_url": format!("ws://{}", instance.stream_address()),
        "data_dir": instance.data_dir(),
        "log_path": instance.log_path(),
        "images": {
            "v1": images.build(&Sample::version("v1").logs_lines(5)).await?,
            // Answers late, so that its phases can be watched.
            "slow": images.build(&Sample::version("v1").starts_after_ms(2500).logs_lines(5)).await?,
            "v2": images.build(&Sample::version("v2").logs_lines(5)).await?,
            "crashing": images.build(&Sample::version("crashing").exits_with(3)).await?,
        },
    });
    let mut out = std::io::stdout();
    writeln!(out, "{about}")
        .and_then(|()| out.flush())
        .context("printing what was started")?;
    let mut rest = Vec::new();
    tokio::io::stdin()
        .read_to_end(&mut rest)
        .await
        .context("waiting for the end")?;
    instance.finish().await
}
