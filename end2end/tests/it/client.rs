//! `flukedeploy` as a client, as somebody at another machine uses it: logged in, with a file of servers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flukedeploy_end2end::git_server::Door;
use flukedeploy_end2end::images::{self, Sample};
use flukedeploy_end2end::instance::{Instance, Options};
use flukedeploy_end2end::source_files::Scratch;
use flukedeploy_end2end::wait;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::bed::Bed;
use crate::yard::Yard;

const PATIENCE: Duration = Duration::from_mins(3);
const SECRET: &str = "s3cret-canary-5f1d";

/// Somebody's terminal: the program, and a configuration of their own.
struct Terminal {
    home: Scratch,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn ends(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == code,
            "it ended with {}, not {code}:\n{}\n{}",
            self.code,
            self.out,
            self.err
        );
        Ok(self)
    }

    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("no JSON: {}", self.out))
    }

    fn says(&self, what: &str) -> Result<()> {
        ensure!(
            self.out.contains(what) || self.err.contains(what),
            "it says nothing of {what}:\n{}\n{}",
            self.out,
            self.err
        );
        Ok(())
    }
}

impl Terminal {
    fn new() -> Result<Self> {
        Ok(Self {
            home: Scratch::new("home")?,
        })
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("own").join("config.toml")
    }

    /// Nothing but the file says which server it is.
    fn command(&self, instance: &Instance, args: &[&str]) -> Result<Command> {
        let (verb, rest) = args.split_first().context("a verb")?;
        let mut command = instance.command(verb)?;
        command
            .args(rest)
            .env_remove("FLUKEDEPLOY_URL")
            .env_remove("FLUKEDEPLOY_API_TOKEN")
            .env("FLUKEDEPLOY_CONFIG", self.config())
            .current_dir(self.home.path());
        Ok(command)
    }

    async fn run(&self, instance: &Instance, args: &[&str]) -> Result<Said> {
        said(&mut self.command(instance, args)?, args).await
    }

    /// With something on standard input, which is looked for in everything that others can see of the
    /// process, and in what it says.
    async fn with_input(&self, instance: &Instance, args: &[&str], input: &str) -> Result<Said> {
        let mut child = self
            .command(instance, args)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let pid = child.id().context("it runs")?;
        let mut stdin = child.stdin.take().context("it has an input")?;
        stdin.write_all(input.as_bytes()).await?;
        // It reads on, so it is still there to be looked at; just begun, it has no arguments yet.
        let seen = wait::until("a process has arguments", PATIENCE, async || {
            let seen = std::fs::read(format!("/proc/{pid}/cmdline"))?;
            let seen = String::from_utf8_lossy(&seen).replace('\0', " ");
            Ok((!seen.is_empty()).then_some(seen))
        });
        let seen = seen.await?;
        ensure!(seen.contains(args[0]), "that is another process: {seen}");
        ensure!(!seen.contains(input.trim()), "others can see it: {seen}");
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await??;
        let said = told(&output);
        ensure!(
            !said.out.contains(input.trim()) && !said.err.contains(input.trim()),
            "it is printed by {args:?}"
        );
        Ok(said)
    }

    async fn login(&self, instance: &Instance) -> Result<Said> {
        let (url, token) = (instance.url(), format!("{}\n", instance.token));
        let args = ["login", &url, "--name", "here"];
        self.with_input(instance, &args, &token).await?.ends(0)
    }

    async fn json(&self, instance: &Instance, args: &[&str]) -> Result<Value> {
        let args = [args, &["--json"]].concat();
        self.run(instance, &args).await?.ends(0)?.json()
    }
}

async fn said(command: &mut Command, args: &[&str]) -> Result<Said> {
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .with_context(|| format!("{args:?} does not end"))??;
    Ok(told(&output))
}

