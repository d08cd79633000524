//! Somebody who validates at two doors, compares them, and remembers every finding; and a scanner that
//! says what it is told to say.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::mcp::{Era, Mcp};
use flukedeploy_end2end::random_name;
use flukedeploy_end2end::source_files::Scratch;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::bed::{expect_diagnosis, expect_ended_truthfully};
use crate::yard::Yard;

/// How a finding is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Pass,
    Warning,
    Fail,
    NotRun,
}

use Severity::{Fail, NotRun, Pass, Warning};

impl Severity {
    pub(super) fn of(check: &Value) -> Result<Self> {
        Ok(match (check["status"].as_str(), &check["not_run"]) {
            (Some("pass"), Value::Null) => Pass,
            (Some("warning"), Value::Null) => Warning,
            (Some("fail"), Value::Null) => Fail,
            // Never as passed.
            (Some("warning"), Value::Bool(true)) => NotRun,
            _ => anyhow::bail!("no severity: {check:#}"),
        })
    }
}

pub(super) struct Looker {
    pub(super) yard: Yard,
    mcp: Mcp,
    /// What a check can be named, as the product says.
    pub(super) known: BTreeSet<String>,
    /// Every finding that was looked for and found, by name and severity.
    pub(super) provoked: BTreeMap<(String, &'static str), String>,
}

impl Looker {
    pub(super) async fn open(hint: &str, more: &[&str]) -> Result<Self> {
        let yard = Yard::open(hint, more).await?;
        let mcp = yard.bed.instance.mcp(Era::Stateless).await?;
        let mut looker = Self {
            yard,
            mcp,
            known: BTreeSet::new(),
            provoked: BTreeMap::new(),
        };
        looker.known = looker.names().await?;
        Ok(looker)
    }

    /// The names of all checks, as a wrong one is answered.
    async fn names(&self) -> Result<BTreeSet<String>> {
        let api = &self.yard.bed.api;
        api.create_app("names", 1).await?;
        let wrong = json!({"checks": {"ignore": ["runs_as_root", "mutable_tag"]}});
        let answer = api.patch("/apps/names", &wrong).await?;
        answer.problem()?;
        let text = answer.body["message"].as_str().unwrap_or_default();
        let names = text.split_once("'mutable_tag' is none; they are: ");
        let (_, names) = names.with_context(|| format!("{answer:?}"))?;
        Ok(names.split(", ").map(str::to_owned).collect())
    }

    /// An app with these settings beside its name.
    pub(super) async fn app(&self, app: &str, mut settings: Value) -> Result<()> {
        settings["app_name"] = app.into();
        let api = &self.yard.bed.api;
        api.post("/apps", &settings).await?.ok().map(drop)
    }

    pub(super) async fn change(&self, app: &str, settings: Value) -> Result<()> {
        self.yard.bed.change(app, settings).await.map(drop)
    }

    /// The findings about an image (else about what serves), the same at both doors.
    pub(super) async fn validate(&mut self, app: &str, image: Option<&str>) -> Result<Value> {
        let mut question = json!({"app_name": app});
        if let Some(image) = image {
            question["image"] = image.into();
        }
        let told = self.mcp.call_ok("deploy_validate", question.clone());
        let told = told.await?;
        if let Some(question) = question.as_object_mut() {
            question.remove("app_name");
        }
        let path = format!("/apps/{app}/validate");
        let report = self.yard.bed.api.post(&path, &question).await?.ok()?;
        ensure!(
            told == report,
            "the doors differ: {told:#}\nand: {report:#}"
        );
        self.expect_sound(&report["checks"])?;
        let severities = severities(&report["checks"])?;
        let worst = if severities.contains(&Fail) {
            "failed"
        } else if severities.contains(&Warning) || severities.contains(&NotRun) {
            "warning"
        } else {
            "passed"
        };
        ensure!(report["status"] == worst, "not {worst}: {report:#}");
        Ok(report)
    }

    /// Validates, and looks for one finding.
    pub(super) async fn finds(
        &mut self,
        app: &str,
        image: Option<&str>,
        (name, severity): (&str, Severity),
        words: &str,
    ) -> Result<Value> {
        let report = self.validate(app, image).await?;
        self.has(&report["checks"], (name, severity), words)?;
        Ok(report)
    }

    /// One finding of this name is there, as severe as it should be, and says so.
    pub(super) fn has(
        &mut self,
        checks: &Value,
        (name, severity): (&str, Severity),
        words: &str,
    ) -> Result<()> {
        let named: Vec<&Value> = checks
            .as_array()
            .into_iter()
            .flatten()
            .filter(|check| check["name"] == name)
            .collect();
        let [check] = named.as_slice() else {
            anyhow::bail!("{} findings are named {name}: {checks:#}", named.len());
        };
        let message = check["message"].as_str().unwrap_or_default();
        ensure!(
            Severity::of(check)? == severity && message.contains(words),
            "{name} should be {severity:?} and say '{words}': {check:#}"
        );
        let shown = match severity {
            Pass => "pass",
            Warning => "warning",
            Fail => "fail",
            NotRun => "not run",
        };
        let remedy = check["suggestion"].as_str().unwrap_or("-");
        let line = format!("{message} | {remedy}");
        self.provoked.insert((name.to_owned(), shown), line);
        Ok(())
    }

