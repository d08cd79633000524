//! From source to image: where the files come from, which recipe makes an image of them, and what a
//! build may use.

mod definition;
mod origin;
mod settings;

pub use definition::{DEFINITION_NAMES, Definition, MAX_DEFINITION_BYTES, Recipe};
pub use origin::{
    GitReference, GitSource, Origin, RelativePath, RepositoryUrl, Transport, UploadId,
};
pub use settings::{BuildSettings, MAX_BUILD_SECONDS};

use serde::{Deserialize, Serialize};

/// What is to be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSource {
    pub origin: Origin,
    pub instructions: Instructions,
}

/// Where the recipe is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Instructions {
    /// A definition file, else a `Dockerfile`, both at the top; if the top holds one folder and
    /// nothing else, the same inside it.
    #[default]
    Find,
    /// This definition file; its folder is the build context.
    DefinitionFile { path: RelativePath },
    /// This Dockerfile; the whole source is the build context.
    DockerfileAt { path: RelativePath },
    /// Handed over with the request.
    Given { recipe: Recipe },
}

impl BuildSource {
    /// Repository and reference, for people.
    pub fn describe(&self) -> String {
        match &self.origin {
            Origin::Nothing => "a Dockerfile".to_owned(),
            Origin::Upload { id } => format!("the upload {id}"),
            Origin::Git(git) => match &git.reference {
                Some(reference) => format!("{} {reference}", git.repository),
                None => git.repository.to_string(),
            },
        }
    }
}
