//! What every test here begins with: an instance, and images to deploy on it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::api::Api;
use flukedeploy_end2end::images::{Images, Sample};
use flukedeploy_end2end::instance::{Instance, Options};
use flukedeploy_end2end::lease::Lease;
use flukedeploy_end2end::load::{Load, LoadOptions};
use serde_json::{Value, json};

/// Requests per second that a load must reach to prove that none is dropped.
pub(crate) const LEAST_LOAD: f64 = 300.0;
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Bed {
    pub(crate) instance: Instance,
    pub(crate) api: Api,
    images: Images,
    /// Held by tests under load: two of them at once would measure each other.
    machine: Option<Lease>,
}

impl Bed {
    pub(crate) async fn start(hint: &str, options: Options) -> Result<Self> {
        let instance = Instance::start(hint, options).await?;
        Ok(Self {
            api: instance.api(),
            images: Images::new(instance.docker.clone())?,
            instance,
            machine: None,
        })
    }

    /// Alone on the machine, as far as other tests under load go: from here to the end. What needs no
    /// load (starting, the first deployment) comes before, while another test may still have its turn.
    pub(crate) async fn alone(mut self) -> Result<Self> {
        self.machine = Some(Lease::take("load").await?);
        Ok(self)
    }

    /// The same, from before the first deployment.
    pub(crate) async fn start_for_load(hint: &str, options: Options) -> Result<Self> {
        Self::start(hint, options).await?.alone().await
    }

    /// An instance with an app `shop` on which `v1` serves, then alone on the machine.
    pub(crate) async fn shop_for_load(hint: &str, options: Options, replicas: u32) -> Result<Self> {
        let bed = Self::start(hint, options).await?;
        bed.app_on_v1("shop", replicas).await?;
        bed.alone().await
    }

    pub(crate) async fn image(&self, sample: Sample) -> Result<String> {
        self.images.build(&sample).await
    }

    /// An app of this many replicas on which `v1` serves.
    pub(crate) async fn app_on_v1(&self, app: &str, replicas: u32) -> Result<()> {
        self.api.create_app(app, replicas).await?;
        let image = self.image(Sample::version("v1")).await?;
        self.api.deploy_and_wait(app, &image).await?;
        self.expect_serving(app, "v1").await
    }

    /// The app answers with this version, now.
    pub(crate) async fn expect_serving(&self, app: &str, version: &str) -> Result<()> {
        let (status, body) = self.instance.get_app(app, "/version").await?;
        ensure!(
            status == 200 && body.trim() == version,
            "{app} should serve {version}, but answers {status}: {body}"
        );
        Ok(())
    }

    pub(crate) fn load_on(&self, app: &str) -> Load {
        let host = format!("{app}.localhost");
        Load::start(LoadOptions::new(self.instance.http_address(), host))
    }

    /// A load with other options than the usual ones.
    pub(crate) fn load_of(&self, app: &str, change: impl FnOnce(&mut LoadOptions)) -> Load {
        let host = format!("{app}.localhost");
        let mut options = LoadOptions::new(self.instance.http_address(), host);
        change(&mut options);
        Load::start(options)
    }

    /// Changes an app's settings.
    pub(crate) async fn change(&self, app: &str, settings: Value) -> Result<Value> {
        self.api
            .patch(&format!("/apps/{app}"), &settings)
            .await?
            .ok()
    }

    /// An everyday act (`scale`, `restart`, `stop` …), to its end.
    pub(crate) async fn act(&self, app: &str, act: &str, body: &Value) -> Result<Value> {
        let begun = self
            .api
            .post(&format!("/apps/{app}/{act}"), body)
            .await?
            .ok()?;
        let id = begun["deployment_id"].as_str();
        self.api.wait_final(id.context("an act has an id")?).await
    }

    /// Some hundred requests of the load were answered with this version from now on.
    pub(crate) async fn load_sees(&self, load: &Load, version: &str) -> Result<()> {
        load.wait_for_answers(version, 300, ANSWER_DEADLINE).await
    }

    /// Makes a token; `more` is added to its name and tier.
    pub(crate) async fn token(&self, tier: &str, more: Value) -> Result<String> {
        let mut body = json!({"name": format!("test {tier}"), "tier": tier});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let made = self.api.post("/tokens", &body).await?.ok()?;
        let token = made["token"].as_str();
        Ok(token.context("a new token shows its secret")?.to_owned())
    }

    pub(crate) async fn finish(self) -> Result<()> {
        self.instance.finish().await
    }
}

/// The parts of a summary that hold for every deployment that has ended.
pub(crate) fn expect_ended_truthfully(summary: &Value) -> Result<()> {
    let status = summary["status"].as_str().unwrap_or_default();
    ensure!(
        summary["completed_at"].is_string() && summary["total_duration_ms"].is_u64(),
        "a deployment that ended says when: {summary:#}"
    );
    for phase in ["pre_build", "build", "pre_deploy", "deploy", "post_deploy"] {
        let phase_status = summary["phases"][phase]["status"]
            .as_str()
            .unwrap_or_default();
        let fits = match status {
            "success" => phase_status == "success",
            "failed" | "rolled_back" => matches!(phase_status, "success" | "failed" | "pending"),
            _ => false,
        };
        ensure!(fits, "{phase} is {phase_status} in: {summary:#}");
    }
    if status != "success" {
        expect_diagnosis(summary, None)?;
    }
    Ok(())
}

/// A failed deployment tells why, with what was seen and what to try.
pub(crate) fn expect_diagnosis(summary: &Value, codes: Option<&[&str]>) -> Result<()> {
    let diagnosis = &summary["diagnosis"];
    let code = diagnosis["code"].as_str().unwrap_or_default();
    ensure!(
        !code.is_empty()
            && diagnosis["phase"].is_string()
            && diagnosis["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
            && diagnosis["evidence"].is_object()
            && diagnosis["next"]
                .as_array()
                .is_some_and(|next| !next.is_empty()),
        "not a whole diagnosis: {summary:#}"
    );
    if let Some(codes) = codes {
        ensure!(
            codes.contains(&code),
            "{code} is none of {codes:?}: {summary:#}"
        );
    }
    Ok(())
}
