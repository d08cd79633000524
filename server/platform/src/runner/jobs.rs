//! The jobs of a deployment: hooks, tests, migrations. Each runs once, as a Swarm service that is
//! never restarted; a restarted control plane finds it again by its name and goes on watching.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use flukedeploy_domain::deployment::Deployment;
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence, tame};
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_domain::job::{JobKind, JobRecord, JobSettings, JobStatus};
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata};
use flukedeploy_domain::release::{job_name, volume_name};
use futures_util::StreamExt as _;

use super::drive::{Stop, save};
use super::phases::{internal, resolve, with_patience};
use super::secret_files::secrets_of;
use super::{back, report, services};
use crate::collector::{self, Origins};
use crate::meaning::clean::clean;
use crate::meaning::{KeyWatch, Streams};
use crate::platform::Platform;
use crate::ports::{JobSpec, Task, TaskState, VolumeMount};
use crate::reading::{self, Reading};

/// Between two looks at a job.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long lines of a job that has ended are waited for.
const LAST_LINES_WAIT: Duration = Duration::from_secs(2);
/// Lines kept as evidence.
const LAST_LINES: usize = 20;

/// Runs the environment's job of this kind, if it has one. A job that ended well before (the
/// control plane was restarted in between) does not run again.
pub(super) async fn run(
    px: &Platform,
    deployment: &mut Deployment,
    kind: JobKind,
) -> Result<(), Stop> {
    let Some(job) = deployment.settings.jobs.get(kind).cloned() else {
        return Ok(());
    };
    let former = deployment.preparation.job(kind).cloned();
    if former
        .as_ref()
        .is_some_and(|record| matches!(record.status, JobStatus::Success | JobStatus::NotRun))
    {
        return Ok(());
    }
    let service = job_name(
        &px.config().instance,
        &deployment.app,
        &deployment.environment,
        kind,
        &deployment.id,
    );
    let mut record = former.unwrap_or_else(|| JobRecord {
        kind,
        command: job.command.clone(),
        status: JobStatus::Running,
        exit_code: None,
        started_at: px.now(),
        completed_at: None,
        service: service.clone(),
        note: None,
    });
    let Some(image) = image_of(px, deployment, kind, &job).await? else {
        record.status = JobStatus::NotRun;
        record.completed_at = Some(px.now());
        record.note = Some("nothing serves yet, and the job names no image of its own".to_owned());
        let text = format!("The {} job was not run: nothing serves yet", kind.as_str());
        report::progress(px, deployment, Level::Warn, text);
        deployment.preparation.note_job(record);
        return saved(px, deployment).await;
    };
    deployment.preparation.note_job(record.clone());
    saved(px, deployment).await?;
    report::progress(
        px,
        deployment,
        Level::Info,
        format!("Running the {} job: {}", kind.as_str(), shown(&job.command)),
    );
    let spec = spec_of(px, deployment, kind, &job, image);
    with_patience(px, kind.phase(), || services::start_job(px, &spec)).await?;
    let (end, last) = watch(px, deployment, &record, job.timeout_seconds).await?;
    px.parts()
        .engine
        .remove_service(&service)
        .await
        .unwrap_or_else(|error| {
            tracing::warn!(error = %error, "a finished job could not be removed; tried again later");
        });
    reading::forget(px, &service).await;
    record.completed_at = Some(px.now());
    (record.status, record.exit_code, record.note) = (end.status, end.exit_code, end.note);
    deployment.preparation.note_job(record.clone());
    saved(px, deployment).await?;
    if record.status == JobStatus::Success {
        let text = format!("The {} job ended well", kind.as_str());
        report::progress(px, deployment, Level::Info, text);
        return Ok(());
    }
    Err(failed(&record, job.timeout_seconds, last).into())
}

/// Ends what a deployment left running: it was cancelled, or failed meanwhile.
pub(super) async fn clear(px: &Platform, deployment: &mut Deployment) {
    let now = px.now();
    for record in &mut deployment.preparation.jobs {
        if record.status == JobStatus::Running {
            record.status = JobStatus::Cancelled;
            record.completed_at = Some(now);
            if let Err(error) = px.parts().engine.remove_service(&record.service).await {
                tracing::warn!(error = %error, "a job could not be stopped; the reconciler tries again");
            }
        }
    }
}

async fn saved(px: &Platform, deployment: &Deployment) -> Result<(), Stop> {
    if save(px, deployment).await {
        Ok(())
    } else {
        Err(Stop::Interrupted)
    }
}

