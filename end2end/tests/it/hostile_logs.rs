//! What an app prints may be anything: every door shows it as plain text, every entry is valid, and
//! what comes after it is not lost.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::api::session_cookie;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::mcp::Era;
use flukedeploy_end2end::{wait, workbench};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::Bed;
use crate::linked_data::process;

const SOON: Duration = Duration::from_mins(1);
const PASSWORD: &str = "correct horse battery staple";
const HUGE_BYTES: usize = 10_000_000;
/// Limit of a message, with what tells how long it was.
const LONGEST_MESSAGE: usize = 16 * 1024 + 64;
const MARKUP: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";

/// Prints the worst that we could think of, and then serves. `printf` makes bytes of octal numbers.
fn script() -> String {
    let lines = [
        r"printf 'first of all\n'".to_owned(),
        format!("printf 'huge '; yes x | tr -d '\\n' | head -c {HUGE_BYTES}; printf '\\n'"),
        r"printf 'bytes \377\376\300\200 end\n'".to_owned(),
        r"printf 'nul \000 end\n'".to_owned(),
        r"printf 'codes \033]0;owned\007\033[2J\302\2331m\033P1$r\033\\\033]8;;http://evil.example\007\010\177 end\n'"
            .to_owned(),
        format!("printf '%s\\n' '{MARKUP}'"),
        r"printf 'one\r\rdata: {}\revent: error\r end\n'".to_owned(),
        r"printf 'turned \342\200\256 and \342\200\250 parted end\n'".to_owned(),
        r#"printf '%s\n' '{"time":"1970-01-01T00:00:00Z","level":"warn","msg":"of 1970"}'"#.to_owned(),
        r#"printf '%s\n' '{"ts":4102444800,"level":"error","msg":"of 2100"}'"#.to_owned(),
        r#"printf '%s\n' '{"msg":"a type","@context":"http://evil.example/","@id":"x","@type":"Owned","__proto__":{"admin":true},"a\u0000b":"\u001b[31m"}'"#
            .to_owned(),
        r#"yes '{"a":' | tr -d '\n' | head -c 30000; printf '\n'"#.to_owned(),
        r"yes a | tr -d '\n' | head -c 12000; printf '!\n'".to_owned(),
        r"printf 'last of all\n'".to_owned(),
        "mkdir -p /www; echo well > /www/health; exec httpd -f -p 8080 -h /www".to_owned(),
    ];
    lines.join("; ")
}

/// Deploys the app, and waits until all that it prints is stored: entries in the order of printing.
async fn printed(bed: &Bed) -> Result<Vec<Value>> {
    let image = workbench::running(&bed.instance.docker, &script()).await?;
    bed.api.create_app("shop", 1).await?;
    // A shell as the first process hears no signal: nothing is lost by stopping it at once.
    bed.change("shop", json!({"rollout": {"drain_seconds": 1}}))
        .await?;
    bed.api.deploy_and_wait("shop", &image).await?;
    stored(bed).await
}

async fn stored(bed: &Bed) -> Result<Vec<Value>> {
    let entries = wait::until("everything is stored", SOON, || async {
        let query = "app_name=shop&source_type=container&order=asc&limit=1000";
        let mut answer = bed.api.logs(query).await?;
        let entries = answer["logs"].take();
        let entries = entries.as_array().context("no entries")?;
        let is_all = entries
            .last()
            .is_some_and(|last| last["message"] == "last of all");
        Ok(is_all.then(|| entries.clone()))
    })
    .await?;
    Ok(entries)
}

/// Nothing in it acts on a terminal or hides: no control characters but line ends and tabs.
fn expect_tame(what: &str, text: &str) -> Result<()> {
    let acts = |c: char| c.is_control() && c != '\n' && c != '\t';
    let hides = |c: char| matches!(c, '\u{202e}' | '\u{2028}' | '\u{2029}');
    let found = text.chars().find(|c| acts(*c) || hides(*c));
    ensure!(found.is_none(), "{what} holds {found:?}");
    Ok(())
}

