//! What was marked secret is nowhere: in no file of the data directory and at no door, while the app
//! has it; before and after the key is changed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use flukedeploy_end2end::api::session_cookie;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::mcp::Era;
use flukedeploy_end2end::wait;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::bed::Bed;
use crate::yard::{self, Yard};

const SOON: Duration = Duration::from_secs(30);
const PASSWORD: &str = "correct horse battery staple";

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The secrets of this run, each in the forms it could have been written in.
pub(crate) struct Canaries(Vec<(&'static str, Vec<String>)>);

impl Canaries {
    pub(crate) fn new(secrets: &[(&'static str, &str)]) -> Self {
        let forms = |secret: &str| {
            let mut forms = vec![
                secret.to_owned(),
                hex(secret.as_bytes()),
                hex(secret.as_bytes()).to_uppercase(),
                secret.replace('/', "%2F").replace('+', "%2B"),
            ];
            for shift in 0..3 {
                // The middle of the code, which depends on nothing around it.
                let shifted = format!("{}{secret}", "x".repeat(shift));
                for code in [
                    STANDARD_NO_PAD.encode(&shifted),
                    URL_SAFE_NO_PAD.encode(&shifted),
                ] {
                    forms.push(code[4..code.len() - 4].to_owned());
                }
            }
            forms
        };
        let all = secrets.iter();
        Self(all.map(|(name, secret)| (*name, forms(secret))).collect())
    }

    pub(crate) fn expect_not_in(&self, what: &str, bytes: &[u8]) -> Result<()> {
        for (name, forms) in &self.0 {
            for form in forms {
                let found = bytes
                    .windows(form.len())
                    .any(|window| window == form.as_bytes());
                ensure!(!found, "{what} holds {name} as '{form}'");
            }
        }
        Ok(())
    }

    /// How many files were looked at.
    pub(crate) fn expect_in_no_file(&self, directory: &Path) -> Result<usize> {
        let mut count = 0;
        for file in fs::read_dir(directory)? {
            let path = file?.path();
            if path.is_dir() {
                count += self.expect_in_no_file(&path)?;
            } else if path.is_file() {
                // What is gone meanwhile holds nothing.
                let Ok(bytes) = fs::read(&path) else { continue };
                self.expect_not_in(&path.to_string_lossy(), &bytes)?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Prints its secret in every way, and answers with its hash.
const ENTRYPOINT: &str = "printf %s \"$API_THING\" | busybox sha256sum | busybox cut -c1-64 > /www/hash; \
    echo plain $API_THING; echo plain $API_THING >&2; \
    echo \"{\\\"level\\\":\\\"warn\\\",\\\"msg\\\":\\\"json\\\",\\\"thing\\\":\\\"$API_THING\\\"}\"; \
    echo code $(printf %s \"$API_THING\" | busybox base64); \
    echo url $(printf %s \"$API_THING\" | busybox sed 's#/#%2F#g; s#+#%2B#g'); \
    echo over; exec httpd -f -p 8080 -h /www";

async fn pages(bed: &Bed, id: &str, webhook: &str) -> Result<Vec<(String, String)>> {
    let url = bed.instance.url();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let answer = client
        .post(format!("{url}/sign-in"))
        .header("Origin", &url)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!(
            "name=admin&password={}",
            PASSWORD.replace(' ', "+")
        ))
        .send()
        .await?;
    let cookie = session_cookie(answer.headers())?;
    let mut pages = Vec::new();
    for path in [
        "/apps",
        "/apps/shop",
        "/apps/shop/deploy",
        "/apps/shop/rollback",
        "/apps/shop/environments/new",
        "/deployments",
        &format!("/deployments/{id}"),
        "/apps/shop/logs",
        "/credentials",
        "/webhooks",
        &format!("/webhooks/{webhook}"),
        "/tokens",
        "/system",
    ] {
        let request = client
            .get(format!("{url}{path}"))
            .header("Cookie", &cookie)
            .send();
        let answer = request.await?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        pages.push((path.to_owned(), answer.text().await?));
    }
    // A form with a fault comes back with what was typed, but not with secrets.
    let typed = "settings_version=1&container_port=0&secret_env_vars=API_THING%3Dtyped-and-gone";
    let answer = client
        .post(format!("{url}/apps/shop"))
        .header("Origin", &url)
        .header("Cookie", &cookie)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(typed)
        .send()
        .await?;
    ensure!(answer.status() == 422, "a faulty form: {}", answer.status());
    let page = answer.text().await?;
    ensure!(!page.contains("typed-and-gone"), "a typed secret came back");
    pages.push(("a faulty form".to_owned(), page));
    Ok(pages)
}

/// Everything that can be asked for, and bad input around the secrets themselves.
async fn answers(
    bed: &Bed,
    id: &str,
    webhook: &str,
    secret: &str,
) -> Result<Vec<(String, String)>> {
    let mut answers = Vec::new();
    for path in [
        "/apps",
        "/apps/shop",
        "/apps/shop/releases",
        "/apps/shop/environments",
        "/apps/shop/environments/production",
        "/apps/shop/deployments",
        "/deployments",
        "/deployments/active",
        "/deployments/stats",
        &format!("/deployments/{id}"),
        &format!("/deployments/{id}/logs"),
        &format!("/deployments/{id}/receipt"),
        "/credentials",
        "/webhooks",
        &format!("/webhooks/{webhook}/deliveries"),
        "/logs?app_name=shop&limit=1000",
        "/logs?app_name=shop&summary=true",
        "/logs/export?app_name=shop",
        "/tokens",
        "/audit",
        "/system",
    ] {
        let answer = bed.api.get(path).await?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
        answers.push((path.to_owned(), answer.body.to_string()));
    }
    let wrong = [
        json!({"secret_env_vars": {"A=B": secret}}),
        json!({"secret_env_vars": {"A": secret, "B": 5}, "env_vars": {"A": secret}}),
        json!({"env_vars": [{"key": "A", "value": secret, "secret": "yes"}]}),
        json!({"env_vars": {"A": [secret]}, "if_version": 1}),
        json!({"secret_env_vars": {"A": format!("{secret}\u{0}")}}),
        json!({"build": {"secrets": {"A": [secret]}}}),
        json!({"build": {"secrets": secret}}),
    ];
    for body in wrong {
        let answer = bed.api.patch("/apps/shop", &body).await?;
        ensure!(answer.status >= 400, "{answer:?}");
        answers.push((
            format!("the answer {}", answer.status),
            answer.body.to_string(),
        ));
    }
    let mut mcp = bed.instance.mcp(Era::Stateless).await?;
    for (tool, arguments) in [
        ("deploy_status", json!({"deployment_id": id})),
        ("deploy_logs", json!({"app_name": "shop"})),
        ("deploy_history", json!({"app_name": "shop"})),
        ("deploy_validate", json!({"app_name": "shop"})),
        ("flukedeploy_list_apps", json!({})),
        (
            "deploy_app",
            json!({"app_name": "shop", "image": "shop:1", "secret_env_vars": {"A": [secret]}}),
        ),
    ] {
        let answer = mcp.call(tool, arguments).await?;
        answers.push((tool.to_owned(), answer.to_string()));
    }
    Ok(answers)
}

/// The app has the secret, and nobody else.
async fn expect_kept(yard: &Yard, canaries: &Canaries, facts: &Facts) -> Result<()> {
    let bed = &yard.bed;
    let (status, hash) = bed.instance.get_app("shop", "/hash").await?;
    let expected = hex(&Sha256::digest(facts.secret.as_bytes()));
    ensure!(
        status == 200 && hash.trim() == expected,
        "the app has another value: {hash}"
    );
    let mut told = answers(bed, &facts.id, &facts.webhook, &facts.secret).await?;
    told.extend(pages(bed, &facts.id, &facts.webhook).await?);
    for (what, text) in told {
        canaries.expect_not_in(&what, text.as_bytes())?;
    }
    let looked_at = canaries.expect_in_no_file(&bed.instance.data_dir())?;
    ensure!(looked_at > 5, "only {looked_at} files were looked at");
    canaries.expect_not_in("the server's own log", bed.instance.log()?.as_bytes())
}

struct Facts {
    secret: String,
    id: String,
    webhook: String,
}

fn keys(bed: &Bed) -> Result<String> {
    Ok(fs::read_to_string(
        bed.instance.data_dir().join("secret.key"),
    )?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_at_rest_nowhere_and_at_no_door() -> Result<()> {
    // Characters that addresses and base64 write in another way.
    let made = |name: &str| format!("{name}/{}+z", flukedeploy_end2end::random_name(24));
    let (secret, build, registry) = (made("env"), made("build"), made("registry"));
    let options = Options {
        admin_password: Some(PASSWORD.to_owned()),
        ..yard::options(&[])
    };
    let mut yard = Yard::of(Bed::start("secret", options).await?).await?;
    yard.app("shop").await?;
    yard.credential(json!({
        "kind": "registry", "host": "registry.example.com", "username": "bob", "secret": registry,
    }))
    .await?;
    let hook = json!({"url": "http://127.0.0.1:9/hook"});
    let hook = yard.bed.api.post("/webhooks", &hook).await?.ok()?;
    let of_hook = hook["secret"].as_str().context("told once")?.to_owned();
    let stream = yard.bed.instance.stream("app_name=shop").await?;
    stream.wait_for("a greeting", SOON, |_| true).await?;
    let changed = yard
        .bed
        .change(
            "shop",
            json!({"build": {"secrets": {"npm": build}}, "secret_env_vars": {"API_THING": secret, "PIN": "123"}}),
        )
        .await?;
    ensure!(
        changed["env_vars"]
            == json!([{"key": "API_THING", "is_secret": true}, {"key": "PIN", "is_secret": true}]),
        "{changed:#}"
    );
    let warned = changed["env_var_warnings"].to_string();
    ensure!(
        warned.contains("PIN is marked secret") && !warned.contains("API_THING"),
        "{warned}"
    );
    let entrypoint = json!(["/bin/sh", "-c", ENTRYPOINT]);
    let dockerfile = yard.dockerfile(&format!(
        "RUN --mount=type=secret,id=npm echo {} && echo logged in with $(cat /run/secrets/npm) && mkdir -p /www && \
         echo well > /www/health\nENTRYPOINT {entrypoint}",
        yard.bed.instance.data_dir().display()
    ));
    let done = yard.run("shop", json!({"dockerfile": dockerfile})).await?;
    ensure!(
        done["status"] == "success",
        "{done:#}\n{}",
        yard.output(&done).await?
    );
    let told = wait::until("all lines are told", SOON, || async {
        let answer = yard.bed.api.logs("app_name=shop&limit=1000").await?;
        let answer = answer.to_string();
        Ok(answer.contains("\"over\"").then_some(answer))
    })
    .await?;
    for part in [
        "plain [redacted:API_THING]",
        "code [redacted:API_THING]",
        "url [redacted:API_THING]",
        "\"thing\":\"[redacted:API_THING]\"",
        "logged in with [redacted:npm]",
    ] {
        ensure!(told.contains(part), "there is no '{part}' in {told}");
    }
    let canaries = Canaries::new(&[
        ("the variable", &secret),
        ("the build secret", &build),
        ("the credential", &registry),
        ("the webhook's secret", &of_hook),
    ]);
    let is_last = |frame: &Value| frame.to_string().contains("\"over\"");
    stream.wait_for("the last line", SOON, is_last).await?;
    let streamed = Value::from(stream.frames()).to_string();
    canaries.expect_not_in("the stream", streamed.as_bytes())?;
    drop(stream);
    let id = done["deployment_id"].as_str().context("an id")?.to_owned();
    let webhook = hook["id"].as_str().context("an id")?.to_owned();
    let facts = Facts {
        secret,
        id,
        webhook,
    };
    expect_kept(&yard, &canaries, &facts).await?;

    // While the control plane runs, its key is not changed under it.
    let refused = yard.bed.instance.command("secrets")?.arg("rotate").output();
    let refused = refused.await?;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && why.contains("stop the control plane first"),
        "{why}"
    );
    // The trail is checked beside it.
    let verified = yard.bed.instance.command("audit")?.arg("verify").output();
    let verified = verified.await?;
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    ensure!(
        verified.status.success() && said.contains("intact"),
        "{said}{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    let before = keys(&yard.bed)?;
    yard.bed.instance.stop().await?;
    expect_tampering_found(&yard.bed).await?;
    let rotated = yard.bed.instance.command("secrets")?.arg("rotate").output();
    let rotated = rotated.await?;
    let said = String::from_utf8_lossy(&rotated.stdout).into_owned();
    ensure!(
        rotated.status.success() && said.contains("was changed"),
        "{said}{}",
        String::from_utf8_lossy(&rotated.stderr)
    );
    let after = keys(&yard.bed)?;
    ensure!(before != after && before.lines().count() == after.lines().count());
    canaries.expect_in_no_file(&yard.bed.instance.data_dir())?;
    yard.bed.instance.restart().await?;
    expect_kept(&yard, &canaries, &facts).await?;

    // The release starts again from what is sealed, and a mark stays with a new value.
    let again = yard.bed.act("shop", "restart", &json!({})).await?;
    ensure!(again["status"] == "success", "{again:#}");
    let changed = yard
        .bed
        .change("shop", json!({"env_vars": {"API_THING": "another value"}}))
        .await?;
    ensure!(changed["env_vars"][0]["is_secret"] == true, "{changed:#}");
    let bare = json!({"env_vars": [{"key": "API_THING", "secret": false}]});
    let refused = yard.bed.api.patch("/apps/shop", &bare).await?;
    ensure!(
        refused.status == 422 && refused.body.to_string().contains("needs a new value"),
        "{refused:?}"
    );
    expect_kept(&yard, &canaries, &facts).await?;
    yard.finish().await
}

/// Edits one row of a copy of the database behind the back of everybody, as somebody on the machine could.
async fn expect_tampering_found(bed: &Bed) -> Result<()> {
    const EDIT: &str = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        db.execute('DROP TRIGGER audit_entries_never_change')\n\
        db.execute(\"UPDATE audit_entries SET entry = replace(entry, 'created', 'Created') WHERE sequence = 2\")\n\
        assert db.total_changes == 1\n\
        db.commit()\n";
    let copy = bed
        .instance
        .data_dir()
        .with_file_name("copy-to-tamper-with");
    std::fs::create_dir_all(&copy)?;
    for file in std::fs::read_dir(bed.instance.data_dir())? {
        let file = file?;
        if file.file_type()?.is_file() {
            std::fs::copy(file.path(), copy.join(file.file_name()))?;
        }
    }
    let python = std::env::var("FLUKEDEPLOY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let edited = tokio::process::Command::new(python)
        .args(["-c", EDIT])
        .arg(copy.join("control.db"))
        .output()
        .await?;
    ensure!(
        edited.status.success(),
        "{}",
        String::from_utf8_lossy(&edited.stderr)
    );
    let verified = bed
        .instance
        .command("audit")?
        .arg("verify")
        .arg("--data-dir")
        .arg(&copy)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    ensure!(
        verified.status.code() == Some(2) && said.contains("tampered with: entry 2"),
        "{said}{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    std::fs::remove_dir_all(&copy)?;
    Ok(())
}
