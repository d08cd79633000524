//! The doors at which a diagnosis is read: REST, MCP and the dashboard's page.

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::api::session_cookie;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::mcp::Era;
use serde_json::{Value, json};

use crate::bed::{Bed, expect_diagnosis, expect_ended_truthfully};

const PASSWORD: &str = "a password of the tests";

/// An instance, and somebody who is signed in to its dashboard.
pub(super) struct Doors {
    pub(super) bed: Bed,
    cookie: String,
}

impl Doors {
    pub(super) async fn open(hint: &str, options: Options) -> Result<Self> {
        let options = Options {
            admin_password: Some(PASSWORD.to_owned()),
            ..options
        };
        let bed = Bed::start(hint, options).await?;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let url = bed.instance.url();
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
        let cookie = session_cookie(answer.headers())
            .with_context(|| format!("signing in: {}", answer.status()))?;
        Ok(Self { bed, cookie })
    }

    /// An app of one replica that has five seconds to become healthy; `more` is added.
    pub(super) async fn app(&self, name: &str, more: Value) -> Result<()> {
        let mut body = json!({
            "app_name": name, "container_port": 8080, "replicas": 1,
            "health": {"path": "/health", "deadline_seconds": 5},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.bed.api.post("/apps", &body).await?.ok()?;
        Ok(())
    }

    /// Deploys, which has to fail with this code.
    pub(super) async fn fails(&self, app: &str, image: &str, code: &str) -> Result<Value> {
        let id = self.bed.api.deploy(app, image).await?;
        self.failed(&id, code).await
    }

    /// The deployment ends in failure with this code, and every door says so. Returns the evidence.
    pub(super) async fn failed(&self, id: &str, code: &str) -> Result<Value> {
        let summary = self.bed.api.wait_final(id).await?;
        ensure!(summary["status"] != "success", "it succeeded: {summary:#}");
        expect_diagnosis(&summary, Some(&[code]))?;
        expect_ended_truthfully(&summary)?;
        self.told_alike(id, "diagnosis", &summary).await?;
        Ok(summary["diagnosis"]["evidence"].clone())
    }

    pub(super) async fn told_alike(&self, id: &str, field: &str, summary: &Value) -> Result<()> {
        let mut mcp = self.bed.instance.mcp(Era::Stateless).await?;
        let told = mcp
            .call_ok("deploy_status", json!({"deployment_id": id}))
            .await?;
        ensure!(
            told[field] == summary[field],
            "MCP tells another story: {:#}\n{:#}",
            told[field],
            summary[field]
        );
        self.page_shows(id, &summary[field]).await
    }

    async fn page_shows(&self, id: &str, diagnosis: &Value) -> Result<()> {
        let url = format!("{}/deployments/{id}", self.bed.instance.url());
        let request = reqwest::Client::new()
            .get(url)
            .header("Cookie", &self.cookie);
        let answer = request.send().await?;
        let status = answer.status();
        let page = answer.text().await?;
        let start = page.find("class=\"diagnosis\"");
        let start =
            start.with_context(|| format!("no diagnosis on the page ({status}): {page}"))?;
        let card = page[start..].split("</section>").next().unwrap_or_default();
        let card = unescaped(card);
        for text in texts(diagnosis) {
            ensure!(card.contains(&text), "the page lacks '{text}': {card}");
        }
        Ok(())
    }

    pub(super) async fn finish(self) -> Result<()> {
        self.bed.finish().await
    }
}

/// What the page has to show of a diagnosis. A sentence may begin with a capital letter there.
fn texts(diagnosis: &Value) -> Vec<String> {
    let sentence = |text: &Value| text.as_str().map(|text| text.chars().skip(1).collect());
    let mut texts: Vec<String> = vec![format!(
        "<code>{}</code>",
        diagnosis["code"].as_str().unwrap_or("none")
    )];
    texts.extend(sentence(&diagnosis["message"]));
    let steps = diagnosis["next"].as_array();
    texts.extend(steps.into_iter().flatten().filter_map(sentence));
    let evidence = diagnosis["evidence"].as_object();
    for (name, value) in evidence.into_iter().flatten() {
        match (name.as_str(), value) {
            ("replicas_ready", ready) => {
                let wanted = &diagnosis["evidence"]["replicas_wanted"];
                texts.push(format!("{ready} of {wanted} healthy"));
            }
            ("replicas_wanted", _) | (_, Value::Bool(false)) => {}
            ("oom_killed", _) => texts.push("killed for using too much".to_owned()),
            (_, Value::String(text)) => texts.push(text.clone()),
            (_, Value::Array(values)) => texts.extend(values.iter().map(|value| {
                let text = value.as_str().map(str::to_owned);
                text.unwrap_or_else(|| value.to_string())
            })),
            (_, value) => texts.push(format!(">{value}<")),
        }
    }
    texts
}

fn unescaped(html: &str) -> String {
    // Between two pieces of text the renderer leaves a mark, which is not shown.
    let mut text = html.replace("<!>", "").replace("<!---->", "");
    for (from, to) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        text = text.replace(from, to);
    }
    text
}