async fn image_of(
    px: &Platform,
    deployment: &Deployment,
    kind: JobKind,
    job: &JobSettings,
) -> Result<Option<PinnedImage>, Stop> {
    if let Some(image) = &job.image {
        return resolve(px, deployment, image).await.map(Some);
    }
    match (kind, deployment.from_release) {
        (JobKind::PreBuild, Some(number)) => {
            let release = back::stored_release(px, deployment, number)
                .await
                .ok_or(Stop::Interrupted)?;
            Ok(release.map(|release| release.image))
        }
        (JobKind::PreBuild, None) => Ok(None),
        _ => Ok(deployment.image.clone()),
    }
}

fn spec_of(
    px: &Platform,
    deployment: &Deployment,
    kind: JobKind,
    job: &JobSettings,
    image: PinnedImage,
) -> JobSpec {
    let (instance, settings) = (&px.config().instance, &deployment.settings);
    let (app, environment) = (&deployment.app, &deployment.environment);
    let mut env = settings.process_variables();
    let own = [
        ("FLUKEDEPLOY_APP", app.to_string()),
        ("FLUKEDEPLOY_ENVIRONMENT", environment.to_string()),
        ("FLUKEDEPLOY_DEPLOYMENT_ID", deployment.id.to_string()),
        ("FLUKEDEPLOY_JOB", kind.as_str().to_owned()),
        (
            "FLUKEDEPLOY_VERSION",
            deployment.version.clone().unwrap_or_default(),
        ),
    ];
    for (name, value) in own {
        env.0.entry(name.to_owned()).or_insert(value);
    }
    let label = |name: &str| format!("com.flukedeploy.{name}");
    let secrets = secrets_of(px, (app, environment), settings, &image);
    JobSpec {
        name: job_name(instance, app, environment, kind, &deployment.id),
        image,
        command: job.command.clone(),
        env,
        labels: BTreeMap::from([
            (label("app"), app.to_string()),
            (label("environment"), environment.to_string()),
            (label("deployment"), deployment.id.to_string()),
            (label("job"), kind.as_str().to_owned()),
        ]),
        resources: settings.resources.clone(),
        placement: settings.placement.clone(),
        // A volume that is not shared belongs to the release that serves.
        mounts: settings
            .volumes
            .iter()
            .filter(|volume| volume.shared)
            .map(|volume| VolumeMount {
                volume: volume_name(instance, app, environment, &volume.name),
                path: volume.path.clone(),
            })
            .collect(),
        secrets,
    }
}

/// How a job ended.
struct End {
    status: JobStatus,
    exit_code: Option<i64>,
    note: Option<String>,
}

