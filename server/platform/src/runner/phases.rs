//! The five phases. Each may be repeated from its beginning after a crash.

use std::time::Duration;

use flukedeploy_domain::deployment::{Deployment, PhaseName, Source};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence, tame};
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_domain::job::JobKind;
use flukedeploy_domain::log_entry::Level;
use flukedeploy_domain::names::EnvironmentName;
use flukedeploy_domain::release::{Release, ReleaseNo};

use super::drive::{Stop, cancelled, save};
use super::{approval, cleanup, jobs, report, rollout, source, validation};
use crate::platform::Platform;
use crate::ports::{EngineError, NewRelease, ResolveError};

/// How long a phase goes on asking an engine that does not answer.
const ENGINE_PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(
    px: &Platform,
    deployment: &mut Deployment,
    phase: PhaseName,
) -> Result<(), Stop> {
    let cancel = px.parts().runner.token(&deployment.id);
    if cancel.is_cancelled() && phase < PhaseName::Deploy {
        return Err(cancelled(deployment, phase).into());
    }
    // Up to here nothing serves differently, so these phases can simply be dropped; the later
    // ones decide themselves where they may stop.
    match phase {
        PhaseName::PreBuild | PhaseName::Build | PhaseName::PreDeploy => {
            let work = async {
                match phase {
                    PhaseName::PreBuild => pre_build(px, deployment).await,
                    PhaseName::Build => build(px, deployment).await,
                    _ => pre_deploy(px, deployment).await,
                }
            };
            let stopped = tokio::select! {
                result = work => return result,
                () = cancel.cancelled() => true,
                () = px.stopping().cancelled() => false,
            };
            if stopped {
                refresh_wishes(px, deployment);
                return Err(cancelled(deployment, phase).into());
            }
            Err(Stop::Interrupted)
        }
        PhaseName::Deploy => rollout::deploy(px, deployment).await,
        PhaseName::PostDeploy => cleanup::post_deploy(px, deployment).await,
    }
}

/// What callers want may have changed since the deployment was read.
pub(super) fn refresh_wishes(px: &Platform, deployment: &mut Deployment) {
    let steering = px.parts().runner.steering(&deployment.id);
    deployment.wishes = steering.wishes.borrow().clone();
}

/// Is everything there that the rest needs?
async fn pre_build(px: &Platform, deployment: &mut Deployment) -> Result<(), Stop> {
    if standing_by(px, deployment).await?.is_some() {
        // Its replicas run and are well: nobody has to be asked first.
        return Ok(());
    }
    let info = with_patience(px, PhaseName::PreBuild, || px.parts().engine.info()).await?;
    if info.swarm_active && info.is_manager {
        if let Source::Image { image, .. } = &deployment.source
            && !image.is_pinned()
            && image.tag().is_none_or(|tag| tag == "latest")
        {
            let text = format!("{image} names no version: it is pinned to what it is right now");
            report::progress(px, deployment, Level::Warn, text);
        }
        if let Source::Build { build, .. } = deployment.source.clone() {
            source::open(px, deployment, &build).await?;
        }
        if deployment.source.is_new() {
            jobs::run(px, deployment, JobKind::PreBuild).await?;
        }
        return saved(px, deployment).await;
    }
    Err(Diagnosis {
        code: Cause::EngineUnavailable,
        phase: PhaseName::PreBuild,
        message: "the Docker engine is no Swarm manager".to_owned(),
        evidence: Evidence::default(),
        next: vec!["run 'flukedeploy doctor' on the node".to_owned()],
    }
    .into())
}

/// Builds the image, or finds it; and pins it.
async fn build(px: &Platform, deployment: &mut Deployment) -> Result<(), Stop> {
    let image = match deployment.source.clone() {
        Source::Image { image, .. } => resolve(px, deployment, &image).await?,
        // A restarted control plane does not build again what was built.
        Source::Build { .. } if deployment.image.is_some() => return Ok(()),
        Source::Build { build, .. } => source::build(px, deployment, &build).await?,
        Source::Promote { from, number } => promoted(px, deployment, &from, number).await?,
        Source::Release { number, .. } => {
            let release = kept_release(px, deployment, number).await?;
            deployment.release = Some(number);
            release.image
        }
        Source::Restart { of } => kept_release(px, deployment, of).await?.image,
        // What runs already stays.
        Source::Scale { .. } | Source::Mode { .. } => {
            let Some(number) = deployment.from_release else {
                return Err(gone("nothing of this app was ever deployed".to_owned()).into());
            };
            deployment.release = Some(number);
            let release = stored_release(px, deployment, number).await?;
            deployment.image = Some(release.image);
            return saved(px, deployment).await;
        }
    };
    report::progress(
        px,
        deployment,
        Level::Info,
        format!("{} is {}", image.requested, image.pinned),
    );
    deployment.image = Some(image);
    saved(px, deployment).await
}

