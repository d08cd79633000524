//! What an image carries with it.

use std::collections::BTreeMap;

use flukedeploy_domain::app::EnvVars;
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_platform::ports::{EngineError, ImageFacts};
use serde::Deserialize;

use crate::engine::Inner;

/// Not bollard's: it writes answers to its debug log, and these may hold secrets.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    #[serde(default)]
    config: Option<Config>,
    #[serde(default)]
    size: u64,
    #[serde(rename = "RootFS", default)]
    root: Root,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Root {
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Step {
    #[serde(default)]
    created_by: String,
}

impl Inner {
    pub(crate) async fn image_facts(&self, image: &PinnedImage) -> Result<ImageFacts, EngineError> {
        let doing = format!("looking into image {}", image.requested);
        let path = format!("/images/{}", image.pinned);
        let (about, history) = (format!("{path}/json"), format!("{path}/history"));
        let found: Image = self.client.call(&doing, self.client.get(&about)).await?;
        let steps: Vec<Step> = self.client.call(&doing, self.client.get(&history)).await?;
        Ok(facts(found, steps))
    }
}

fn facts(image: Image, steps: Vec<Step>) -> ImageFacts {
    let config = image.config.unwrap_or_default();
    let says = |words: &Option<Vec<String>>| words.as_ref().is_some_and(|it| !it.is_empty());
    let variables = config.env.iter().flatten();
    let env: BTreeMap<String, String> = variables
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let layers = image.root.layers.map_or(0, |layers| layers.len());
    ImageFacts {
        env: EnvVars(env),
        // The engine tells the newest first.
        history: steps.into_iter().rev().map(|it| it.created_by).collect(),
        size_bytes: image.size,
        layers: u32::try_from(layers).unwrap_or(u32::MAX),
        has_command: says(&config.entrypoint) || says(&config.cmd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_image_is_folded() {
        let image = json!({
            "Config": {"Env": ["PATH=/bin", "TOKEN=a=b", "odd"], "Cmd": ["/bin/sh"], "Entrypoint": null},
            "Size": 12, "RootFS": {"Type": "layers", "Layers": ["sha256:a", "sha256:b"]},
        });
        let steps = json!([{"CreatedBy": "CMD [\"/bin/sh\"]"}, {"CreatedBy": "COPY . /"}]);
        let facts = facts(
            serde_json::from_value(image).unwrap(),
            serde_json::from_value(steps).unwrap(),
        );
        assert_eq!(facts.env.0["TOKEN"], "a=b");
        assert_eq!(facts.env.0.len(), 2);
        assert_eq!(facts.history, ["COPY . /", "CMD [\"/bin/sh\"]"]);
        assert_eq!((facts.size_bytes, facts.layers), (12, 2));
        assert!(facts.has_command);
        let bare: Image = serde_json::from_value(json!({"Config": {"Cmd": []}})).unwrap();
        assert!(!super::facts(bare, Vec::new()).has_command);
    }
}
