//! From source to image: the parts of `pre_build` and `build` that are about source files.

use std::collections::BTreeMap;
use std::time::Duration;

use flukedeploy_domain::app::EnvVars;
use flukedeploy_domain::build::{
    BuildSource, DEFINITION_NAMES, Definition, Instructions, MAX_DEFINITION_BYTES, Origin, Recipe,
    RelativePath, Transport,
};
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::deployment::{Deployment, PhaseName, Source};
use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence, tame};
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_domain::log_entry::Level;
use flukedeploy_domain::names::Invalid;

use super::drive::Stop;
use super::phases::{engine_failed, internal, resolve, with_patience};
use super::report;
use crate::meaning::KeyWatch;
use crate::meaning::clean::clean_owned;
use crate::platform::Platform;
use crate::ports::{
    BuildError, BuildLine, BuildSpec, ContextDockerfile, OpenedSource, SourceError,
};
use crate::redaction::Redactor;

/// A Dockerfile that comes with the request or a definition is put into the context under this name.
const GIVEN_DOCKERFILE: &str = "flukedeploy.Dockerfile";
/// Lines of build output kept as evidence.
const LAST_LINES: usize = 20;
/// Most output of one build that is kept, in bytes; the build itself goes on.
const MAX_OUTPUT_BYTES: usize = 8 * 1024 * 1024;

/// Makes the files ready, and notes what they are.
pub(super) async fn open(
    px: &Platform,
    deployment: &mut Deployment,
    build: &BuildSource,
) -> Result<(), Stop> {
    if build.origin != Origin::Nothing {
        open_files(px, deployment, build).await?;
    }
    refuse_if_homeless(px, deployment, build).await
}

async fn open_files(
    px: &Platform,
    deployment: &mut Deployment,
    build: &BuildSource,
) -> Result<(), Stop> {
    let what = format!("Fetching {}", build.describe());
    report::progress(px, deployment, Level::Info, what);
    let opened = fetch(px, deployment, &build.origin, PhaseName::PreBuild).await?;
    let size = format!("{} files, {} bytes", opened.files, opened.bytes);
    let what = match &opened.commit {
        Some(commit) => format!("The source is commit {commit}: {size}"),
        None => format!("The source has {size}"),
    };
    report::progress(px, deployment, Level::Info, what);
    if deployment.version.is_none() {
        deployment.version = opened
            .commit
            .as_ref()
            .map(|commit| commit.chars().take(12).collect());
    }
    deployment.preparation.commit = opened.commit;
    Ok(())
}

/// The files are there since `pre_build`, unless they were lost since: an empty folder is never
/// built in their place.
async fn reopen(px: &Platform, deployment: &Deployment, build: &BuildSource) -> Result<(), Stop> {
    if build.origin == Origin::Nothing {
        return Ok(());
    }
    let opened = fetch(px, deployment, &build.origin, PhaseName::Build).await?;
    if opened.commit == deployment.preparation.commit {
        return Ok(());
    }
    Err(Diagnosis {
        code: Cause::SourceNotFound,
        phase: PhaseName::Build,
        message: "the fetched source was lost, and the branch has moved on since".to_owned(),
        evidence: Evidence::default(),
        next: vec!["deploy again".to_owned()],
    }
    .into())
}

async fn fetch(
    px: &Platform,
    deployment: &Deployment,
    origin: &Origin,
    phase: PhaseName,
) -> Result<OpenedSource, Stop> {
    let credential = credential_for(px, origin, phase).await?;
    let progress = |line: String| report::progress(px, deployment, Level::Info, line);
    px.parts()
        .workshop
        .open(&deployment.id, origin, credential.as_ref(), &progress)
        .await
        .map_err(|error| unfetched(phase, &error).into())
}

