//! Why a release does not become healthy: a stable cause with its proof.

use flukedeploy_domain::deployment::PhaseName;
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence, tame};
use flukedeploy_domain::release::Release;
use flukedeploy_domain::routing::ProbeOutcome;

use super::drive::Stop;
use super::phases::with_patience;
use super::spec::volumes_of;
use crate::fleet::ServiceView;
use crate::meaning::KeyWatch;
use crate::meaning::clean::clean_owned;
use crate::platform::Platform;
use crate::ports::{ReplicaFailure, Task, TaskState, TrafficError};

/// A rejected task is tried again by Swarm; twice is enough to believe it.
const REJECTIONS: usize = 2;
/// How long Swarm may look for a node.
const PLACING_SECONDS: i64 = 15;

/// A verdict, if there is no hope any more; `late`: the deadline is over, so there must be one.
pub(super) async fn hopeless(
    px: &Platform,
    release: &Release,
    view: &ServiceView,
    late: bool,
) -> Option<Diagnosis> {
    // A service of this name may have run before: what its tasks came to proves nothing now.
    let current = view.tasks.iter().max_by_key(|task| task.created_at);
    let current = current.map(|task| task.service_id.clone());
    let mut view = view.clone();
    view.tasks
        .retain(|task| Some(&task.service_id) == current.as_ref());
    let view = &view;
    let grace = i64::from(release.settings.health.start_grace_seconds);
    let first = view.tasks.iter().filter_map(|task| task.created_at).min();
    if !late && grace > 0 && first.is_some_and(|at| (px.now() - at).whole_seconds() < grace) {
        return None;
    }
    let ended = |task: &&Task| matches!(task.state, TaskState::Failed | TaskState::Completed);
    let crashes = view.tasks.iter().filter(ended).count();
    let rejections: Vec<&Task> = view
        .tasks
        .iter()
        .filter(|task| task.state == TaskState::Rejected)
        .collect();
    let unplaced = view.tasks.iter().find(|task| is_unplaced(px, task, late));
    let allowed = usize::try_from(release.settings.health.max_restarts).unwrap_or(usize::MAX);
    let service = release.service_name(&px.config().instance);
    let was_well = px.parts().fleet.was_ever_healthy(&service);
    let mut found = if crashes > allowed || (late && crashes > 0 && view.healthy == 0) {
        let task = view.tasks.iter().find(ended)?;
        crashed(task, &examine(px, release, task).await, was_well)
    } else if rejections.len() >= REJECTIONS || (late && !rejections.is_empty()) {
        rejected(rejections[0])
    } else if let Some(task) = unplaced {
        no_node(task)
    } else if late && let Some(trouble) = px.parts().fleet.trouble() {
        engine_lost(&trouble)
    } else if late {
        unhealthy(px, release, view, was_well).await
    } else {
        return None;
    };
    found.evidence.replicas_ready = Some(view.healthy);
    found.evidence.replicas_wanted = Some(release.settings.replicas);
    Some(found)
}

fn is_unplaced(px: &Platform, task: &Task, late: bool) -> bool {
    let says_so = task
        .message
        .as_ref()
        .is_some_and(|message| message.contains("no suitable node"));
    let long = task
        .created_at
        .is_some_and(|at| (px.now() - at).whole_seconds() >= PLACING_SECONDS);
    task.wanted && task.state == TaskState::Waiting && says_so && (long || late)
}

/// `ran_for_a_while`: a replica of it was healthy before it ended.
fn crashed(task: &Task, seen: &ReplicaFailure, ran_for_a_while: bool) -> Diagnosis {
    let exit_code = seen.exit_code.or(task.exit_code);
    let mut evidence = evidence_of(task, seen);
    evidence.exit_code = exit_code;
    // Docker gives this a code of its own (128), as if the app had ended.
    let words = task.message.clone().unwrap_or_default().to_lowercase();
    if is_port_trouble(&words) {
        return port_taken(evidence);
    }
    let never_started = words.contains("starting container failed");
    let exit_code = exit_code.filter(|_| !never_started);
    let (code, message, next) = if seen.oom_killed {
        evidence.oom_killed = Some(true);
        (
            Cause::KilledForMemory,
            "the app was killed because it took more memory than it may".to_owned(),
            vec!["give the app more memory, or make it need less"],
        )
    } else if let Some(exit_code) = exit_code.filter(|_| ran_for_a_while) {
        (
            Cause::CrashLoop,
            format!("the app starts, runs, and ends again and again, with exit code {exit_code}"),
            vec![
                "read the app's last lines in the evidence",
                "see what it meets a moment after its start: a database, a file, a limit",
            ],
        )
    } else if let Some(exit_code) = exit_code {
        (
            Cause::ExitedWithCode,
            format!("the app's process keeps ending, with exit code {exit_code}"),
            vec![
                "read the app's last lines in the evidence",
                "check its variables and the command it starts with",
            ],
        )
    } else {
        (
            Cause::StartFailed,
            "the app's container cannot be started".to_owned(),
            vec![
                "read the engine's words in the evidence: often the command does not exist in the image",
            ],
        )
    };
    diagnosis(code, message, evidence, &next)
}

