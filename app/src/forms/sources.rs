//! What to deploy, as a form says it: an image, or what one is built of.

use flukedeploy_domain::build::{
    BuildSource, GitSource, Instructions, MAX_DEFINITION_BYTES, Origin, Recipe,
};
use flukedeploy_platform::deployments::Wanted;

use super::parse::Reader;

/// The values of the field `source`.
pub(crate) const IMAGE: &str = "image";
pub(crate) const GIT: &str = "git";
pub(crate) const UPLOAD: &str = "upload";
pub(crate) const DOCKERFILE: &str = "dockerfile";

impl Reader<'_> {
    /// Only the fields of what was chosen count. `None`: a fault was noted.
    pub(super) fn wanted(&mut self) -> Option<Wanted> {
        match self.text("source") {
            None | Some(IMAGE) => self.required("image").map(Wanted::Image),
            Some(GIT) => {
                let origin = self.git();
                let instructions = self.instructions("git_recipe", "git_recipe_path");
                build(origin?, instructions?)
            }
            Some(UPLOAD) => {
                if self.text("upload").is_none() {
                    self.fault("upload", "must be sent first, and its id stand here");
                }
                let id = self.optional("upload");
                let instructions = self.instructions("upload_recipe", "upload_recipe_path");
                build(Origin::Upload { id: id? }, instructions?)
            }
            Some(DOCKERFILE) => {
                let dockerfile = self.lines_of("dockerfile");
                if dockerfile.trim().is_empty() || dockerfile.len() > MAX_DEFINITION_BYTES {
                    let problem = format!("must have 1 to {MAX_DEFINITION_BYTES} bytes");
                    self.fault("dockerfile", problem);
                    return None;
                }
                let recipe = Recipe::Inline { dockerfile };
                build(Origin::Nothing, Instructions::Given { recipe })
            }
            Some(_) => {
                self.fault("source", "must be image, git, upload or dockerfile");
                None
            }
        }
    }

    fn git(&mut self) -> Option<Origin> {
        let repository = self.required("repository");
        let reference = self.optional("reference");
        let subfolder = self.optional("subfolder");
        Some(Origin::Git(GitSource {
            repository: repository?,
            reference,
            subfolder,
            submodules: self.has("submodules", "true"),
        }))
    }

    /// Where the recipe is, inside the source.
    fn instructions(&mut self, kind: &str, path: &str) -> Option<Instructions> {
        match self.text(kind) {
            None | Some("find") => Some(Instructions::Find),
            Some("dockerfile") => {
                let path = self.required(path)?;
                Some(Instructions::DockerfileAt { path })
            }
            Some("definition") => {
                let path = self.required(path)?;
                Some(Instructions::DefinitionFile { path })
            }
            Some(_) => {
                self.fault(kind, "must be find, dockerfile or definition");
                None
            }
        }
    }

    /// A text of several lines; browsers send them with CR LF, which means something else inside
    /// a Dockerfile or a key.
    pub(super) fn lines_of(&self, field: &str) -> String {
        self.get(field).unwrap_or_default().replace("\r\n", "\n")
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what the callers answer with")]
fn build(origin: Origin, instructions: Instructions) -> Option<Wanted> {
    Some(Wanted::Build(BuildSource {
        origin,
        instructions,
    }))
}