/// The contract's shape, field by field.
fn expect_valid(entry: &Value) -> Result<()> {
    let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str);
    let is_id = text("/id").is_some_and(|id| {
        let parts: Vec<&str> = id.split('-').collect();
        let base36 = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
        matches!(parts[..], ["dep", ms, end] if ms.parse::<u64>().is_ok() && end.chars().all(base36))
    });
    let at = text("/timestamp").unwrap_or_default();
    let now = time::OffsetDateTime::from(std::time::SystemTime::now());
    let at = time::OffsetDateTime::parse(at, &time::format_description::well_known::Rfc3339)?;
    ensure!(
        is_id
            && text("/@context") == Some("https://flukebase.me/schemas/unified-log")
            && text("/@type") == Some("UnifiedLogEntry")
            && matches!(text("/level"), Some("debug" | "info" | "warn" | "error"))
            && matches!(
                text("/source/type"),
                Some("container" | "deployment" | "system")
            )
            && text("/source/container_name").is_some()
            && text("/flukedeploy_metadata/app_name") == Some("shop")
            && text("/flukedeploy_metadata/event_type").is_some()
            && text("/message").is_some_and(|message| message.len() <= LONGEST_MESSAGE)
            && (now - at).whole_minutes().abs() < 60,
        "not a valid entry: {entry:#}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_app_prints_is_harmless_text_at_every_door() -> Result<()> {
    let options = Options {
        admin_password: Some(PASSWORD.to_owned()),
        ..Options::default()
    };
    let bed = Bed::start("hoslog", options).await?;
    let entries = printed(&bed).await?;
    expect_all_there(&entries)?;
    for (entry, told) in entries.iter().zip(process(&bed, &entries).await?) {
        expect_valid(entry)?;
        let faults = &told["faults"];
        ensure!(
            *faults == json!([]),
            "{entry:#} comes back otherwise: {faults:#}"
        );
    }

    let all = "app_name=shop&source_type=container&order=asc";
    let text = body(&bed, &format!("/logs?{all}&format=text")).await?;
    expect_tame("the text format", &text)?;
    ensure!(text.lines().count() == entries.len() && text.ends_with("last of all\n"));
    let exported = body(&bed, &format!("/logs/export?{all}")).await?;
    let exported: Vec<Value> = exported
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(exported == entries, "the export tells something else");
    expect_events(&bed, &entries).await?;

    let mut command = bed.instance.command("logs")?;
    let shown = command.args(["shop", "-n", "1000"]).output().await?;
    let shown = String::from_utf8(shown.stdout)?;
    expect_tame("the terminal", &shown)?;
    ensure!(shown.contains(MARKUP) && shown.contains("last of all"));

    let mut mcp = bed.instance.mcp(Era::Handshake).await?;
    let told = mcp
        .call_ok("deploy_logs", json!({"app_name": "shop", "tail": 100}))
        .await?;
    let messages = told["logs"].as_array().context("no entries over MCP")?;
    for entry in messages {
        let message = entry["message"].as_str().unwrap_or_default();
        expect_tame("an answer over MCP", message)?;
        ensure!(message.len() < 2_100, "an agent pays for {message}");
    }
    ensure!(told.to_string().contains("last of all"), "{told:#}");
    expect_page(&bed).await?;
    bed.finish().await
}

/// Everything is there, in order, and says what was taken from it.
fn expect_all_there(entries: &[Value]) -> Result<()> {
    let messages: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry["message"].as_str())
        .collect();
    for message in &messages {
        expect_tame("a message", message)?;
    }
    let long = format!("[cut: {} bytes in all]", HUGE_BYTES + "huge ".len());
    let deep = "{\"a\":".repeat(3_000);
    let wanted: [&dyn Fn(&str) -> bool; 14] = [
        &|m| m == "first of all",
        &|m| m.starts_with("huge xxxx") && m.ends_with(&long),
        &|m| m.starts_with("bytes \u{fffd}") && m.ends_with(" end"),
        &|m| m.starts_with("nul ") && m.ends_with(" end"),
        &|m| m.starts_with("codes ") && m.ends_with(" end") && !m.contains("owned"),
        &|m| m == MARKUP,
        &|m| m.starts_with("one ") && m.ends_with(" end"),
        &|m| m.starts_with("turned ") && m.ends_with("parted end"),
        &|m| m == "of 1970",
        &|m| m == "of 2100",
        &|m| m == "a type",
        &|m| m.starts_with(&deep),
        &|m| m.len() == 12_001 && m.ends_with("a!"),
        &|m| m == "last of all",
    ];
    ensure!(messages.len() == wanted.len(), "{messages:#?}");
    for (number, (message, is_right)) in messages.iter().zip(wanted).enumerate() {
        let shown: String = message.chars().take(300).collect();
        ensure!(is_right(message), "line {number} is {shown:?}");
    }
    // What an app claims of time is kept, and moves its entry nowhere.
    let fields = |line: usize| &entries[line]["flukedeploy_metadata"]["fields"];
    ensure!(
        fields(8).to_string().contains("1970-01-01"),
        "{:#}",
        entries[8]
    );
    ensure!(
        fields(9).to_string().contains("4102444800"),
        "{:#}",
        entries[9]
    );
    Ok(())
}

async fn body(bed: &Bed, path: &str) -> Result<String> {
    let answer = bed.api.request(Method::GET, path).send().await?;
    let answer = answer.error_for_status()?;
    ensure!(answer.headers()["x-content-type-options"] == "nosniff");
    Ok(answer.text().await?)
}

/// Server-sent events: each is one entry, and no line end in a message begins another.
async fn expect_events(bed: &Bed, entries: &[Value]) -> Result<()> {
    let path = "/logs/stream?app_name=shop&tail=1000";
    let request = bed.api.request(Method::GET, path);
    let mut answer = request.send().await?.error_for_status()?;
    let mut text = Vec::new();
    let mut told = Vec::new();
    while told.len() < entries.len() {
        let piece = tokio::time::timeout(SOON, answer.chunk()).await??;
        text.extend_from_slice(&piece.context("the stream ended")?);
        let whole = String::from_utf8_lossy(&text);
        let events = whole.rsplit_once("\n\n").map_or("", |(events, _)| events);
        told.clear();
        for line in events.lines() {
            ensure!(!line.starts_with("event:"), "an app made an event: {line}");
            if let Some(data) = line.strip_prefix("data: ") {
                told.push(serde_json::from_str::<Value>(data)?);
                told.retain(|entry| entry["source"]["type"] == "container");
            }
        }
    }
    ensure!(told == entries, "the events tell something else");
    Ok(())
}