/// Says it before anything runs: the app's own hook included.
async fn refuse_if_homeless(
    px: &Platform,
    deployment: &Deployment,
    build: &BuildSource,
) -> Result<(), Stop> {
    // What is wrong with the recipe is told by the build, which reads it again.
    let recipe = recipe_of(px, deployment, build).await.ok();
    if matches!(recipe, None | Some((Recipe::Image { .. }, _))) {
        return Ok(());
    }
    let phase = PhaseName::PreBuild;
    let info = with_patience(px, phase, || px.parts().engine.info()).await?;
    place_of(px, deployment, info.member_nodes, phase).map(drop)
}

/// Removes the files of a deployment that has ended.
pub(super) async fn clear(px: &Platform, deployment: &Deployment) {
    if !matches!(deployment.source, Source::Build { .. }) {
        return;
    }
    if let Err(error) = px.parts().workshop.discard(&deployment.id).await {
        tracing::warn!(error = %error, "sources could not be removed; tried again later");
    }
}

/// The stored credential for where the source is, if there is one.
async fn credential_for(
    px: &Platform,
    origin: &Origin,
    phase: PhaseName,
) -> Result<Option<Credential>, Stop> {
    let Origin::Git(git) = origin else {
        return Ok(None);
    };
    let kind = match git.repository.transport() {
        Transport::Https | Transport::Http => CredentialKind::GitToken,
        Transport::Ssh => CredentialKind::GitKey,
    };
    let host = git.repository.host();
    let with_port = git.repository.port().map(|port| format!("{host}:{port}"));
    let all = px
        .parts()
        .store
        .credentials()
        .await
        .map_err(|error| internal(phase, &error))?;
    let find = |wanted: &str| {
        all.iter()
            .find(|credential| credential.kind == kind && credential.host == wanted)
            .cloned()
    };
    Ok(with_port
        .and_then(|wanted| find(&wanted))
        .or_else(|| find(&host)))
}

/// Makes the image, or finds the one that the definition names.
pub(super) async fn build(
    px: &Platform,
    deployment: &mut Deployment,
    build: &BuildSource,
) -> Result<PinnedImage, Stop> {
    reopen(px, deployment, build).await?;
    let (recipe, folder) = recipe_of(px, deployment, build).await?;
    if let Recipe::Image { image } = &recipe {
        report::progress(
            px,
            deployment,
            Level::Info,
            format!("The definition names the image {image}: nothing to build"),
        );
        return resolve(px, deployment, image).await;
    }
    report::progress(px, deployment, Level::Info, "Waiting for a place to build");
    let place = px.parts().build_places.acquire().await;
    let _place = place.map_err(|error| internal(PhaseName::Build, &error))?;
    let (dockerfile, text) = match &recipe {
        Recipe::Dockerfile { path } => {
            let whole = path.below(folder.as_ref()).map_err(bad_path)?;
            let Some(text) = read(px, deployment, &whole).await? else {
                return Err(missing(format!("the source has no file {whole}")).into());
            };
            let in_source = ContextDockerfile {
                path: path.as_str().trim_start_matches("./").to_owned(),
                text: None,
            };
            (in_source, text)
        }
        Recipe::Inline { dockerfile } => {
            let given = ContextDockerfile {
                path: GIVEN_DOCKERFILE.to_owned(),
                text: Some(dockerfile.clone()),
            };
            (given, dockerfile.clone())
        }
        Recipe::Image { .. } => return Err(internal(PhaseName::Build, &"no recipe").into()),
    };
    let context = px
        .parts()
        .workshop
        .pack(&deployment.id, folder.as_ref(), &dockerfile)
        .await
        .map_err(|error| unfetched(PhaseName::Build, &error))?;
    let info = with_patience(px, PhaseName::Build, || px.parts().engine.info()).await?;
    let spec = BuildSpec {
        context,
        dockerfile: dockerfile.path,
        tag: tag_of(px, deployment, info.member_nodes)?,
        args: args_of(deployment),
        secrets: deployment.settings.build.secrets.clone(),
        labels: labels_of(deployment),
        cpu_limit_milli: deployment.settings.build.cpu_limit_milli,
        memory_limit_mb: deployment.settings.build.memory_limit_mb,
        push: px.config().builds.registry.is_some(),
    };
    // Here already: it may say why a build fails.
    deployment.preparation.checks = crate::checks::lint(&text, None);
    let lines = Lines::new(px, deployment);
    let seconds = deployment.settings.build.timeout_seconds;
    let progress = |line: BuildLine| lines.take(line);
    let outcome = tokio::time::timeout(
        Duration::from_secs(seconds.into()),
        px.parts().builder.build_image(&spec, &progress),
    )
    .await;
    let last = lines.last();
    match outcome {
        Ok(Ok(made)) => {
            deployment.preparation.builder = Some(made.builder);
            // Told with the other findings, before the release starts.
            deployment.preparation.checks = crate::checks::lint(&text, Some(&made.image.user));
            Ok(made.image)
        }
        Ok(Err(error)) => Err(unbuilt(&error, last).into()),
        Err(_) => Err(Diagnosis {
            code: Cause::DeadlineExceeded,
            phase: PhaseName::Build,
            message: format!("the build did not end within {seconds} s and was stopped"),
            evidence: Evidence {
                untrusted_output: last,
                ..Evidence::default()
            },
            next: vec![
                "look in the build's output for a step that waits or never ends".to_owned(),
                "give it more time: build.timeout_seconds".to_owned(),
            ],
        }
        .into()),
    }
}