/// Finds out what an image is right now, and pins it.
pub(super) async fn resolve(
    px: &Platform,
    deployment: &Deployment,
    image: &ImageRef,
) -> Result<PinnedImage, Stop> {
    let progress = |line: String| report::progress(px, deployment, Level::Info, line);
    let mut tries = 0;
    let resolved = loop {
        match px.parts().engine.resolve_image(image, &progress).await {
            Ok(resolved) => break resolved,
            Err(ResolveError::Engine(error)) if error.is_transient() && tries < 3 => {
                tries += 1;
                report::progress(
                    px,
                    deployment,
                    Level::Warn,
                    format!("{error}; trying again"),
                );
                tokio::time::sleep(Duration::from_secs(tries)).await;
            }
            Err(error) => return Err(unresolved(&error).into()),
        }
    };
    for note in &resolved.notes {
        report::progress(px, deployment, Level::Warn, note.clone());
    }
    Ok(resolved.image)
}

/// The very image of another environment's release.
async fn promoted(
    px: &Platform,
    deployment: &Deployment,
    from: &EnvironmentName,
    number: ReleaseNo,
) -> Result<PinnedImage, Stop> {
    let release = px
        .parts()
        .store
        .release(&deployment.app, from, number)
        .await
        .map_err(|error| internal(PhaseName::Build, &error))?
        .ok_or_else(|| gone(format!("release {number} of {from} is not kept any more")))?;
    available(px, &release).await?;
    Ok(release.image)
}

async fn saved(px: &Platform, deployment: &Deployment) -> Result<(), Stop> {
    if save(px, deployment).await {
        Ok(())
    } else {
        Err(Stop::Interrupted)
    }
}

async fn stored_release(
    px: &Platform,
    deployment: &Deployment,
    number: ReleaseNo,
) -> Result<Release, Stop> {
    px.parts()
        .store
        .release(&deployment.app, &deployment.environment, number)
        .await
        .map_err(|error| internal(PhaseName::Build, &error))?
        .ok_or_else(|| gone(format!("release {number} is not kept any more")).into())
}

/// A release whose image can still be had.
async fn kept_release(
    px: &Platform,
    deployment: &Deployment,
    number: ReleaseNo,
) -> Result<Release, Stop> {
    let release = stored_release(px, deployment, number).await?;
    if standing_by(px, deployment).await?.is_some() {
        return Ok(release);
    }
    available(px, &release).await?;
    Ok(release)
}

async fn available(px: &Platform, release: &Release) -> Result<(), Stop> {
    let available = with_patience(px, PhaseName::Build, || {
        px.parts().engine.image_available(&release.image)
    })
    .await?;
    if available {
        return Ok(());
    }
    Err(gone(format!(
        "the image of release {} ({}) is neither on this node nor in its registry",
        release.number, release.image.requested
    ))
    .into())
}

/// The release to go to, if all of its replicas run and are well at this moment.
async fn standing_by(px: &Platform, deployment: &Deployment) -> Result<Option<Release>, Stop> {
    let Source::Release { number, .. } = deployment.source else {
        return Ok(None);
    };
    let release = stored_release(px, deployment, number).await?;
    let service = release.service_name(&px.config().instance);
    let is_warm = px.parts().fleet.ready_count(&service) >= release.settings.replicas;
    Ok(Some(release).filter(|_| is_warm))
}

/// Checks the release, asks whoever has to be asked, runs its release command, which may change what the
/// app keeps and so comes after the last word, and gives it its number.
async fn pre_deploy(px: &Platform, deployment: &mut Deployment) -> Result<(), Stop> {
    let phase = PhaseName::PreDeploy;
    if !deployment.source.makes_release() {
        return Ok(());
    }
    let Some(image) = deployment.image.clone() else {
        return Err(internal(phase, &"no image was pinned").into());
    };
    match approval::asked(px, deployment).await? {
        Some(approval) => approval::answered(px, deployment, &approval).await?,
        None => check_and_ask(px, deployment, &image).await?,
    }
    if deployment.source.is_new() {
        jobs::run(px, deployment, JobKind::Release).await?;
    }
    if deployment.release.is_none() {
        let new = NewRelease {
            app: deployment.app.clone(),
            environment: deployment.environment.clone(),
            deployment: deployment.id.clone(),
            image,
            settings: deployment.settings.clone(),
            version: deployment.version.clone(),
            created_at: px.now(),
        };
        let release = px
            .parts()
            .store
            .create_release(&new)
            .await
            .map_err(|error| internal(phase, &error))?;
        deployment.release = Some(release.number);
    }
    saved(px, deployment).await
}