/// The dashboard shows markup as what it is: text.
async fn expect_page(bed: &Bed) -> Result<()> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let url = bed.instance.url();
    let signed_in = client
        .post(format!("{url}/sign-in"))
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "name=admin&password={}",
            PASSWORD.replace(' ', "+")
        ))
        .send()
        .await?;
    let cookie = session_cookie(signed_in.headers())?;
    let request = client.get(format!("{url}/apps/shop/logs"));
    let page = request.header("cookie", cookie).send().await?;
    let policy = page.headers()["content-security-policy"]
        .to_str()?
        .to_owned();
    let page = page.error_for_status()?.text().await?;
    ensure!(policy.contains("default-src 'self'") && !policy.contains("unsafe"));
    ensure!(
        page.contains("&lt;script&gt;alert(1)"),
        "the page does not show it"
    );
    ensure!(!page.contains("<script>alert") && !page.contains("<img src=x"));
    expect_tame("the page", &page)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_make_no_sense_get_an_answer() -> Result<()> {
    let bed = Bed::start("hosask", Options::default()).await?;
    let entries = printed(&bed).await?;
    let count = |query: &str| {
        let query = format!("app_name=shop&source_type=container&{query}");
        let bed = &bed;
        async move { Ok::<_, anyhow::Error>(bed.api.logs(&query).await?["total"].clone()) }
    };
    let all = json!(entries.len());
    // As far as time goes.
    ensure!(count("since=1970-01-01T00:00:00Z&until=2100-01-01T00:00:00Z").await? == all);
    ensure!(count("since=2100-01-01T00:00:00Z").await? == 0);
    ensure!(count("until=1970-01-01T00:00:00Z&since=1969-01-01T00:00:00Z").await? == 0);
    ensure!(count("since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z").await? == all);
    // Expressions that take for ever elsewhere: one entry holds twelve thousand times `a`.
    ensure!(count("q=/(a%2B)%2B%24/").await? != all);
    ensure!(count("q=/(a%7Ca)*b%24/").await? == 0);
    for query in [
        "since=99999-01-01T00:00:00Z",
        "since=-1",
        "since_minutes=99999999999999999999",
        "q=/(((a%7B1000%7D)%7B1000%7D)%7B1000%7D)/",
        "q=/(unclosed/",
        "q=/(%3F%3Da)/",
        "app=shop",
        "app_name%00=shop",
        "%3Cscript%3E=1",
        "limit=99999999999",
        "cursor=%00%ff",
    ] {
        for door in ["/logs", "/logs/export", "/logs/histogram"] {
            let answer = bed.api.get(&format!("{door}?{query}")).await?;
            let code = answer
                .problem()
                .with_context(|| format!("{door}?{query}"))?;
            ensure!(
                answer.status == 400,
                "{door}?{query}: {} {code}",
                answer.status
            );
        }
    }
    for query in [
        "app=shop",
        "app_name=shop&loudness=high",
        "tail=-1",
        "level=loud",
    ] {
        let answer = bed.api.get(&format!("/logs/stream?{query}")).await?;
        answer
            .problem()
            .with_context(|| format!("the stream with {query}"))?;
        ensure!(answer.status == 400, "{query}: {}", answer.status);
    }
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_never_read_hold_up_nobody() -> Result<()> {
    let bed = Bed::start("hosidle", Options::default()).await?;
    let entries = printed(&bed).await?;
    let address: SocketAddr = bed.instance.url().trim_start_matches("http://").parse()?;
    let mut idle = Vec::new();
    for path in [
        "/logs/export?app_name=shop",
        "/logs/stream?app_name=shop&tail=1000",
    ] {
        for _ in 0..8 {
            let mut socket = TcpStream::connect(address).await?;
            let asked = format!(
                "GET /api/v1{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\r\n",
                bed.instance.token
            );
            socket.write_all(asked.as_bytes()).await?;
            // It is being answered, and nobody will take the rest.
            tokio::time::timeout(SOON, socket.read_exact(&mut [0; 12])).await??;
            idle.push(socket);
        }
    }
    // All of it once more, from a new replica.
    bed.act("shop", "restart", &json!({})).await?;
    let wanted = 2 * entries.len();
    let query = "app_name=shop&source_type=container&limit=1";
    wait::until("the new replica's lines are stored", SOON, || async {
        let total = bed.api.logs(query).await?["total"].as_u64();
        Ok((total == Some(wanted as u64)).then_some(()))
    })
    .await?;
    let exported = body(&bed, "/logs/export?app_name=shop&source_type=container").await?;
    ensure!(exported.lines().count() == wanted, "an export is not whole");
    drop(idle);
    bed.finish().await
}
