//! What is to be deployed, as callers say it: an image, or something to build.

use flukedeploy_domain::build::{
    BuildSource, Definition, GitReference, GitSource, Instructions, MAX_DEFINITION_BYTES, Origin,
    Recipe, RelativePath, RepositoryUrl, UploadId,
};
use flukedeploy_domain::image::ImageRef;
use flukedeploy_platform::deployments::Wanted;
use serde_json::Value;

use super::fields::Fields;

/// Reads `image`, or `source` with what says how it is built. `None`: a fault was noted.
pub(crate) fn wanted(fields: &mut Fields) -> Option<Wanted> {
    let names = [
        "image",
        "source",
        "dockerfile",
        "dockerfile_path",
        "definition",
        "definition_path",
    ];
    // What was sent and is wrong has its fault already.
    let nothing_sent = !names.into_iter().any(|name| fields.has(name));
    let image = fields.parsed::<ImageRef>("image");
    let has_source = fields.has("source");
    let origin = origin(fields);
    let instructions = instructions(fields);
    match (image, has_source, instructions) {
        (Some(image), false, None) => Some(Wanted::Image(image)),
        (Some(_), ..) => {
            fields.fault(
                "image",
                "cannot be given together with something to build (source, dockerfile, definition)",
            );
            None
        }
        (None, false, None) => {
            if nothing_sent {
                fields.fault(
                    "image",
                    "must be given, or something to build: source, dockerfile or definition",
                );
            }
            None
        }
        (None, false, Some(Instructions::Given { recipe })) => {
            if matches!(recipe, Recipe::Dockerfile { .. }) {
                fields.fault(
                    "definition",
                    "names a Dockerfile by path: send its source too",
                );
                return None;
            }
            Some(Wanted::Build(BuildSource {
                origin: Origin::Nothing,
                instructions: Instructions::Given { recipe },
            }))
        }
        (None, false, Some(_)) => {
            fields.fault("source", "must be given with a path inside it");
            None
        }
        (None, true, instructions) => Some(Wanted::Build(BuildSource {
            origin: origin?,
            instructions: instructions.unwrap_or_default(),
        })),
    }
}

/// `{"git": {"repository": …}}` or `{"upload": "up-…"}`.
fn origin(fields: &mut Fields) -> Option<Origin> {
    let Value::Object(object) = fields.take("source")? else {
        fields.fault("source", "must be an object with git or upload");
        return None;
    };
    let mut inner = Fields::inner(object, "source.");
    let upload = inner.parsed::<UploadId>("upload");
    let git = inner.take("git");
    let origin = match (upload, git) {
        (Some(id), None) => Some(Origin::Upload { id }),
        (None, Some(Value::Object(git))) => self::git(&mut inner, git),
        (None, Some(Value::String(repository))) => match repository.parse() {
            Ok(repository) => Some(Origin::Git(GitSource {
                repository,
                reference: None,
                subfolder: None,
                submodules: false,
            })),
            Err(fault) => {
                inner.fault("git", fault.problem);
                None
            }
        },
        (None, Some(_)) => {
            inner.fault("git", "must be an object with a repository");
            None
        }
        (Some(_), Some(_)) => {
            inner.fault("git", "cannot be given together with upload");
            None
        }
        (None, None) => {
            if !inner.has_faults() {
                inner.fault("git", "must be given, or upload");
            }
            None
        }
    };
    fields.faults(inner.into_faults());
    origin
}

fn git(outer: &mut Fields, object: serde_json::Map<String, Value>) -> Option<Origin> {
    let mut fields = Fields::inner(object, "source.git.");
    let repository = fields.required::<RepositoryUrl>("repository");
    let reference = fields.parsed::<GitReference>("reference");
    let subfolder = fields.parsed::<RelativePath>("subfolder");
    let submodules = fields.flag("submodules", false);
    outer.faults(fields.into_faults());
    Some(Origin::Git(GitSource {
        repository: repository?,
        reference,
        subfolder,
        submodules,
    }))
}

/// At most one of `dockerfile_path`, `dockerfile`, `definition_path`, `definition`.
fn instructions(fields: &mut Fields) -> Option<Instructions> {
    let mut found = Vec::new();
    if let Some(path) = fields.parsed::<RelativePath>("dockerfile_path") {
        found.push(("dockerfile_path", Instructions::DockerfileAt { path }));
    }
    if let Some(path) = fields.parsed::<RelativePath>("definition_path") {
        found.push(("definition_path", Instructions::DefinitionFile { path }));
    }
    if let Some(dockerfile) = fields.text("dockerfile") {
        if dockerfile.trim().is_empty() || dockerfile.len() > MAX_DEFINITION_BYTES {
            let problem = format!("must have 1 to {MAX_DEFINITION_BYTES} bytes");
            fields.fault("dockerfile", problem);
        } else {
            let recipe = Recipe::Inline { dockerfile };
            found.push(("dockerfile", Instructions::Given { recipe }));
        }
    }
    let definition = match fields.take("definition") {
        None => None,
        Some(Value::String(text)) => Some(Definition::parse(&text)),
        Some(value) => Some(Definition::read(&value)),
    };
    match definition {
        None => {}
        Some(Ok(definition)) => {
            let recipe = definition.recipe;
            found.push(("definition", Instructions::Given { recipe }));
        }
        Some(Err(fault)) => fields.faults(vec![fault]),
    }
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
        let problem = format!("cannot be given together: {}", names.join(", "));
        fields.fault(names[1], problem);
    }
    found
        .into_iter()
        .next()
        .map(|(_, instructions)| instructions)
}
