//! `captain-definition` and `flukedeploy-definition`: JSON, `schemaVersion` 2, one of four forms.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::origin::RelativePath;
use crate::image::ImageRef;
use crate::names::{Invalid, quoted};

/// Looked for in this order.
pub const DEFINITION_NAMES: [&str; 2] = ["flukedeploy-definition", "captain-definition"];
/// Longest definition file, in bytes.
pub const MAX_DEFINITION_BYTES: usize = 256 * 1024;

/// How an image comes about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Recipe {
    /// A Dockerfile in the build context.
    Dockerfile { path: RelativePath },
    /// The Dockerfile's own text.
    Inline { dockerfile: String },
    /// It exists already.
    Image { image: ImageRef },
}

/// What a definition file says, with `templateId` written out as the Dockerfile it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// A path in it is relative to the definition's folder.
    pub recipe: Recipe,
}

impl Definition {
    /// # Errors
    /// What is wrong with it, in one sentence that names the key.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fault = |problem: String| Invalid::new("definition", problem);
        if text.len() > MAX_DEFINITION_BYTES {
            return Err(fault(format!(
                "must have at most {MAX_DEFINITION_BYTES} bytes"
            )));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| fault(format!("must be a JSON object: {error}")))?;
        Self::read(&value)
    }

    /// # Errors
    /// As [`Definition::parse`].
    pub fn read(value: &Value) -> Result<Self, Invalid> {
        let fault = |problem: String| Invalid::new("definition", problem);
        let Some(object) = value.as_object() else {
            return Err(fault("must be a JSON object".to_owned()));
        };
        if object.get("schemaVersion") != Some(&Value::from(2)) {
            return Err(fault(
                "must have \"schemaVersion\": 2 (a number)".to_owned(),
            ));
        }
        let forms = [
            "imageName",
            "dockerfileLines",
            "dockerfilePath",
            "templateId",
        ];
        let named: Vec<&str> = forms
            .into_iter()
            .filter(|form| object.get(*form).is_some_and(|value| !value.is_null()))
            .collect();
        let [form] = named.as_slice() else {
            return Err(fault(format!(
                "must have exactly one of {}, not {}",
                forms.join(", "),
                if named.is_empty() {
                    "none".to_owned()
                } else {
                    named.join(" and ")
                }
            )));
        };
        let text = || {
            object[*form]
                .as_str()
                .ok_or_else(|| fault(format!("must have a text as {form}")))
        };
        let recipe = match *form {
            "imageName" => Recipe::Image {
                image: text()?.parse().map_err(|error| of(form, &error))?,
            },
            "dockerfilePath" => {
                let path = text()?.trim_start_matches("./");
                Recipe::Dockerfile {
                    path: path.parse().map_err(|error| of(form, &error))?,
                }
            }
            "dockerfileLines" => {
                let lines: Option<Vec<&str>> = object[*form]
                    .as_array()
                    .filter(|lines| !lines.is_empty())
                    .and_then(|lines| lines.iter().map(Value::as_str).collect());
                let Some(lines) = lines else {
                    return Err(fault(
                        "must have a list of texts, not an empty one, as dockerfileLines"
                            .to_owned(),
                    ));
                };
                Recipe::Inline {
                    dockerfile: lines.join("\n") + "\n",
                }
            }
            _ => Recipe::Inline {
                dockerfile: template(text()?)?,
            },
        };
        Ok(Self { recipe })
    }
}

fn of(form: &str, error: &Invalid) -> Invalid {
    Invalid::new(format!("definition.{form}"), error.problem.clone())
}

