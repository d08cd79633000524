//! `flukedeploy doctor`: what is wrong on this node, and what to do about it.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use flukedeploy_engine::SwarmEngine;
use flukedeploy_platform::ports::Engine as _;
use http::Request;
use http_body_util::Full;

use super::{process, serve};
use crate::cli::Settings;
use crate::config::Config;
use crate::http_client;

enum Finding {
    Pass(String),
    Warning(String, &'static str),
    Fail(String, &'static str),
}

#[expect(clippy::print_stdout, reason = "this command's answer")]
pub fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    crate::telemetry::start("error");
    let config = Config::new(settings, &|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let findings = runtime.block_on(examine(&config))?;
    let mut failed = false;
    for finding in findings {
        let (mark, text, advice) = match finding {
            Finding::Pass(text) => ("ok  ", text, None),
            Finding::Warning(text, advice) => ("warn", text, Some(advice)),
            Finding::Fail(text, advice) => {
                failed = true;
                ("FAIL", text, Some(advice))
            }
        };
        println!("{mark}  {text}");
        if let Some(advice) = advice {
            println!("      → {advice}");
        }
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn examine(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let mut findings = vec![data_dir(config)];
    let engine = serve::engine(config)?;
    findings.extend(engine_findings(&engine).await);
    let running = process::running(&config.pid_file()).is_some();
    findings.push(control_plane(config).await);
    if !running {
        findings.push(port(
            "the ingress",
            SocketAddr::from(([0, 0, 0, 0], config.http_port)),
        ));
    }
    Ok(findings)
}

fn data_dir(config: &Config) -> Finding {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = config.data_dir.display();
    match std::fs::metadata(&config.data_dir) {
        Ok(found) if matches!(found.permissions().mode() & 0o777, 0o700 | 0o500) => {
            Finding::Pass(format!("the data directory {dir} is private"))
        }
        Ok(_) => Finding::Warning(
            format!("the data directory {dir} can be read by others"),
            "chmod 700 it; the next start does so too",
        ),
        Err(_) => Finding::Warning(
            format!("the data directory {dir} does not exist yet"),
            "'flukedeploy up' makes it",
        ),
    }
}

async fn engine_findings(engine: &SwarmEngine) -> Vec<Finding> {
    let info = match engine.info().await {
        Ok(info) => info,
        Err(error) => {
            return vec![Finding::Fail(
                error.to_string(),
                "start the Docker engine, or name another one with --docker",
            )];
        }
    };
    let mut findings = vec![Finding::Pass(format!(
        "Docker {} answers (API {}, {})",
        info.version, info.api_version, info.architecture
    ))];
    findings.push(match (info.swarm_active, info.is_manager) {
        (true, true) => Finding::Pass(format!("Swarm is active, {} node(s) ready", info.nodes)),
        (true, false) => Finding::Fail(
            "this node is a Swarm worker".to_owned(),
            "run FlukeDeploy on a manager",
        ),
        (false, _) => Finding::Warning(
            "Swarm is not initialised".to_owned(),
            "'flukedeploy up' initialises it",
        ),
    });
    match engine.services().await {
        Ok(services) => findings.push(Finding::Pass(format!("{} release(s) run", services.len()))),
        Err(error) if info.swarm_active => findings.push(Finding::Fail(
            error.to_string(),
            "look at the Swarm with 'docker node ls'",
        )),
        Err(_) => {}
    }
    findings
}

async fn control_plane(config: &Config) -> Finding {
    let ask = |path: &'static str| async move {
        let request = Request::get(format!("http://{}{path}", config.listen)).body(Full::default());
        match request {
            Ok(request) => http_client::send(request, Duration::from_secs(5))
                .await
                .ok(),
            Err(_) => None,
        }
    };
    match (ask("/healthz").await, ask("/readyz").await) {
        (Some(alive), Some(ready))
            if alive.status().is_success() && ready.status().is_success() =>
        {
            Finding::Pass(format!("the control plane at {} is ready", config.listen))
        }
        (Some(_), _) => Finding::Fail(
            format!(
                "the control plane at {} runs but is not ready",
                config.listen
            ),
            "read its log in the data directory",
        ),
        (None, _) => Finding::Warning(
            format!("no control plane answers at {}", config.listen),
            "'flukedeploy up' starts it",
        ),
    }
}

fn port(whose: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::Pass(format!("port {} is free for {whose}", address.port())),
        Err(error) => Finding::Warning(
            format!("port {} for {whose}: {error}", address.port()),
            "fine if the ingress has it; else stop what listens there, or choose --http-port",
        ),
    }
}
