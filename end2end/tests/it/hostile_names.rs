//! Values that are made to be taken for something else, in every field that becomes an argument.

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::git_server::Door;
use serde_json::{Value, json};

use crate::search::Canary;
use crate::yard::{Yard, git};

/// Values that some program could take for something else.
fn hostile(canary: &str) -> Vec<String> {
    vec![
        format!("--upload-pack=touch {canary}"),
        "--upload-pack=touch".to_owned(),
        "-oProxyCommand=touch".to_owned(),
        format!("x;touch {canary}"),
        format!("x;touch${{IFS}}{canary}"),
        format!("$(touch {canary})"),
        format!("`touch {canary}`"),
        format!("x|touch {canary}"),
        format!("x\ntouch {canary}"),
        format!("x\rtouch {canary}"),
        format!("x && touch {canary}"),
        "x\0y".to_owned(),
        "../../etc/passwd".to_owned(),
        "'\"".to_owned(),
        "x>y".to_owned(),
        "x*".to_owned(),
        " ".to_owned(),
        String::new(),
        "\u{202e}x".to_owned(),
        "x".repeat(5_000),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_no_names_are_refused_at_the_door() -> Result<()> {
    let yard = Yard::open("hosnam", &[]).await?;
    yard.app("shop").await?;
    let canary = Canary::new()?;
    let bird = canary.shown();
    let api = &yard.bed.api;
    let good = yard.git.url(Door::Open, "shop");
    let mut cases: Vec<(String, Value)> = Vec::new();
    for value in hostile(&bird) {
        for (field, body) in [
            ("source.git.repository", git(&value, json!({}))),
            (
                "source.git.repository",
                git(&format!("{good}/-{value}"), json!({})),
            ),
            (
                "source.git.reference",
                git(&good, json!({"reference": value})),
            ),
            (
                "source.git.subfolder",
                git(&good, json!({"subfolder": value})),
            ),
            ("source.upload", json!({"source": {"upload": value}})),
            ("image", json!({"image": value})),
            (
                "app_name",
                json!({"app_name": value, "image": "x", "create": true}),
            ),
            ("environment", json!({"image": "x", "environment": value})),
        ] {
            // A path may hold much that an address may not: those are files, and never options.
            let is_file_name = field.ends_with("subfolder")
                && !value.is_empty()
                && value.len() < 256
                && !value.starts_with(['-', '/', '~'])
                && !value.contains("..")
                && !value.chars().any(char::is_control);
            if !is_file_name {
                cases.push((field.to_owned(), body));
            }
        }
    }
    for repository in [
        &format!("ext::sh -c touch% {bird}"),
        "ext::sh",
        "file:///etc",
        "/etc",
        "./x",
        "git://example.com/x",
        "https://user:pass-9f1@example.com/x",
        "https://token-9f1@example.com/x",
        "ssh://-oProxyCommand=touch@example.com/x",
        "ssh://-oProxyCommand=touch/x",
        "-oProxyCommand=touch@example.com:x",
        "git@-oProxyCommand=touch:x",
        "git@example.com:-x",
        "https://example.com/--upload-pack=x",
        "https://example.com/../x",
        "https://example.com",
        "https:///x",
        "https://[::1]/x",
        "HTTPS://example.com/x",
    ] {
        let body = git(repository, json!({}));
        cases.push(("source.git.repository".to_owned(), body));
    }
    for reference in [
        "-x", "a..b", "a.lock", "a~1", "a^", "a:b", "@{u}", "a\\b", ".x", "x/", "/x", "x//y", "@",
    ] {
        let body = git(&good, json!({"reference": reference}));
        cases.push(("source.git.reference".to_owned(), body));
    }
    for path in [
        "../x",
        "/etc/passwd",
        "-f",
        "~/x",
        "a/../../b",
        "a\nb",
        "a\\b",
    ] {
        for field in ["dockerfile_path", "definition_path"] {
            let mut body = git(&good, json!({}));
            body[field] = path.into();
            cases.push((field.to_owned(), body));
        }
    }
    ensure!(cases.len() > 150, "{}", cases.len());
    for (field, mut body) in cases {
        if body["app_name"].is_null() {
            body["app_name"] = "shop".into();
        }
        let answer = api.post("/deployments", &body).await?;
        ensure!(
            matches!(answer.status, 400 | 422),
            "{field} in {body}: {} {}",
            answer.status,
            answer.body
        );
        answer.problem().with_context(|| body.to_string())?;
        let text = answer.body.to_string();
        ensure!(!text.contains("9f1"), "a password is shown: {text}");
        let last = field.rsplit('.').next().unwrap_or_default();
        ensure!(text.contains(last), "{field} is named: {body}: {text}");
    }
    for value in hostile(&bird) {
        let settings = json!({"build": {"args": {&value: "x"}}});
        let answer = api.patch("/apps/shop", &settings).await?;
        answer.problem().with_context(|| settings.to_string())?;
        let settings = json!({"build": {"secrets": {&value: "x"}}});
        let answer = api.patch("/apps/shop", &settings).await?;
        answer.problem().with_context(|| settings.to_string())?;
        let app = json!({"app_name": value, "container_port": 8080});
        let answer = api.post("/apps", &app).await?;
        answer.problem().with_context(|| app.to_string())?;
    }
    let history = api.history("shop").await?;
    ensure!(history["total"] == 0, "something was begun: {history:#}");
    canary.expect_absent()?;
    yard.finish().await
}