    /// What holds for every list of findings.
    fn expect_sound(&self, checks: &Value) -> Result<()> {
        let mut names = BTreeSet::new();
        for check in checks.as_array().context("checks")? {
            let text = |field: &str| check[field].as_str().unwrap_or_default();
            let name = text("name");
            ensure!(names.insert(name), "{name} is there twice: {checks:#}");
            ensure!(
                self.known.contains(name),
                "{name} is none of the names: {check:#}"
            );
            let categories = ["docker", "network", "security", "configuration"];
            ensure!(categories.contains(&text("category")), "{check:#}");
            ensure!(!text("message").is_empty(), "{check:#}");
            let has_remedy = !text("suggestion").is_empty();
            match Severity::of(check)? {
                Pass => ensure!(check["suggestion"].is_null(), "{check:#}"),
                Warning | Fail => ensure!(has_remedy, "what to do about it? {check:#}"),
                NotRun => ensure!(text("message").starts_with("not run: "), "{check:#}"),
            }
        }
        Ok(())
    }

    /// Deploys with every check there is, to the end. The app's name is left out of `body`.
    pub(super) async fn strictly(&self, app: &str, mut body: Value) -> Result<Value> {
        body["validation_level"] = "strict".into();
        let summary = self.yard.run(app, body).await?;
        expect_ended_truthfully(&summary)?;
        if !summary["preparation"]["checks"].is_null() {
            self.expect_sound(&summary["preparation"]["checks"])?;
        }
        Ok(summary)
    }

    /// Deploys with every check there is, which stops it. Returns the findings.
    pub(super) async fn stopped(&mut self, app: &str, body: Value) -> Result<Value> {
        let summary = self.strictly(app, body).await?;
        ensure!(summary["status"] == "failed", "{summary:#}");
        expect_diagnosis(&summary, Some(&["validation_failed"]))?;
        self.told_alike(&summary).await?;
        Ok(summary["preparation"]["checks"].clone())
    }

    /// Builds a Dockerfile that cannot be built. Returns the findings.
    pub(super) async fn unbuildable(&mut self, app: &str, dockerfile: &str) -> Result<Value> {
        let summary = self
            .strictly(app, json!({"dockerfile": dockerfile}))
            .await?;
        ensure!(summary["status"] == "failed", "{summary:#}");
        expect_diagnosis(&summary, Some(&["build_failed"]))?;
        self.told_alike(&summary).await?;
        Ok(summary["preparation"]["checks"].clone())
    }

    async fn told_alike(&mut self, summary: &Value) -> Result<()> {
        let question = json!({"deployment_id": summary["deployment_id"]});
        let told = self.mcp.call_ok("deploy_status", question).await?;
        ensure!(
            told["preparation"] == summary["preparation"],
            "the doors differ: {told:#}\nand: {summary:#}"
        );
        Ok(())
    }
}

fn severities(checks: &Value) -> Result<Vec<Severity>> {
    let checks = checks.as_array().context("checks")?;
    checks.iter().map(Severity::of).collect()
}

/// A Python interpreter under the name of a scanner: what it does is read anew at each scan.
pub(super) struct Scanner {
    scratch: Scratch,
    name: &'static str,
    /// In the command line of what a hanging one starts.
    pub(super) marker: String,
}

impl Scanner {
    pub(super) async fn new(name: &'static str) -> Result<Self> {
        let found = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .stdin(Stdio::null())
            .output()
            .await
            .context("starting python3; is the package of that name installed?")?;
        let scanner = Self {
            scratch: Scratch::new("scanner")?,
            name,
            marker: format!("scan{}", random_name(10)),
        };
        let python = String::from_utf8(found.stdout)?;
        std::os::unix::fs::symlink(python.trim(), scratch_path(&scanner, name))?;
        let read = "import os, runpy, sys\n\
                    here = os.path.dirname(os.path.abspath(__file__))\n\
                    open(here + '/asked', 'w').write(' '.join(sys.argv[1:]))\n\
                    runpy.run_path(here + '/does.py')\n";
        std::fs::write(scratch_path(&scanner, "scan.py"), read)?;
        scanner.prints(&json!({"SchemaVersion": 2, "matches": []}))?;
        Ok(scanner)
    }

    /// For `--scanner`.
    pub(super) fn command(&self) -> String {
        let (program, script) = (scratch_path(self, self.name), scratch_path(self, "scan.py"));
        format!("{} -IS {}", program.display(), script.display())
    }

    pub(super) fn prints(&self, report: &Value) -> Result<()> {
        // A text in JSON is one in Python too.
        let text = json!(report.to_string());
        self.does(&format!("import sys\nsys.stdout.write({text})\n"))
    }

    pub(super) fn does(&self, script: &str) -> Result<()> {
        Ok(std::fs::write(scratch_path(self, "does.py"), script)?)
    }

    /// Never ends, and neither does what it starts.
    pub(super) fn hangs(&self) -> Result<()> {
        self.does(&format!(
            "import subprocess, sys\n\
             subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)', '{}'])\n",
            self.marker
        ))
    }

    /// The arguments of the last scan.
    pub(super) fn asked(&self) -> Result<String> {
        Ok(std::fs::read_to_string(scratch_path(self, "asked"))?)
    }
}

fn scratch_path(scanner: &Scanner, name: &str) -> std::path::PathBuf {
    scanner.scratch.path().join(name)
}
