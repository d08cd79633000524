//! What stories about building begin with: an instance that may fetch from loopback, repositories, and
//! a base image to build from.

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::git_server::GitServer;
use flukedeploy_end2end::images;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::workbench;
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::bed::{Bed, expect_diagnosis, expect_ended_truthfully};

/// The one address that the instance is allowed to call besides public ones.
pub(crate) const ALLOWED: &str = "127.0.0.1";
/// As near, and not allowed.
pub(crate) const PRIVATE: &str = "127.0.0.2";

/// Limits are one set for all builds of an engine: a build that takes everything there is takes it from
/// those of other stories, so it waits until it is alone.
static TURNS: RwLock<()> = RwLock::const_new(());

#[expect(dead_code, reason = "held, not read")]
enum Turn {
    Together(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

pub(crate) struct Yard {
    _turn: Turn,
    pub(crate) bed: Bed,
    pub(crate) git: GitServer,
    /// Image with busybox, which serves `/www`.
    pub(crate) base: String,
}

impl Yard {
    pub(crate) async fn open(hint: &str, more: &[&str]) -> Result<Self> {
        let bed = Bed::start(hint, options(more)).await?;
        Self::of(bed).await
    }

    /// While no other story builds anything.
    pub(crate) async fn alone(hint: &str) -> Result<Self> {
        let turn = Turn::Alone(TURNS.write().await);
        let bed = Bed::start(hint, options(&[])).await?;
        Self::with(turn, bed).await
    }

    pub(crate) async fn of(bed: Bed) -> Result<Self> {
        let turn = Turn::Together(TURNS.read().await);
        Self::with(turn, bed).await
    }

    async fn with(turn: Turn, bed: Bed) -> Result<Self> {
        let base = workbench::small(&bed.instance.docker).await?;
        let git = GitServer::start().await?;
        Ok(Self {
            _turn: turn,
            bed,
            git,
            base,
        })
    }

    /// An app of one replica.
    pub(crate) async fn app(&self, app: &str) -> Result<()> {
        self.bed.api.create_app(app, 1).await.map(drop)
    }

    /// A Dockerfile on the base image; signals are ignored by its first process, so it is killed.
    pub(crate) fn dockerfile(&self, lines: &str) -> String {
        format!("FROM {}\nSTOPSIGNAL SIGKILL\n{lines}\n", self.base)
    }

    /// The files of an app that answers with `version`.
    pub(crate) fn web(&self, version: &str) -> [(&'static str, String); 3] {
        [
            ("Dockerfile", self.dockerfile("COPY www /www")),
            ("www/version", version.to_owned()),
            ("www/health", "well".to_owned()),
        ]
    }

    /// Builds and deploys: `body` without the app's name. To the end, whatever that is.
    pub(crate) async fn run(&self, app: &str, mut body: Value) -> Result<Value> {
        body["app_name"] = app.into();
        let id = self.bed.api.deploy_with(&body).await?;
        self.bed.api.wait_final(&id).await
    }

    /// Builds and deploys, with success, and the app answers with `version`.
    pub(crate) async fn built(&self, app: &str, body: Value, version: &str) -> Result<Value> {
        let summary = self.run(app, body).await?;
        self.expect_built(app, &summary, version).await?;
        Ok(summary)
    }

    pub(crate) async fn expect_built(
        &self,
        app: &str,
        summary: &Value,
        version: &str,
    ) -> Result<()> {
        ensure!(
            summary["status"] == "success",
            "it ended otherwise: {summary:#}\n{}",
            self.output(summary).await?
        );
        expect_ended_truthfully(summary)?;
        self.bed.expect_serving(app, version).await
    }

    /// Tries to build and deploy, which has to fail for one of these reasons, and has to say what to
    /// do about it. Returns the whole summary.
    pub(crate) async fn refused(&self, app: &str, body: Value, codes: &[&str]) -> Result<Value> {
        let summary = self.run(app, body).await?;
        self.expect_refused(&summary, codes).await?;
        Ok(summary)
    }

    pub(crate) async fn expect_refused(&self, summary: &Value, codes: &[&str]) -> Result<()> {
        ensure!(
            summary["status"] == "failed",
            "nothing was to be changed: {summary:#}\n{}",
            self.output(summary).await?
        );
        expect_ended_truthfully(summary)?;
        expect_diagnosis(summary, Some(codes))
    }

    /// Everything the deployment wrote, a line each.
    pub(crate) async fn output(&self, summary: &Value) -> Result<String> {
        let id = summary["deployment_id"].as_str();
        messages(&self.bed, id.context("a deployment has an id")?).await
    }

    /// Uploads an archive and deploys it, to the end.
    pub(crate) async fn upload(&self, app: &str, archive: Vec<u8>) -> Result<Value> {
        let path = format!("/apps/{app}/source");
        let request = self
            .bed
            .api
            .request(reqwest::Method::POST, &path)
            .header("Content-Type", "application/gzip")
            .body(archive);
        let accepted = self.bed.api.send(request).await?;
        ensure!(
            accepted.status == 202,
            "{} {}",
            accepted.status,
            accepted.body
        );
        let id = accepted.body["deployment_id"].as_str();
        self.bed.api.wait_final(id.context("an id")?).await
    }

    pub(crate) async fn credential(&self, credential: Value) -> Result<()> {
        let request = self
            .bed
            .api
            .request(reqwest::Method::PUT, "/credentials")
            .json(&credential);
        self.bed.api.send(request).await?.ok().map(drop)
    }

    /// Removes what was built here, and the instance.
    pub(crate) async fn finish(self) -> Result<()> {
        let docker = self.bed.instance.docker.clone();
        let built = format!("flukedeploy-{}/*", self.bed.instance.name);
        self.bed.finish().await?;
        let left = images::matching(&docker, &built).await?;
        for image in &left {
            images::remove(&docker, image).await?;
        }
        ensure!(
            left.is_empty(),
            "images that were built do not carry the instance's label: {left:?}"
        );
        Ok(())
    }
}

pub(crate) fn options(more: &[&str]) -> Options {
    let mut arguments = vec!["--allow-address".to_owned(), ALLOWED.to_owned()];
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    Options {
        arguments,
        ..Options::default()
    }
}

/// Everything a deployment wrote, a line each, its jobs' lines included.
pub(crate) async fn messages(bed: &Bed, id: &str) -> Result<String> {
    let logs = bed.api.deployment_logs(id).await?;
    let mut lines = Vec::new();
    for phase in ["pre_build", "build", "pre_deploy", "deploy", "post_deploy"] {
        for entry in logs["phases"][phase].as_array().into_iter().flatten() {
            lines.push(entry["message"].as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(lines.join("\n"))
}

/// `{"source": {"git": …}}`; `more` is put beside the repository.
pub(crate) fn git(repository: &str, more: Value) -> Value {
    let mut git = more;
    git["repository"] = repository.into();
    json!({"source": {"git": git}})
}