/// Takes the job's lines into the log until it has ended or its time is over.
async fn watch(
    px: &Platform,
    deployment: &Deployment,
    record: &JobRecord,
    seconds: u32,
) -> Result<(End, Vec<String>), Stop> {
    let service = record.service.as_str();
    let spent = (px.now() - record.started_at).unsigned_abs();
    let left = Duration::from_secs(seconds.into()).saturating_sub(spent);
    let deadline = tokio::time::Instant::now() + left;
    let mut reading = reading_of(px, record).await?;
    let mut lines = px.parts().engine.follow_logs(service, &reading.read_to());
    let mut lines_end = false;
    let mut last = VecDeque::with_capacity(LAST_LINES);
    let mut streams = Streams::default();
    let mut keys = KeyWatch::default();
    let redactor = px.parts().journal.redaction().of(deployment.app.as_str());
    let metadata_of = |_| LogMetadata {
        deployment_id: Some(deployment.id.to_string()),
        environment: Some(deployment.environment.to_string()),
        phase: Some(record.kind.phase()),
        ..LogMetadata::new(
            EventType::of_phase_start(record.kind.phase()),
            deployment.app.as_str(),
        )
    };
    let mut origins = Origins::new(service, deployment.app.as_str(), metadata_of);
    let mut printed = Vec::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut ended: Option<(End, tokio::time::Instant)> = None;
    let (mut is_interrupted, mut is_stopping) = (false, false);
    loop {
        let late = |at: &tokio::time::Instant| tokio::time::Instant::now() >= *at + LAST_LINES_WAIT;
        let is_over = ended.as_ref().is_some_and(|(_, at)| lines_end || late(at));
        if is_over || is_interrupted || is_stopping {
            streams.flush(&mut |one| printed.push(one));
        }
        collector::record_at_once(px, &mut reading, &mut printed, &mut origins).await;
        if is_stopping {
            return Err(Stop::Interrupted);
        }
        if let Some((end, _)) = ended.take_if(|_| is_over) {
            return Ok((end, last.into()));
        }
        if std::mem::take(&mut is_interrupted) {
            tokio::time::sleep(LOOK_EVERY).await;
            reading = reading_of(px, record).await?;
            lines = px.parts().engine.follow_logs(service, &reading.read_to());
        }
        tokio::select! {
            biased;
            () = px.stopping().cancelled() => is_stopping = true,
            line = lines.next(), if !lines_end => match line {
                Some(Ok(lines)) => {
                    for line in &lines.lines {
                        // Cut last: half a secret is not known again.
                        let text = keys.mask(clean(&line.text).into_owned());
                        last.push_back(tame(&redactor.text(&text), 500));
                        if last.len() > LAST_LINES {
                            last.pop_front();
                        }
                    }
                    let now = std::time::Instant::now();
                    streams.feed(lines, now, &mut |one| printed.push(one));
                }
                Some(Err(error)) => {
                    tracing::debug!(error = %error, service, "following a job was interrupted");
                    is_interrupted = true;
                }
                None => lines_end = true,
            },
            () = collector::until(streams.due()) => {
                let now = std::time::Instant::now();
                streams.tick(now, &mut |one| printed.push(one));
            }
            _ = look.tick() => {
                if ended.is_some() {
                    continue;
                }
                let now = tokio::time::Instant::now();
                match px.parts().engine.tasks(service).await {
                    Ok(tasks) => {
                        if let Some(end) = tasks.first().and_then(end_of) {
                            ended = Some((end, now));
                            continue;
                        }
                        if now >= deadline {
                            // What Swarm says of a task that never started is the reason.
                            let note = tasks.first().and_then(|task| task.message.clone());
                            let end = End { status: JobStatus::TimedOut, exit_code: None, note };
                            ended = Some((end, now));
                        }
                    }
                    Err(error) if now >= deadline => {
                        let end = End {
                            status: JobStatus::TimedOut,
                            exit_code: None,
                            note: Some(error.to_string()),
                        };
                        ended = Some((end, now));
                    }
                    Err(error) => tracing::debug!(error = %error, service, "a job could not be looked at"),
                }
            }
        }
    }
}

async fn reading_of(px: &Platform, record: &JobRecord) -> Result<Reading, Stop> {
    Reading::of(px, &record.service)
        .await
        .map_err(|error| internal(record.kind.phase(), &error).into())
}

fn end_of(task: &Task) -> Option<End> {
    let end = |status, exit_code, note| {
        Some(End {
            status,
            exit_code,
            note,
        })
    };
    match task.state {
        TaskState::Completed => end(JobStatus::Success, Some(0), None),
        TaskState::Failed | TaskState::Rejected => {
            end(JobStatus::Failed, task.exit_code, task.message.clone())
        }
        TaskState::Stopped => end(
            JobStatus::Failed,
            task.exit_code,
            Some("it was stopped from outside".to_owned()),
        ),
        TaskState::Waiting | TaskState::Starting | TaskState::Running => None,
    }
}

fn failed(record: &JobRecord, seconds: u32, last: Vec<String>) -> Diagnosis {
    let code = match record.kind {
        JobKind::Test => Cause::TestsFailed,
        JobKind::Release => Cause::ReleaseCommandFailed,
        JobKind::PreBuild | JobKind::PostDeploy => Cause::HookFailed,
    };
    let what = match record.kind {
        JobKind::Test => "the test command",
        JobKind::Release => "the release command",
        JobKind::PreBuild => "the hook before the build",
        JobKind::PostDeploy => "the hook after the deployment",
    };
    let message = match (record.status, record.exit_code) {
        (JobStatus::TimedOut, _) => {
            format!("{what} did not end within {seconds} s and was stopped")
        }
        (_, Some(exit)) => format!("{what} ended with exit code {exit}"),
        _ => format!("{what} could not be run"),
    };
    Diagnosis {
        code,
        phase: record.kind.phase(),
        message,
        evidence: Evidence {
            exit_code: record.exit_code,
            engine_message: record.note.as_ref().map(|note| tame(note, 500)),
            untrusted_output: last,
            ..Evidence::default()
        },
        next: vec![
            format!(
                "read what the command printed ({}), correct it, and deploy again",
                shown(&record.command)
            ),
            format!(
                "change the command or its time limit: jobs.{}",
                record.kind.as_str()
            ),
        ],
    }
}

fn shown(command: &[String]) -> String {
    tame(&command.join(" "), 200)
}