/// The repository of images that are built here: one that all nodes can pull from.
fn place_of(
    px: &Platform,
    deployment: &Deployment,
    nodes: u32,
    phase: PhaseName,
) -> Result<String, Stop> {
    match &px.config().builds.registry {
        Some(registry) => Ok(format!("{registry}/{}", deployment.app)),
        None if nodes > 1 => Err(Diagnosis {
            code: Cause::ImageNotFound,
            phase,
            message: format!(
                "the Swarm has {nodes} nodes and no registry is configured: the other nodes could \
                 not pull what is built here"
            ),
            evidence: Evidence::default(),
            next: vec![
                "start the server with --build-registry REGISTRY/PATH, and store its credentials"
                    .to_owned(),
            ],
        }
        .into()),
        None => Ok(format!(
            "flukedeploy-{}/{}",
            px.config().instance,
            deployment.app
        )),
    }
}

/// What an image is named that was built here.
fn tag_of(px: &Platform, deployment: &Deployment, nodes: u32) -> Result<ImageRef, Stop> {
    let name = place_of(px, deployment, nodes, PhaseName::Build)?;
    let id = deployment.id.as_str().trim_start_matches("dep-");
    format!("{name}:{}-{id}", deployment.environment)
        .parse()
        .map_err(|error: Invalid| internal(PhaseName::Build, &error).into())
}

fn args_of(deployment: &Deployment) -> EnvVars {
    let settings = &deployment.settings;
    let mut args = EnvVars::default();
    if settings.build.variables_as_args {
        // The image's history would show them.
        let open = settings.open_variables();
        args.0
            .extend(open.map(|(name, value)| (name.clone(), value.clone())));
    }
    args.0.extend(settings.build.args.0.clone());
    if let Some(commit) = &deployment.preparation.commit {
        for name in ["FLUKEDEPLOY_GIT_COMMIT_SHA", "CAPROVER_GIT_COMMIT_SHA"] {
            args.0.insert(name.to_owned(), commit.clone());
        }
    }
    args
}

fn labels_of(deployment: &Deployment) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("com.flukedeploy.app".to_owned(), deployment.app.to_string()),
        (
            "com.flukedeploy.deployment".to_owned(),
            deployment.id.to_string(),
        ),
    ]);
    if let Some(commit) = &deployment.preparation.commit {
        labels.insert(
            "org.opencontainers.image.revision".to_owned(),
            commit.clone(),
        );
    }
    labels
}