async fn check_and_ask(
    px: &Platform,
    deployment: &mut Deployment,
    image: &PinnedImage,
) -> Result<(), Stop> {
    borrow(px, deployment).await;
    // The text of a Dockerfile is not kept yet.
    validation::run(px, deployment, image).await?;
    if deployment.source.is_new() {
        jobs::run(px, deployment, JobKind::Test).await?;
    }
    saved(px, deployment).await?;
    approval::ask(px, deployment).await
}

/// Takes the variables of the app's `FlukeBase` project, as it said them last.
async fn borrow(px: &Platform, deployment: &mut Deployment) {
    // What was numbered is what it is.
    if deployment.release.is_some() {
        return;
    }
    let Some(loan) = crate::flukebase::borrow(px, deployment).await else {
        return;
    };
    let (project, borrowed) = (loan.project, loan.borrowed);
    let environment = loan.environment.as_str();
    if !borrowed.taken.is_empty() {
        let names = borrowed.taken.join(", ");
        let text = format!("variables of the FlukeBase project {project} ({environment}): {names}");
        report::progress(px, deployment, Level::Info, text);
    }
    for (name, why) in &borrowed.refused {
        let text = format!("the FlukeBase variable {name} is not taken: {why}");
        report::progress(px, deployment, Level::Warn, text);
    }
    for name in &borrowed.missing {
        let text = format!("FlukeBase says that the variable {name} is required, and has no value");
        report::progress(px, deployment, Level::Warn, text);
    }
}

/// Repeats a call while the engine is away, for a bounded time.
pub(super) async fn with_patience<T, F, Fut>(
    px: &Platform,
    phase: PhaseName,
    call: F,
) -> Result<T, Stop>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, EngineError>>,
{
    let deadline = tokio::time::Instant::now() + ENGINE_PATIENCE;
    loop {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error) if error.is_transient() && tokio::time::Instant::now() < deadline => {
                tracing::debug!(error = %error, "the engine does not answer; trying again");
            }
            Err(error) => return Err(engine_failed(phase, &error).into()),
        }
        tokio::select! {
            () = px.stopping().cancelled() => return Err(Stop::Interrupted),
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
}

pub(super) fn engine_failed(phase: PhaseName, error: &EngineError) -> Diagnosis {
    let (code, next) = if error.is_transient() {
        (
            Cause::EngineUnavailable,
            "check the Docker engine ('flukedeploy doctor') and deploy again",
        )
    } else {
        (
            Cause::StartFailed,
            "read the engine's words in the evidence and correct what it names",
        )
    };
    Diagnosis {
        code,
        phase,
        message: tame(&error.to_string(), 500),
        evidence: Evidence::default(),
        next: vec![next.to_owned()],
    }
}

pub(super) fn internal(phase: PhaseName, error: &dyn std::fmt::Display) -> Diagnosis {
    tracing::error!(error = %error, phase = phase.as_str(), "a phase failed inside FlukeDeploy");
    Diagnosis {
        code: Cause::Internal,
        phase,
        message: "something failed inside FlukeDeploy; its log has the details".to_owned(),
        evidence: Evidence::default(),
        next: vec!["deploy again; if it fails again, read the control plane's log".to_owned()],
    }
}

fn gone(message: String) -> Diagnosis {
    Diagnosis {
        code: Cause::ReleaseGone,
        phase: PhaseName::Build,
        message,
        evidence: Evidence::default(),
        next: vec!["deploy an image instead, or go back to another release".to_owned()],
    }
}

fn unresolved(error: &ResolveError) -> Diagnosis {
    let (code, words, next): (Cause, Option<&String>, &[&str]) = match error {
        ResolveError::NotFound { message, .. } => (
            Cause::ImageNotFound,
            Some(message),
            &[
                "check the image's name and tag",
                "push the image, then deploy again",
            ],
        ),
        ResolveError::Denied { message, .. } => (
            Cause::RegistryRefused,
            Some(message),
            &["give the node credentials for the registry ('docker login'), then deploy again"],
        ),
        ResolveError::RegistryUnreachable { message, .. } => (
            Cause::RegistryUnreachable,
            Some(message),
            &["check the registry's address and that this node can reach it"],
        ),
        ResolveError::WrongArchitecture { .. } => (
            Cause::ArchitectureMismatch,
            None,
            &["build the image for the nodes' architecture"],
        ),
        ResolveError::OnlyHere { .. } => (
            Cause::ImageNotFound,
            None,
            &["push the image to a registry that all nodes can reach"],
        ),
        ResolveError::Engine(error) => return engine_failed(PhaseName::Build, error),
    };
    Diagnosis {
        code,
        phase: PhaseName::Build,
        message: error.to_string(),
        evidence: Evidence {
            engine_message: words.map(|words| tame(words, 500)),
            ..Evidence::default()
        },
        next: next.iter().map(|&step| step.to_owned()).collect(),
    }
}
