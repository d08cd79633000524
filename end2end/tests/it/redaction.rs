//! Secrets that an app prints: in no file of the logs and in no answer.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flukedeploy_end2end::wait;
use serde_json::{Value, json};

use crate::yard::Yard;

const SOON: Duration = Duration::from_secs(30);
/// Characters that JSON and addresses write in another way.
const SECRET: &str = "c0rrect/horse+battery&staple";
const BUILD_SECRET: &str = "bu1ld-0nly-s3cret";

/// Pieces of the secrets in the forms that are printed.
fn pieces() -> [String; 4] {
    let code = STANDARD.encode(SECRET);
    ["c0rrect", "battery", "bu1ld-0nly", &code[..16]].map(ToOwned::to_owned)
}

fn expect_nowhere(what: &str, text: &str) -> Result<()> {
    for piece in pieces() {
        ensure!(!text.contains(&piece), "{what} holds '{piece}'");
    }
    Ok(())
}

/// Every file below the data directory.
fn expect_in_no_file(dir: &Path) -> Result<usize> {
    let mut looked_at = 0;
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path.is_dir() {
            looked_at += expect_in_no_file(&path)?;
        } else if path.is_file() {
            let text = fs::read(&path)?;
            expect_nowhere(&path.to_string_lossy(), &String::from_utf8_lossy(&text))?;
            looked_at += 1;
        }
    }
    Ok(looked_at)
}

/// Prints its secret in every way on both streams, and goes on serving.
fn entrypoint() -> Value {
    // The Dockerfile itself holds no form of it: it is kept as it was sent.
    let script = "code=$(printf %s \"$API_TOKEN\" | busybox base64); \
         echo plain $API_TOKEN; echo plain $API_TOKEN >&2; echo code $code; echo code $code >&2; \
         echo \"{\\\"level\\\":\\\"error\\\",\\\"msg\\\":\\\"json\\\",\\\"dsn\\\":\\\"$API_TOKEN\\\"}\"; \
         echo \"{\\\"msg\\\":\\\"with $API_TOKEN\\\"}\" >&2; \
         echo 'java.io.IOException: no'; echo \"	at a.B.c($API_TOKEN)\"; echo over; \
         exec httpd -f -p 8080 -h /www";
    json!(["/bin/sh", "-c", script])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_an_app_prints_is_in_no_log() -> Result<()> {
    let yard = Yard::open("redact", &[]).await?;
    yard.app("shop").await?;
    let bed = &yard.bed;
    let stream = bed.instance.stream("app_name=shop").await?;
    stream.wait_for("a greeting", SOON, |_| true).await?;
    bed.change(
        "shop",
        json!({
            "build": {"secrets": {"npm": BUILD_SECRET}},
            "jobs": {"release": {
                "command": ["/bin/sh", "-c", "echo migrating with $API_TOKEN"], "timeout_seconds": 60}},
        }),
    )
    .await?;
    // Not the same as in another run: a step that the engine remembers prints nothing.
    let run = bed.instance.data_dir();
    let dockerfile = yard.dockerfile(&format!(
        "RUN --mount=type=secret,id=npm echo {} && echo logged in with $(cat /run/secrets/npm) && mkdir -p /www && \
         echo well > /www/health\nENTRYPOINT {}",
        run.display(),
        entrypoint()
    ));
    let body = json!({"dockerfile": dockerfile, "env_vars": {"API_TOKEN": SECRET}});
    let done = yard.run("shop", body).await?;
    ensure!(done["status"] == "success", "{done:#}");
    let told = wait::until("all lines are told", SOON, || async {
        let answer = bed.api.logs("app_name=shop&limit=1000").await?.to_string();
        let is_all = answer.contains("\"over\"") && answer.contains("migrating with");
        Ok(is_all.then_some(answer))
    })
    .await?;
    expect_nowhere("the answer of /logs", &told)?;
    for part in [
        "plain [redacted:API_TOKEN]",
        "code [redacted:API_TOKEN]",
        "with [redacted:API_TOKEN]",
        "migrating with [redacted:API_TOKEN]",
        "logged in with [redacted:npm]",
        "at a.B.c([redacted:API_TOKEN])",
        "\"dsn\":\"[redacted:API_TOKEN]\"",
    ] {
        ensure!(told.contains(part), "there is no '{part}' in {told}");
    }
    let id = done["deployment_id"].as_str().unwrap_or_default();
    let of_deployment = bed.api.deployment_logs(id).await?;
    expect_nowhere("the deployment's log", &of_deployment.to_string())?;
    let is_last = |frame: &Value| frame.to_string().contains("\"over\"");
    stream.wait_for("the last line", SOON, is_last).await?;
    expect_nowhere("the stream", &Value::from(stream.frames()).to_string())?;
    expect_nowhere("the server's own log", &bed.instance.log()?)?;
    ensure!(
        expect_in_no_file(&bed.instance.data_dir())? > 0,
        "no file was looked at"
    );
    drop(stream);
    yard.finish().await
}