/// The recipe, and the folder that is its context (`None`: the whole source).
async fn recipe_of(
    px: &Platform,
    deployment: &Deployment,
    build: &BuildSource,
) -> Result<(Recipe, Option<RelativePath>), Stop> {
    match &build.instructions {
        Instructions::Given { recipe } => Ok((recipe.clone(), None)),
        Instructions::DockerfileAt { path } => {
            if read(px, deployment, path).await?.is_none() {
                return Err(missing(format!("the source has no file {path}")).into());
            }
            Ok((Recipe::Dockerfile { path: path.clone() }, None))
        }
        Instructions::DefinitionFile { path } => match read(px, deployment, path).await? {
            Some(text) => Ok((parsed(path, &text)?, path.folder())),
            None => Err(missing(format!("the source has no file {path}")).into()),
        },
        Instructions::Find => find(px, deployment).await,
    }
}

/// A definition, else a Dockerfile, at the top or in the only folder there.
async fn find(
    px: &Platform,
    deployment: &Deployment,
) -> Result<(Recipe, Option<RelativePath>), Stop> {
    let mut folder: Option<RelativePath> = None;
    loop {
        for name in DEFINITION_NAMES {
            let path = below(folder.as_ref(), name)?;
            if let Some(text) = read(px, deployment, &path).await? {
                return Ok((parsed(&path, &text)?, folder));
            }
        }
        let path = below(folder.as_ref(), "Dockerfile")?;
        if read(px, deployment, &path).await?.is_some() {
            let recipe = Recipe::Dockerfile {
                path: below(None, "Dockerfile")?,
            };
            return Ok((recipe, folder));
        }
        let top = px
            .parts()
            .workshop
            .top(&deployment.id)
            .await
            .map_err(|error| unfetched(PhaseName::Build, &error))?;
        match (folder, top.as_slice()) {
            (None, [only]) if only.ends_with('/') => {
                folder = Some(below(None, only.trim_end_matches('/'))?);
            }
            _ => {
                return Err(missing(
                    "the source has no flukedeploy-definition, no captain-definition and no Dockerfile"
                        .to_owned(),
                )
                .into());
            }
        }
    }
}

