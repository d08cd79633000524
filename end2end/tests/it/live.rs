//! The log as it comes: across a crash, for those who may, and beside those who do not read.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::api::session_cookie;
use flukedeploy_end2end::images::Sample;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::stream::Stream;
use flukedeploy_end2end::wait;
use http::Method;
use http::header::{AUTHORIZATION, COOKIE};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::bed::Bed;

const PATIENCE: Duration = Duration::from_mins(2);
/// As the product promises.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(2);
const SINCE_EVER: &str = "since=1970-01-01T00:00:00Z";

/// The number of a line that a sample app printed.
fn number(entry: &Value) -> Option<u32> {
    let rest = entry["message"].as_str()?.strip_prefix("line ")?;
    rest.split(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_joins_what_comes_across_a_kill() -> Result<()> {
    const LINES: u32 = 30_000;
    let mut bed = Bed::start_for_load("live", Options::default()).await?;
    bed.api.create_app("shop", 1).await?;
    let image = bed.image(Sample::version("v1").logs_lines(LINES)).await?;
    let id = bed.api.deploy("shop", &image).await?;
    // Begins while lines come, and goes on after the crash behind the last one it has.
    let query = format!("app_name=shop&source_type=container&{SINCE_EVER}");
    let first = bed.instance.stream(&query).await?;
    wait::until("lines", PATIENCE, || async {
        Ok((first.entries().len() > 3_000).then_some(()))
    })
    .await?;
    bed.instance.kill_9().await?;
    wait::until("the end of the connection", PATIENCE, || async {
        Ok(first.close_code().map(|_| ()))
    })
    .await?;
    let seen = first.entries();
    let last = seen.last().and_then(|entry| entry["id"].as_str());
    let last = last.context("an entry")?.to_owned();
    bed.instance.restart().await?;
    bed.api = bed.instance.api();
    let query = format!("app_name=shop&source_type=container&since={last}");
    let second = bed.instance.stream(&query).await?;
    let ended = bed.api.wait_final(&id).await?;
    ensure!(ended["status"] == "success", "{ended:#}");
    wait::until("the last line", PATIENCE, || async {
        let last = second
            .entries()
            .iter()
            .any(|entry| number(entry) == Some(LINES));
        Ok(last.then_some(()))
    })
    .await?;
    let numbers: Vec<u32> = [seen, second.entries()]
        .concat()
        .iter()
        .filter_map(number)
        .collect();
    let wrong = numbers
        .iter()
        .zip(1..)
        .find(|(number, wanted)| **number != *wanted);
    ensure!(
        numbers.len() == LINES as usize && wrong.is_none(),
        "{} lines, first wrong: {wrong:?}",
        numbers.len()
    );
    for stream in [first, second] {
        let dropped = stream
            .frames()
            .iter()
            .any(|frame| frame["type"] == "dropped");
        ensure!(!dropped, "something was dropped");
    }
    bed.finish().await
}

/// Signs in and returns the session's cookie.
pub(crate) async fn sign_in(bed: &Bed, password: &str) -> Result<String> {
    let address = format!("{}/sign-in", bed.instance.url());
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let form = format!("name=admin&password={password}");
    let answer = client
        .post(address)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(form)
        .send()
        .await?;
    session_cookie(answer.headers())
}

/// Reads server-sent events to their end.
async fn end_of_events(answer: reqwest::Response) -> Result<String> {
    let text = tokio::time::timeout(PATIENCE, answer.text()).await;
    Ok(text.context("no end")??)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawn_access_ends_what_is_open_within_two_seconds() -> Result<()> {
    let password = "correct-horse-battery";
    let options = Options {
        admin_password: Some(password.to_owned()),
        hold_in_phase: Some("build".to_owned()),
        ..Options::default()
    };
    let bed = Bed::start("gone", options).await?;
    bed.api.create_app("shop", 1).await?;
    let image = bed.image(Sample::version("v1")).await?;
    let id = bed.api.deploy("shop", &image).await?;
    let wanted = json!({"name": "short", "tier": "extended"});
    let token = bed.api.post("/tokens", &wanted).await?.ok()?;
    let secret = token["token"].as_str().context("no secret")?;
    let theirs = bed.instance.api_as(Some(secret));

    let address = bed.instance.stream_address();
    let stream = Stream::connect(address, "", Some(secret)).await?;
    stream
        .wait_for("the welcome", PATIENCE, |frame| {
            frame["authenticated"] == true
        })
        .await?;
    let events = theirs.request(Method::GET, "/logs/stream").send().await?;
    let path = format!("/deployments/{id}?wait=50");
    let waiting = theirs.request(Method::GET, &path);
    let waiting = tokio::spawn(async move { theirs.send(waiting).await });
    // That it waits cannot be seen from outside; it does soon.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let token_id = token["id"].as_str().context("no id")?;
    bed.api.delete(&format!("/tokens/{token_id}")).await?;
    let withdrawn = Instant::now();
    let refused = waiting.await??;
    ensure!(refused.status == 401, "{refused:?}");
    let told = end_of_events(events).await?;
    ensure!(told.contains("event: error"), "{told}");
    wait::until("the end of the stream", PATIENCE, || async {
        Ok(stream.close_code().map(|_| ()))
    })
    .await?;
    let took = withdrawn.elapsed();
    ensure!(took < WITHDRAWN_WITHIN, "{took:?}");
    ensure!(
        stream.close_code() == Some(4401),
        "{:?}",
        stream.close_code()
    );

    // The same for somebody at the dashboard who signs out.
    let cookie = sign_in(&bed, password).await?;
    let client = reqwest::Client::new();
    let listening = format!("{}/api/v1/logs/stream", bed.instance.url());
    let events = client
        .get(listening)
        .header(COOKIE, &cookie)
        .header("sec-fetch-site", "same-origin")
        .send()
        .await?
        .error_for_status()?;
    let out = format!("{}/sign-out", bed.instance.url());
    client
        .post(out)
        .header(COOKIE, &cookie)
        .header("sec-fetch-site", "same-origin")
        .send()
        .await?
        .error_for_status()?;
    let signed_out = Instant::now();
    let told = end_of_events(events).await?;
    ensure!(told.contains("the session is over"), "{told}");
    let took = signed_out.elapsed();
    ensure!(took < WITHDRAWN_WITHIN, "{took:?}");
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_stalls_nobody_and_is_let_go() -> Result<()> {
    let bed = Bed::start_for_load("deaf", Options::default()).await?;
    bed.api.create_app("shop", 1).await?;
    // More than the sockets between us hold.
    let image = bed.image(Sample::version("v1").logs_lines(40_000)).await?;
    bed.api.deploy_and_wait("shop", &image).await?;
    wait::until("all lines to be stored", PATIENCE, || async {
        let total = bed.api.logs("app_name=shop&q=line&limit=1").await?["total"].as_u64();
        Ok(total.is_some_and(|total| total >= 40_000).then_some(()))
    })
    .await?;
    let address = bed.instance.stream_address();
    let mut request = format!("ws://{address}/?{SINCE_EVER}").into_client_request()?;
    let value = format!("Bearer {}", bed.instance.token).parse()?;
    request.headers_mut().insert(AUTHORIZATION, value);
    let (deaf, _) = tokio_tungstenite::connect_async(request).await?;
    let mut awake = bed.instance.stream("app_name=shop").await?;
    for replicas in [2_usize, 3, 4] {
        bed.change("shop", json!({"replicas": replicas})).await?;
        wait::until("the change", PATIENCE, || async {
            let entries = awake.entries();
            let changes = entries.iter().filter(|entry| {
                let message = entry["message"].as_str().unwrap_or_default();
                message.contains("changed replicas")
            });
            Ok((changes.count() == replicas - 1).then_some(()))
        })
        .await?;
    }
    let mut asked = 0;
    loop {
        awake.send(&json!({"action": "get_stats"})).await?;
        asked += 1;
        let stats = wait::until("an answer", PATIENCE, || async {
            let mut frames = awake.frames();
            frames.retain(|frame| frame["type"] == "stats");
            Ok((frames.len() == asked).then(|| frames.pop()).flatten())
        })
        .await?;
        if stats["stats"]["total_clients"] == 1 {
            break;
        }
        ensure!(asked < 600, "the deaf client is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(deaf);
    bed.finish().await
}
