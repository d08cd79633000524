use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use flukedeploy_domain::app::EnvVars;
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use thiserror::Error;

use super::engine::EngineError;

/// Makes images and looks into them.
#[async_trait]
pub trait Builder: Send + Sync + 'static {
    /// Builds an image from a context, through the engine's own builder (`BuildKit` where it has one),
    /// names it `spec.tag`, and pushes it if `spec.push`. Dropping the future ends the build.
    /// `progress` gets every line the build prints.
    async fn build_image(
        &self,
        spec: &BuildSpec,
        progress: &(dyn Fn(BuildLine) + Send + Sync),
    ) -> Result<Built, BuildError>;

    /// What an image on this node carries with it.
    async fn image_facts(&self, image: &PinnedImage) -> Result<ImageFacts, EngineError>;

    /// Names of files in the image's layers that look like secrets (private keys, credential files),
    /// at most 20. Reads the whole image.
    async fn secret_files(&self, image: &PinnedImage) -> Result<Vec<String>, EngineError>;

    /// Whether the image carries a signature (cosign's simple signing, in its registry) by this
    /// public key. `Ok(false)`: there is none, or it is somebody else's.
    async fn signed_by(&self, image: &PinnedImage, key_pem: &str) -> Result<bool, EngineError>;
}

/// An image to build.
#[derive(Clone, PartialEq, Eq)]
pub struct BuildSpec {
    /// The context: a tar file on this machine.
    pub context: PathBuf,
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
    /// Name of the image: `[registry/]repository:tag`.
    pub tag: ImageRef,
    pub args: EnvVars,
    /// For `--mount=type=secret`; only `BuildKit` can take them.
    pub secrets: EnvVars,
    pub labels: BTreeMap<String, String>,
    /// Thousandths of a processor for the commands of the build.
    pub cpu_limit_milli: u32,
    pub memory_limit_mb: u32,
    /// The Swarm has other nodes, so the image has to be where they can pull it.
    pub push: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildLine {
    /// What the builder does: "[2/4] RUN make".
    Step(String),
    /// What a command of the build printed.
    Output(String),
    /// What a person should know: "no memory limit could be set".
    Note(String),
}

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    pub image: PinnedImage,
    /// `buildkit` or `classic`.
    pub builder: String,
}

#[derive(Debug, Error)]
pub enum BuildError {
    /// A step failed; `message` holds the builder's words.
    #[error("the build failed: {message}")]
    Failed {
        message: String,
        /// Of the command that failed, if one did.
        exit_code: Option<i64>,
    },
    /// This engine cannot do what was asked for.
    #[error("{message}")]
    NotPossible { message: String },
    #[error("the image was built and could not be pushed to {registry}: {message}")]
    PushFailed { registry: String, message: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What an image carries with it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// Variables set in the image.
    pub env: EnvVars,
    /// What made each layer, oldest first ("ENV TOKEN=…", "RUN …"): may hold secrets.
    pub history: Vec<String>,
    pub size_bytes: u64,
    pub layers: u32,
    /// Has a command to run: an entrypoint or a default command.
    pub has_command: bool,
}