fn below(folder: Option<&RelativePath>, name: &str) -> Result<RelativePath, Stop> {
    name.parse::<RelativePath>()
        .and_then(|path| path.below(folder))
        .map_err(bad_path)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn bad_path(error: Invalid) -> Stop {
    missing(error.to_string()).into()
}

async fn read(
    px: &Platform,
    deployment: &Deployment,
    path: &RelativePath,
) -> Result<Option<String>, Stop> {
    px.parts()
        .workshop
        .read(&deployment.id, path, MAX_DEFINITION_BYTES)
        .await
        .map_err(|error| unfetched(PhaseName::Build, &error).into())
}

fn parsed(path: &RelativePath, text: &str) -> Result<Recipe, Stop> {
    match Definition::parse(text) {
        Ok(definition) => Ok(definition.recipe),
        Err(error) => Err(Diagnosis {
            code: Cause::BuildFailed,
            phase: PhaseName::Build,
            message: tame(&format!("{path}: {error}"), 500),
            evidence: Evidence::default(),
            next: vec!["correct the definition file and deploy again".to_owned()],
        }
        .into()),
    }
}

fn missing(message: String) -> Diagnosis {
    Diagnosis {
        code: Cause::SourceNotFound,
        phase: PhaseName::Build,
        message,
        evidence: Evidence::default(),
        next: vec![
            "add a Dockerfile at the top of the source, or name where it is (dockerfile_path)"
                .to_owned(),
        ],
    }
}

fn unfetched(phase: PhaseName, error: &SourceError) -> Diagnosis {
    let (code, next) = match error {
        SourceError::NotFound { next, .. } | SourceError::Denied { next, .. } => {
            (Cause::SourceNotFound, next.clone())
        }
        SourceError::Refused { next, .. } => (Cause::SourceRefused, next.clone()),
        SourceError::Unreachable { .. } => (
            Cause::SourceNotFound,
            "check the repository's address and that this machine can reach it".to_owned(),
        ),
        SourceError::Failed { .. } => return internal(phase, error),
    };
    Diagnosis {
        code,
        phase,
        message: tame(&error.to_string(), 500),
        evidence: Evidence::default(),
        next: vec![next],
    }
}

fn unbuilt(error: &BuildError, last: Vec<String>) -> Diagnosis {
    let (message, exit_code, next) = match error {
        BuildError::Failed { message, exit_code } => (
            message,
            *exit_code,
            "read the last lines of the build's output, correct what they name, and deploy again",
        ),
        BuildError::NotPossible { message } => (
            message,
            None,
            "change what the message names, or use a newer Docker Engine",
        ),
        BuildError::PushFailed { message, .. } => (
            message,
            None,
            "check the registry's address and its stored credentials",
        ),
        BuildError::Engine(error) => return engine_failed(PhaseName::Build, error),
    };
    Diagnosis {
        code: match error {
            BuildError::PushFailed { .. } => Cause::RegistryRefused,
            _ => Cause::BuildFailed,
        },
        phase: PhaseName::Build,
        message: match (error, exit_code) {
            (BuildError::Failed { .. }, Some(code)) => {
                format!("a command of the build ended with exit code {code}")
            }
            (BuildError::Failed { .. }, None) => "the build failed".to_owned(),
            _ => tame(&error.to_string(), 500),
        },
        evidence: Evidence {
            exit_code,
            engine_message: Some(tame(message, 500)),
            untrusted_output: last,
            ..Evidence::default()
        },
        next: vec![next.to_owned()],
    }
}

/// Takes a build's lines into the log, up to a limit, and keeps the last for the diagnosis.
struct Lines<'a> {
    px: &'a Platform,
    deployment: &'a Deployment,
    state: std::sync::Mutex<(usize, std::collections::VecDeque<String>)>,
    redactor: Redactor,
    keys: std::sync::Mutex<KeyWatch>,
}

impl<'a> Lines<'a> {
    fn new(px: &'a Platform, deployment: &'a Deployment) -> Self {
        Self {
            px,
            deployment,
            state: std::sync::Mutex::default(),
            redactor: px.parts().journal.redaction().of(deployment.app.as_str()),
            keys: std::sync::Mutex::default(),
        }
    }

    fn take(&self, line: BuildLine) {
        let (level, text) = match line {
            BuildLine::Step(text) => {
                let text = self.masked(text);
                self.keep(&text);
                report::progress(self.px, self.deployment, Level::Info, text);
                return;
            }
            BuildLine::Note(text) => (Level::Warn, self.masked(text)),
            BuildLine::Output(text) => (Level::Info, self.masked(text)),
        };
        self.keep(&text);
        {
            let mut state = self
                .state
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let before = state.0;
            state.0 = before.saturating_add(text.len() + 1);
            if before > MAX_OUTPUT_BYTES {
                return;
            }
            if state.0 > MAX_OUTPUT_BYTES {
                drop(state);
                let text = format!(
                    "the build printed more than {} MiB; the rest is not kept",
                    MAX_OUTPUT_BYTES / 1024 / 1024
                );
                report::progress(self.px, self.deployment, Level::Warn, text);
                return;
            }
        }
        report::build_output(self.px, self.deployment, level, &text);
    }

    /// Among the last lines: steps too, since the one that failed may have printed nothing.
    fn keep(&self, text: &str) {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.1.push_back(tame(text, 500));
        if state.1.len() > LAST_LINES {
            state.1.pop_front();
        }
    }

    /// Without secrets, should a command print one; before anything is cut.
    fn masked(&self, text: String) -> String {
        let text = {
            let mut keys = self
                .keys
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            keys.mask(clean_owned(text))
        };
        self.redactor.text(&text).into_owned()
    }

    fn last(&self) -> Vec<String> {
        let state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.1.iter().cloned().collect()
    }
}
