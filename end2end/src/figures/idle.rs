//! Starting, doing nothing, and answering what is asked most.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bollard::query_parameters::ListContainersOptionsBuilder;

use crate::figures::{DEADLINE, NOT_MEASURED, Report, spread};
use crate::images::{Images, Sample};
use crate::instance::{Instance, Options};
use crate::{sweep, wait};

const STARTS: usize = 5;
const APPS: usize = 49;

/// With 50 apps, one of which is deployed.
pub(super) async fn run(report: &mut Report) -> Result<()> {
    let mut instance = Instance::start("idle", Options::default()).await?;
    let images = Images::new(instance.docker.clone())?;
    let image = images.build(&Sample::version("idle")).await?;
    instance.api().create_app("served", 1).await?;
    instance.api().deploy_and_wait("served", &image).await?;
    app_list(&instance, report).await?;

    let mut starts = Vec::new();
    for _ in 0..STARTS {
        instance.stop().await?;
        instance.restart().await?;
        starts.push(instance.ready_after.as_secs_f64() * 1e3);
    }
    let starts = format!("{} ms", spread(&mut starts));
    let goal = "< 500 ms (0.05 of CapRover)";
    report.line("process start to /readyz", &starts, goal)?;

    // Idle is after the work of starting is done, which shows in the processor time.
    let pid = instance.pid().context("the control plane runs")?;
    wait_until_idle(pid).await?;
    let resident = format!("{:.1} MB", resident_mb(pid)?);
    let goal = "<= 27 MB (0.30 of CapRover)";
    report.line("control plane, idle", &resident, goal)?;
    let resident = format!("{:.1} MB", resident_mb(ingress_pid(&instance).await?)?);
    report.line("ingress, idle", &resident, "<= 20 MB")?;
    instance.finish().await
}

/// Requests per second of the list of apps, by `wrk` over eight connections.
async fn app_list(instance: &Instance, report: &mut Report) -> Result<()> {
    let (what, goal) = ("app list, 50 apps, by wrk", ">= 20 times CapRover's");
    let api = instance.api();
    for number in 0..APPS {
        api.create_app(&format!("listed-{number}"), 1).await?;
    }
    let measured = tokio::process::Command::new("wrk")
        .args(["-t1", "-c8", "-d3s", "-H"])
        .arg(format!("Authorization: Bearer {}", instance.token))
        .arg(format!("{}/api/v1/apps", instance.url()))
        .output()
        .await;
    let Ok(output) = measured else {
        return report.line(what, NOT_MEASURED, goal);
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    let per_second: f64 = line.context("wrk says nothing")?.trim().parse()?;
    // CapRover's figure, measured once on the same kind of machine; it is not installed here.
    let times = per_second / 524.0;
    let figure = format!("{per_second:.0} requests/s, {times:.1} times CapRover's 524");
    report.line(what, &figure, goal)
}

async fn ingress_pid(instance: &Instance) -> Result<u32> {
    let label = format!("{}={}", sweep::INSTANCE_LABEL, instance.name);
    let filters = HashMap::from([("label", vec![label.as_str()]), ("name", vec!["ingress"])]);
    let options = ListContainersOptionsBuilder::default()
        .filters(&filters)
        .build();
    let containers = instance.docker.list_containers(Some(options)).await?;
    let id = containers
        .first()
        .and_then(|container| container.id.as_deref());
    let id = id.context("found no container of the ingress")?;
    let state = instance.docker.inspect_container(id, None).await?.state;
    let pid = state
        .and_then(|state| state.pid)
        .context("the ingress has no process")?;
    Ok(u32::try_from(pid)?)
}

/// Resident memory, as the kernel counts it.
pub(super) fn resident_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: f64 = kilobytes.context("no VmRSS")?.parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}

/// Until a process took at most 1 % of a processor for two seconds.
async fn wait_until_idle(pid: u32) -> Result<()> {
    let mut before = processor_ticks(pid)?;
    let mut since = Instant::now();
    wait::until("the control plane is idle", DEADLINE, || {
        let looked = if since.elapsed() < Duration::from_secs(2) {
            Ok(None)
        } else {
            processor_ticks(pid).map(|now| {
                let used = now - before;
                (before, since) = (now, Instant::now());
                // 100 ticks are a second of one processor.
                (used <= 2).then_some(())
            })
        };
        async { looked }
    })
    .await
}

pub(super) fn processor_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field after it.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .context("no name")?
        .1
        .split_whitespace()
        .collect();
    let field =
        |index: usize| -> Result<u64> { Ok(fields.get(index).context("too few fields")?.parse()?) };
    Ok(field(11)? + field(12)?)
}