/// The Dockerfile that `<name>/<version>` stands for.
fn template(id: &str) -> Result<String, Invalid> {
    let fault = |problem: String| Invalid::new("definition.templateId", problem);
    let (name, version) = id
        .split_once('/')
        .ok_or_else(|| fault(format!("must look like 'node/20', not {}", quoted(id))))?;
    let is_version = !version.is_empty()
        && version.len() <= 64
        && version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !version.starts_with(['.', '-']);
    if !is_version {
        return Err(fault(format!(
            "must have a version of letters, digits and . _ -, not {}",
            quoted(version)
        )));
    }
    let lines: &[&str] = match name {
        "node" => &[
            "FROM node:{V}-alpine",
            "RUN apk add --no-cache git",
            "WORKDIR /usr/src/app",
            "COPY package.json ./",
            "RUN npm install --omit=dev && npm cache clean --force",
            "COPY . .",
            "ENV NODE_ENV=production PORT=80",
            "EXPOSE 80",
            "CMD [\"npm\", \"start\"]",
        ],
        "php" => &[
            "FROM php:{V}-apache",
            "COPY . /var/www/html/",
            "RUN rm -rf /var/www/html/.git",
        ],
        "python-django" => &[
            "FROM python:{V}-alpine",
            "RUN apk add --no-cache make g++ bash git openssh postgresql-dev curl",
            "WORKDIR /usr/src/app",
            "COPY requirements.txt ./",
            "RUN pip install --no-cache-dir -r requirements.txt",
            "COPY . .",
            "EXPOSE 80",
            "CMD [\"python\", \"manage.py\", \"runserver\", \"0.0.0.0:80\"]",
        ],
        "ruby-rack" => &[
            "FROM ruby:{V}-alpine",
            "RUN apk add --no-cache make g++ git postgresql-dev",
            "WORKDIR /usr/src/app",
            "COPY Gemfile* ./",
            "RUN bundle install",
            "COPY . .",
            "ENV RACK_ENV=production",
            "EXPOSE 80",
            "CMD [\"bundle\", \"exec\", \"rackup\", \"config.ru\", \"--host\", \"0.0.0.0\", \"--port\", \"80\"]",
        ],
        other => {
            return Err(fault(format!(
                "must be node, php, python-django or ruby-rack with a version, not {}",
                quoted(other)
            )));
        }
    };
    Ok(lines.join("\n").replace("{V}", version) + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Result<Recipe, String> {
        Definition::parse(text)
            .map(|definition| definition.recipe)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn all_four_forms_are_read() {
        assert_eq!(
            recipe(r#"{"schemaVersion":2,"imageName":"nginx:1.25"}"#).unwrap(),
            Recipe::Image {
                image: "nginx:1.25".parse().unwrap()
            }
        );
        assert_eq!(
            recipe(r#"{"schemaVersion":2,"dockerfilePath":"./docker/web"}"#).unwrap(),
            Recipe::Dockerfile {
                path: "docker/web".parse().unwrap()
            }
        );
        assert_eq!(
            recipe(r#"{"schemaVersion":2,"dockerfileLines":["FROM a","RUN b"]}"#).unwrap(),
            Recipe::Inline {
                dockerfile: "FROM a\nRUN b\n".to_owned()
            }
        );
        let Recipe::Inline { dockerfile } =
            recipe(r#"{"schemaVersion":2,"templateId":"node/20"}"#).unwrap()
        else {
            panic!("a template is a Dockerfile");
        };
        assert!(
            dockerfile.starts_with("FROM node:20-alpine\n"),
            "{dockerfile}"
        );
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        for (text, says) in [
            ("[]", "JSON object"),
            ("{", "JSON object"),
            (r#"{"schemaVersion":"2","imageName":"a"}"#, "schemaVersion"),
            (r#"{"schemaVersion":2}"#, "exactly one"),
            (
                r#"{"schemaVersion":2,"imageName":"a","templateId":"node/1"}"#,
                "imageName and templateId",
            ),
            (
                r#"{"schemaVersion":2,"dockerfileLines":[]}"#,
                "dockerfileLines",
            ),
            (
                r#"{"schemaVersion":2,"dockerfileLines":[1]}"#,
                "dockerfileLines",
            ),
            (
                r#"{"schemaVersion":2,"dockerfilePath":"../x"}"#,
                "inside the source",
            ),
            (r#"{"schemaVersion":2,"templateId":"cobol/1"}"#, "node, php"),
            (
                "{\"schemaVersion\":2,\"templateId\":\"node/20\\nRUN x\"}",
                "version",
            ),
            (r#"{"schemaVersion":2,"imageName":"a b"}"#, "imageName"),
        ] {
            let error = recipe(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