fn rejected(task: &Task) -> Diagnosis {
    let words = task.message.clone().unwrap_or_default();
    let lower = words.to_lowercase();
    let missing = lower.contains("no such image");
    let evidence = evidence_of(task, &ReplicaFailure::default());
    if is_port_trouble(&lower) {
        port_taken(evidence)
    } else if missing {
        diagnosis(
            Cause::ImageNotFound,
            "a node could not get the image".to_owned(),
            evidence,
            &["push the image to a registry that all nodes can reach"],
        )
    } else {
        diagnosis(
            Cause::StartFailed,
            "a node refused to run the app's container".to_owned(),
            evidence,
            &["read the engine's words in the evidence"],
        )
    }
}

/// Docker's words for a port of the node that somebody else has: the first from its proxy, the
/// second from Swarm's scheduler.
fn is_port_trouble(lower: &str) -> bool {
    lower.contains("address already in use")
        || lower.contains("port is already allocated")
        || lower.contains("host-mode port already in use")
}

fn port_taken(evidence: Evidence) -> Diagnosis {
    diagnosis(
        Cause::PortTaken,
        "a port of the node that the app wants belongs to somebody else".to_owned(),
        evidence,
        &[
            "publish another port of the node",
            "or stop what uses it: another app, or a program on the node",
        ],
    )
}

/// A former release that does not stop; the new one must not run beside it.
pub(super) fn will_not_stop(number: flukedeploy_domain::release::ReleaseNo) -> Diagnosis {
    diagnosis(
        Cause::VolumeInUse,
        format!("release {number} does not stop, and its volume cannot be used by two"),
        Evidence {
            held_by: Some(format!("release {number}")),
            ..Evidence::default()
        },
        &["see with 'flukedeploy doctor' why its replica does not end, then deploy again"],
    )
}

/// A volume that is not shared must not be mounted by anybody else when a release starts.
pub(super) async fn volumes_are_free(px: &Platform, release: &Release) -> Result<(), Stop> {
    let unshared: Vec<String> = volumes_of(px, release)
        .into_iter()
        .zip(&release.settings.volumes)
        .filter(|(_, volume)| !volume.shared)
        .map(|(name, _)| name)
        .collect();
    if unshared.is_empty() {
        return Ok(());
    }
    let own = release.service_name(&px.config().instance);
    let users = with_patience(px, PhaseName::Deploy, || {
        px.parts().engine.volume_users(&unshared)
    })
    .await?;
    match users
        .iter()
        .find(|user| user.service.as_deref() != Some(&own))
    {
        None => Ok(()),
        Some(user) => Err(diagnosis(
            Cause::VolumeInUse,
            format!("another container uses the volume {}", user.volume),
            Evidence {
                held_by: Some(user.container.clone()),
                ..Evidence::default()
            },
            &[
                "stop the container named in the evidence",
                "or mark the volume as shared, if the data can be used by two",
            ],
        )
        .into()),
    }
}

fn no_node(task: &Task) -> Diagnosis {
    let words = task.message.clone().unwrap_or_default().to_lowercase();
    if is_port_trouble(&words) {
        return port_taken(evidence_of(task, &ReplicaFailure::default()));
    }
    diagnosis(
        Cause::NoNodeFits,
        "no node of the Swarm can take the app".to_owned(),
        evidence_of(task, &ReplicaFailure::default()),
        &["add a node, or lower what the app asks for"],
    )
}

/// The deadline is over, and what is known of the replicas is out of date.
fn engine_lost(trouble: &str) -> Diagnosis {
    let evidence = Evidence {
        engine_message: Some(tame(trouble, 500)),
        ..Evidence::default()
    };
    diagnosis(
        Cause::EngineUnavailable,
        "the Docker engine stopped answering while the app was started".to_owned(),
        evidence,
        &["check the Docker engine ('flukedeploy doctor') and deploy again"],
    )
}