fn told(output: &std::process::Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_logs_in_and_is_told_by_its_exit_code_what_went_wrong() -> Result<()> {
    let bed = Bed::start("client", Options::default()).await?;
    let here = &bed.instance;
    let me = Terminal::new()?;

    // Nobody yet: no token, a wrong one, and nobody who listens.
    me.run(here, &["apps"])
        .await?
        .ends(2)?
        .says("flukedeploy login")?;
    let url = here.url();
    let wrong = me
        .with_input(here, &["login", &url], "wrong-token\n")
        .await?;
    wrong.ends(3)?.says("unauthorized")?;
    ensure!(!me.config().exists(), "a refused login is kept");
    let mut away = me.command(here, &["apps", "--url", "http://127.0.0.1:9", "--json"])?;
    let away = said(away.env("FLUKEDEPLOY_TOKEN", "x"), &["apps"]).await?;
    ensure!(away.ends(6)?.json()?["code"] == "server_unreachable");

    me.login(here).await?.says("kept as here")?;
    let rights = std::fs::metadata(me.config())?.permissions().mode() & 0o777;
    ensure!(
        rights == 0o600,
        "the file with the token has mode {rights:o}"
    );
    let servers = me.json(here, &["servers"]).await?;
    ensure!(
        servers["servers"] == json!([{"server": "here", "url": url, "default": true}]),
        "{servers:#}"
    );

    // The environment wins over the file, and others may not read it.
    let mut other = me.command(here, &["apps"])?;
    other.env("FLUKEDEPLOY_TOKEN", "wrong-token");
    said(&mut other, &["apps"]).await?.ends(3)?;
    std::fs::set_permissions(me.config(), std::fs::Permissions::from_mode(0o644))?;
    me.run(here, &["apps"]).await?.ends(2)?.says("chmod 600")?;
    std::fs::set_permissions(me.config(), std::fs::Permissions::from_mode(0o600))?;
    me.run(here, &["apps", "--server", "there"])
        .await?
        .ends(2)?;

    // Apps are made once, shown, listed and deleted.
    let create = [
        "apps",
        "create",
        "shop",
        "--port",
        "8080",
        "--health-path",
        "/health",
    ];
    me.run(here, &create).await?.ends(0)?.says("shop")?;
    me.run(here, &create)
        .await?
        .ends(5)?
        .says("already_exists")?;
    let app = me.json(here, &["apps", "show", "shop"]).await?;
    ensure!(app["container_port"] == 8080, "{app:#}");
    let apps = me.json(here, &["apps"]).await?;
    ensure!(
        apps["total"] == 1 && apps["apps"][0]["app_name"] == "shop",
        "{apps:#}"
    );
    let missing = me.run(here, &["apps", "show", "shp"]).await?.ends(4)?;
    missing.says("app_not_found")?;
    missing.says("next: ")?;
    me.run(here, &["scale", "shop", "0"]).await?.ends(2)?;
    me.run(here, &["status", "shop"]).await?.ends(4)?;
    me.run(here, &["deploy", "nginx"]).await?.ends(2)?;

    // Variables go in and do not come out.
    let set = ["env", "set", "shop", "--secret", "API_KEY"];
    me.with_input(here, &set, &format!("{SECRET}\n"))
        .await?
        .ends(0)?;
    let spoken = format!("API_KEY={SECRET}");
    let refused = me
        .run(here, &["env", "set", "shop", "--secret", &spoken])
        .await?;
    ensure!(
        !refused.ends(2)?.err.contains(SECRET),
        "it repeats a secret"
    );
    std::fs::write(
        me.home.path().join(".env"),
        "# own\nMODE=\"a b\"\nexport LEVEL=warn\n",
    )?;
    me.run(here, &["env", "set", "shop", "A=1", "--file", ".env"])
        .await?
        .ends(0)?;
    me.run(here, &["env", "unset", "shop", "LEVEL"])
        .await?
        .ends(0)?;
    let names = me.json(here, &["env", "list", "shop"]).await?;
    let expected = json!([
        {"key": "A", "is_secret": false},
        {"key": "API_KEY", "is_secret": true},
        {"key": "MODE", "is_secret": false},
    ]);
    ensure!(names["env_vars"] == expected, "{names:#}");

    // A token that may only look: made, refused, replaced, revoked.
    let made = me
        .json(
            here,
            &[
                "tokens", "create", "eyes", "--app", "shop", "--role", "viewer",
            ],
        )
        .await?;
    let (id, token) = (made["id"].as_str(), made["token"].as_str());
    let (id, token) = (id.context("an id")?, token.context("a token")?);
    let mut refused = me.command(here, &["scale", "shop", "2"])?;
    said(refused.env("FLUKEDEPLOY_TOKEN", token), &["scale"])
        .await?
        .ends(3)?;
    let listed = me.run(here, &["tokens"]).await?.ends(0)?;
    ensure!(
        listed.out.contains("eyes") && !listed.out.contains(token),
        "{}",
        listed.out
    );
    let next = me.run(here, &["tokens", "rotate", id]).await?.ends(0)?;
    let next = next.out.trim();
    ensure!(
        !next.is_empty() && !next.contains(char::is_whitespace),
        "{next}"
    );
    let mut renewed = me.command(here, &["apps"])?;
    said(renewed.env("FLUKEDEPLOY_TOKEN", next), &["apps"])
        .await?
        .ends(0)?;
    let tokens = me.json(here, &["tokens"]).await?;
    let valid = |token: &&Value| token["name"] == "eyes" && token["revoked_at"].is_null();
    let valid = tokens["tokens"]
        .as_array()
        .and_then(|all| all.iter().find(valid));
    let id = valid
        .and_then(|token| token["id"].as_str())
        .context("the new one is listed")?;
    me.run(here, &["tokens", "revoke", id]).await?.ends(0)?;
    let mut revoked = me.command(here, &["apps"])?;
    said(revoked.env("FLUKEDEPLOY_TOKEN", next), &["apps"])
        .await?
        .ends(3)?;

    let opened = me.run(here, &["open", "shop"]).await?.ends(0)?;
    ensure!(
        opened.out.trim().starts_with("http://shop.localhost"),
        "{}",
        opened.out
    );
    for (shell, word) in [
        ("bash", "complete"),
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
    ] {
        me.run(here, &["completions", shell])
            .await?
            .ends(0)?
            .says(word)?;
    }
    me.run(here, &["apps", "delete", "shop"])
        .await?
        .ends(2)?
        .says("--yes")?;
    me.run(here, &["apps", "delete", "shop", "--yes"])
        .await?
        .ends(0)?;
    me.run(here, &["logout"]).await?.ends(0)?;
    let kept = std::fs::read_to_string(me.config())?;
    ensure!(
        !kept.contains(&bed.instance.token),
        "logging out keeps the token"
    );
    bed.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_deploys_what_there_is_and_its_exit_code_says_how_it_ended() -> Result<()> {
    let yard = Yard::open("clientd", &[]).await?;
    let (bed, here) = (&yard.bed, &yard.bed.instance);
    let me = Terminal::new()?;
    me.login(here).await?;
    yard.app("shop").await?;

    // An image: five phases on standard error, one result on standard output.
    let good = bed.image(Sample::version("v1")).await?;
    let deployed = me
        .run(here, &["deploy", &good, "--app", "shop"])
        .await?
        .ends(0)?;
    for phase in ["pre_build", "build", "pre_deploy", "deploy", "post_deploy"] {
        ensure!(
            deployed.err.contains(&format!("+ {phase} ")),
            "{}",
            deployed.err
        );
    }
    ensure!(
        deployed.out.starts_with("shop  deploy  dep-"),
        "{}",
        deployed.out
    );
    ensure!(!deployed.out.contains('\u{1b}') && !deployed.err.contains('\u{1b}'));
    bed.expect_serving("shop", "v1").await?;

    // One that dies: exit code 1, and why.
    let bad = bed.image(Sample::version("bad").exits_with(7)).await?;
    let failed = me
        .run(here, &["deploy", &bad, "--app", "shop"])
        .await?
        .ends(1)?;
    failed.says("exited_with_code")?;
    failed.says("exit code: 7")?;
    failed.says("next: ")?;
    let known = me.json(here, &["status", "shop"]).await?;
    ensure!(
        known["diagnosis"]["code"] == "exited_with_code",
        "{known:#}"
    );
    let id = known["deployment_id"].as_str().context("an id")?;
    me.run(here, &["status", id, "--watch"]).await?.ends(1)?;
    let again = me
        .run(here, &["deploy", &bad, "--app", "shop", "--json"])
        .await?;
    ensure!(again.ends(1)?.json()?["diagnosis"]["evidence"]["exit_code"] == 7);

    // A folder, without what its .dockerignore names, and with no link out of it.
    let web = me.home.path().join("web");
    for (path, content) in yard.web("from-folder") {
        let path = web.join(path);
        std::fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        std::fs::write(path, content)?;
    }
    std::fs::write(web.join(".dockerignore"), "private\n")?;
    std::fs::create_dir(web.join("private"))?;
    std::os::unix::fs::symlink("/etc/passwd", web.join("private/out"))?;
    let folder = [
        "deploy",
        "./web",
        "--app",
        "shop",
        "--idempotency-key",
        "once",
    ];
    me.run(here, &folder).await?.ends(0)?;
    bed.expect_serving("shop", "from-folder").await?;
    std::os::unix::fs::symlink("../../elsewhere", web.join("www/out"))?;
    let refused = me
        .run(here, &["deploy", "./web", "--app", "shop"])
        .await?
        .ends(2)?;
    refused.says("leads out of the folder")?;
    me.run(here, &["deploy", "./web", "--app", "shp"])
        .await?
        .ends(4)?;

    // A repository.
    let repository = yard.git.repository("web")?;
    repository.commit(&yard.web("from-git"))?;
    let url = yard.git.url(Door::Open, "web");
    let begun = me
        .json(here, &["deploy", &url, "--app", "shop", "--no-wait"])
        .await?;
    let id = begun["deployment_id"].as_str().context("an id")?;
    let ended = me.json(here, &["status", id, "--watch"]).await?;
    ensure!(ended["status"] == "success", "{ended:#}");
    bed.expect_serving("shop", "from-git").await?;

    // Everyday acts, and back to the first.
    let scaled = me.json(here, &["scale", "shop", "2"]).await?;
    ensure!(scaled["replicas"]["ready"] == 2, "{scaled:#}");
    let back = [
        "rollback",
        "shop",
        "--release",
        "1",
        "--reason",
        "it was better",
    ];
    let back = me.json(here, &back).await?;
    ensure!(
        back["rollback_of"] == 1 && back["reason"] == "it was better",
        "{back:#}"
    );
    bed.expect_serving("shop", "v1").await?;
    let history = me.json(here, &["history", "shop", "-n", "3"]).await?;
    ensure!(history["total"] == 3, "{history:#}");
    ensure!(
        history["deployments"][0]["act"] == "rollback",
        "{history:#}"
    );
    me.run(here, &["history", "shop"])
        .await?
        .ends(0)?
        .says("exited_with_code")?;
    let report = me.json(here, &["validate", "shop", "--no-tests"]).await?;
    ensure!(report["checks"].is_array(), "{report:#}");
    let foreign = images::foreign(&here.docker, "s390x").await?;
    let foreign = ["validate", "shop", "--image", &foreign, "--json"];
    let report = me.run(here, &foreign).await?.ends(1)?.json()?;
    ensure!(report["status"] == "failed", "{report:#}");
    let logs = me
        .run(here, &["logs", "shop", "-n", "5", "--json"])
        .await?
        .ends(0)?;
    ensure!(logs.out.lines().count() == 5, "{}", logs.out);
    me.run(here, &["logs", "shop", "--level", "loud"])
        .await?
        .ends(2)?;
    yard.finish().await
}
