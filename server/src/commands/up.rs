//! `flukedeploy up`: starts the control plane in the background and says where everything is.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use flukedeploy_platform::ports::Engine as _;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use super::{process, serve};
use crate::cli::Up;
use crate::config::Config;
use crate::{files, http_client};

/// How long the first start may take: Swarm, network, the ingress image.
const READY: Duration = Duration::from_mins(2);
/// How long the sample app may take.
const SAMPLE: Duration = Duration::from_secs(90);

pub fn run(args: &Up) -> anyhow::Result<ExitCode> {
    crate::telemetry::start("warn");
    let config = Config::new(&args.settings, &|name| std::env::var(name).ok())?;
    files::private_dir(&config.data_dir).with_context(|| {
        format!(
            "the data directory {} cannot be used",
            config.data_dir.display()
        )
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(up(args, &config))
}

#[expect(clippy::print_stdout, reason = "this command's answer")]
async fn up(args: &Up, config: &Config) -> anyhow::Result<ExitCode> {
    let is_first = !config.data_dir.join("control.db").exists();
    match process::running(&config.pid_file()) {
        Some(pid) if process::is_this_program(pid) => {
            println!("The control plane is running already.");
        }
        Some(pid) => {
            println!(
                "Another build of the control plane is running; replacing it (apps go on serving) …"
            );
            if !process::stop(pid, Duration::from_secs(30))? {
                bail!(
                    "process {} does not end; stop it and try again",
                    pid.as_raw_nonzero()
                );
            }
            start(config)?;
        }
        None => {
            println!("Starting the control plane …");
            start(config)?;
        }
    }
    wait_ready(config).await?;
    if is_first && !args.no_sample {
        println!("Deploying the sample app as 'hello' …");
        if let Err(error) = deploy_sample(config).await {
            // Everything else stands: say it and go on.
            println!("The sample app was not deployed: {error:#}");
        }
    }
    print_where(config);
    Ok(ExitCode::SUCCESS)
}

/// Starts this program again as `serve`, away from the terminal. Secrets go on in the environment,
/// never on the command line.
fn start(config: &Config) -> anyhow::Result<()> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(config.log_file())
        .with_context(|| {
            format!(
                "the log file {} cannot be opened",
                config.log_file().display()
            )
        })?;
    let mut command = Command::new(std::env::current_exe()?);
    // The flags of `up` are those of `serve` but for its own.
    let own = ["--no-sample", "--yes", "-y"];
    command
        .arg("serve")
        .args(
            std::env::args_os()
                .skip(2)
                .filter(|word| !own.iter().any(|own| word == own)),
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let child = command
        .spawn()
        .context("the control plane cannot be started")?;
    files::write_private(&config.pid_file(), &format!("{}\n", child.id()))?;
    Ok(())
}

async fn wait_ready(config: &Config) -> anyhow::Result<()> {
    let end = Instant::now() + READY;
    loop {
        let request =
            Request::get(format!("http://{}/readyz", config.listen)).body(Full::default())?;
        let answer = http_client::send(request, Duration::from_secs(5)).await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        let alive = process::running(&config.pid_file()).is_some();
        if !alive || Instant::now() >= end {
            let what = if alive { "is not ready" } else { "has ended" };
            bail!(
                "the control plane {what}; the end of its log ({}):\n{}",
                config.log_file().display(),
                last_lines(config)
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn last_lines(config: &Config) -> String {
    let text = std::fs::read(config.log_file()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

async fn deploy_sample(config: &Config) -> anyhow::Result<()> {
    let image = serve::engine(config)?.ensure_sample_image().await?;
    let app = json!({
        "app_name": "hello", "container_port": 8080, "replicas": 1,
        "health": {"path": "/health"}, "env_vars": {"SAMPLE_VERSION": "1"},
    });
    call(config, "POST", "/apps", Some(&app)).await?;
    let deployment = json!({"app_name": "hello", "image": image.as_str(), "version": "1"});
    let accepted = call(config, "POST", "/deployments", Some(&deployment)).await?;
    let id = accepted["deployment_id"]
        .as_str()
        .context("the answer has no deployment_id")?;
    let end = Instant::now() + SAMPLE;
    loop {
        let deployment = call(config, "GET", &format!("/deployments/{id}"), None).await?;
        match deployment["status"].as_str() {
            Some("success") => return Ok(()),
            Some("failed" | "rolled_back") => {
                bail!(
                    "{}",
                    deployment["diagnosis"]["message"]
                        .as_str()
                        .unwrap_or("it failed")
                );
            }
            _ if Instant::now() >= end => bail!("it is not up after {} s", SAMPLE.as_secs()),
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// One REST call with the first agent's token.
async fn call(
    config: &Config,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let header = std::fs::read_to_string(config.agent_header_file())
        .context("the first agent's token is not there")?;
    let bearer = header
        .trim()
        .strip_prefix("Authorization: ")
        .context("the token file was edited")?;
    let mut bearer = http::HeaderValue::from_str(bearer)?;
    bearer.set_sensitive(true);
    let body = match body {
        Some(body) => Bytes::from(serde_json::to_vec(body)?),
        None => Bytes::new(),
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{}/api/v1{path}", config.listen))
        .header(http::header::AUTHORIZATION, bearer)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let answer = http_client::send(request, Duration::from_secs(30)).await?;
    let value: Value = serde_json::from_slice(answer.body()).context("the answer is not JSON")?;
    if !answer.status().is_success() {
        bail!(
            "{}",
            value["message"]
                .as_str()
                .unwrap_or("the control plane refused")
        );
    }
    Ok(value)
}

#[expect(clippy::print_stdout, reason = "this command's answer")]
fn print_where(config: &Config) {
    let base = &config.public_url;
    println!();
    println!("Dashboard   {base}/");
    match std::fs::read_to_string(config.set_up_token_file()) {
        Ok(token) => {
            println!("First time  {base}/setup/{token}");
            println!("            (works once, and makes you the administrator)");
        }
        Err(_) => println!("Sign in     {base}/sign-in"),
    }
    println!(
        "Agents      curl -H @{} {base}/api/v1/apps",
        config.agent_header_file().display()
    );
    println!(
        "            MCP at {base}/mcp, log stream at ws://{}/",
        config.stream_listen
    );
    let port = if config.http_port == 80 {
        String::new()
    } else {
        format!(":{}", config.http_port)
    };
    println!("Apps        http://<app>.{}{port}/", config.root_domain);
    println!("Data        {}", config.data_dir.display());
}