/// The deadline is over; something runs (or starts) and is not healthy.
async fn unhealthy(
    px: &Platform,
    release: &Release,
    view: &ServiceView,
    was_well: bool,
) -> Diagnosis {
    let port = release.settings.container_port;
    let seconds = release.settings.health.deadline_seconds;
    let task = view
        .tasks
        .iter()
        .find(|task| task.wanted && matches!(task.state, TaskState::Running | TaskState::Starting));
    let Some(task) = task else {
        return diagnosis(
            Cause::DeadlineExceeded,
            format!("no replica came up within {seconds} s"),
            view.tasks
                .first()
                .map(|task| evidence_of(task, &ReplicaFailure::default()))
                .unwrap_or_default(),
            &["deploy again; if it fails again, look at the node with 'flukedeploy doctor'"],
        );
    };
    let seen = examine(px, release, task).await;
    if seen.exit_code.is_some() {
        // It has ended, and Swarm has not said so yet.
        return crashed(task, &seen, was_well);
    }
    let mut evidence = evidence_of(task, &seen);
    evidence.expected_port = Some(port);
    let outcome = view.last_probe.as_ref();
    if let Some((address, Ok(outcome))) = outcome {
        evidence.health_answer = Some(outcome.describe(*address));
    }
    let others: Vec<String> = seen
        .listening_ports
        .iter()
        .filter(|found| **found != port)
        .map(ToString::to_string)
        .collect();
    let listens = seen.listening_ports.contains(&port);
    match outcome.map(|(_, outcome)| outcome) {
        Some(Ok(ProbeOutcome::WrongAnswer { status, .. })) => diagnosis(
            Cause::HealthCheckFailed,
            format!("the app answers its health check with {status}"),
            evidence,
            &[
                "open the health path in the app and see why it does not answer 200",
                "check health.path",
            ],
        ),
        Some(Ok(ProbeOutcome::TimedOut { connected: true })) => diagnosis(
            Cause::HealthCheckFailed,
            format!("the app accepts connections on port {port} but does not answer in time"),
            evidence,
            &[
                "see what the app waits for at its start",
                "raise health.timeout_ms if it needs longer",
            ],
        ),
        Some(Err(TrafficError::NoneConnected)) => diagnosis(
            Cause::IngressUnavailable,
            "the app could not be checked: no ingress is connected".to_owned(),
            evidence,
            &["run 'flukedeploy doctor' on the node"],
        ),
        _ if !listens && !others.is_empty() => {
            let message = format!(
                "the app listens on port {}, not on {port}",
                others.join(", ")
            );
            diagnosis(
                Cause::ListensOnAnotherPort,
                message,
                evidence,
                &[
                    "set container_port to the port the app listens on",
                    "or tell the app its port",
                ],
            )
        }
        Some(Ok(ProbeOutcome::Refused | ProbeOutcome::TimedOut { connected: false }))
            if !listens =>
        {
            diagnosis(
                Cause::NeverListens,
                format!("the app runs, but nothing listens on port {port} on 0.0.0.0"),
                evidence,
                &[
                    "make the app listen on 0.0.0.0, not only on 127.0.0.1",
                    "check container_port",
                ],
            )
        }
        _ => diagnosis(
            Cause::HealthCheckFailed,
            format!("the app did not become healthy within {seconds} s"),
            evidence,
            &[
                "read the app's last lines in the evidence",
                "raise health.deadline_seconds if it starts slowly",
            ],
        ),
    }
}

/// The lines it returns are without secrets, before anybody cuts them.
async fn examine(px: &Platform, release: &Release, task: &Task) -> ReplicaFailure {
    match px.parts().engine.examine(task).await {
        Ok(mut seen) => {
            let redactor = px.parts().journal.redaction().of(release.app.as_str());
            let mut keys = KeyWatch::default();
            for line in &mut seen.last_lines {
                *line = keys.mask(clean_owned(std::mem::take(line)));
                redactor.in_place(line);
            }
            seen
        }
        Err(error) => {
            tracing::debug!(error = %error, task.id = %task.id, "a replica could not be examined");
            ReplicaFailure::default()
        }
    }
}

fn evidence_of(task: &Task, seen: &ReplicaFailure) -> Evidence {
    let skip = seen.last_lines.len().saturating_sub(20);
    Evidence {
        exit_code: seen.exit_code.or(task.exit_code),
        engine_message: task.message.as_ref().map(|message| tame(message, 500)),
        listening_ports: seen.listening_ports.clone(),
        untrusted_output: seen
            .last_lines
            .iter()
            .skip(skip)
            .map(|line| tame(line, 500))
            .collect(),
        ..Evidence::default()
    }
}

fn diagnosis(code: Cause, message: String, evidence: Evidence, next: &[&str]) -> Diagnosis {
    Diagnosis {
        code,
        phase: PhaseName::Deploy,
        message,
        evidence,
        next: next.iter().map(|&step| step.to_owned()).collect(),
    }
}
