//! Making images, through the engine's own builder.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::errors::Error;
use bytes::{Bytes, BytesMut};
use flukedeploy_platform::ports::{BuildError, BuildLine, BuildSpec, Built, EngineError};
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body::{Body, Frame};
use http_body_util::StreamBody;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::build_limits::{self, Limits};
use crate::build_trace::{Lines, Tell, Trace, exit_code};
use crate::client::{CALL, query};
use crate::engine::Inner;
use crate::error::{cut, engine_error};
use crate::images::pinned;
use crate::labels::INSTANCE;
use crate::lines::JsonLines;

/// hyper takes no longer address; arguments and labels are part of it.
const MAX_ADDRESS: usize = 60_000;
const CHUNK: usize = 64 * 1024;
const REGISTRY_CONFIG: HeaderName = HeaderName::from_static("x-registry-config");

/// One message of either builder, or of a push.
#[derive(Deserialize)]
pub(crate) struct Message {
    #[serde(default)]
    id: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    pub(crate) aux: Value,
    #[serde(default)]
    error: String,
    #[serde(rename = "errorDetail")]
    detail: Option<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    code: Option<i64>,
    #[serde(default)]
    message: String,
}

impl Message {
    /// The words and the exit code of a failure.
    pub(crate) fn failure(&mut self) -> Option<(String, Option<i64>)> {
        let detail = self.detail.take();
        let code = detail.as_ref().and_then(|detail| detail.code);
        let words = detail.map_or_else(|| std::mem::take(&mut self.error), |it| it.message);
        (!words.is_empty()).then_some((words, code))
    }
}

impl Inner {
    /// Has no deadline: who waits drops it. Then the engine ends the build.
    pub(crate) async fn build_image(
        &self,
        spec: &BuildSpec,
        tell: Tell<'_>,
    ) -> Result<Built, BuildError> {
        let has_buildkit = self.client.met().await?.has_buildkit;
        let id = if has_buildkit {
            self.build_with_buildkit(spec, tell).await?
        } else if spec.secrets.0.is_empty() {
            self.build_classic(spec, tell).await?
        } else {
            return Err(BuildError::NotPossible {
                message: "this engine has no BuildKit, and builds without it take no secrets"
                    .to_owned(),
            });
        };
        let doing = format!("looking for the image {} that was built", spec.tag);
        let here = self.local_image(&id).await?;
        let here = here.ok_or(EngineError::NotFound { doing })?;
        let image = if spec.push {
            self.push(&spec.tag, &here, tell).await?
        } else {
            pinned(&spec.tag, id, true, &here)
        };
        let builder = if has_buildkit { "buildkit" } else { "classic" };
        Ok(Built {
            image,
            builder: builder.to_owned(),
        })
    }

    async fn build_with_buildkit(
        &self,
        spec: &BuildSpec,
        tell: Tell<'_>,
    ) -> Result<String, BuildError> {
        if let Err(why) = self.limit(spec).await {
            tell(BuildLine::Note(format!(
                "no processor and memory limit could be set for this build: {why}"
            )));
        }
        let credentials = self.credentials().await;
        let session = self.open_session(spec.secrets.clone(), credentials).await?;
        let mut answer = self
            .start_build(spec, &[("version", "2"), ("session", &session.id)], None)
            .await?;
        let (mut trace, mut image) = (Trace::default(), None);
        let ended = loop {
            let mut message: Message = match answer.next().await {
                Ok(Some(message)) => message,
                Ok(None) => break Ok(()),
                Err(error) => break Err(failed(spec, error)),
            };
            if let Some((words, code)) = message.failure() {
                break Err(refused(&words, code));
            }
            match (message.id.as_str(), &message.aux) {
                ("moby.buildkit.trace", Value::String(response)) => {
                    if let Ok(response) = STANDARD.decode(response) {
                        trace.take(&response, tell);
                    }
                }
                ("moby.image.id", aux) => image = id_in(aux),
                _ => {}
            }
        };
        trace.end(tell);
        ended?;
        image.ok_or_else(|| no_image(spec))
    }

    async fn build_classic(&self, spec: &BuildSpec, tell: Tell<'_>) -> Result<String, BuildError> {
        let limits = limits(spec);
        let number = |value: Option<u64>| value.map_or_else(|| "0".to_owned(), |it| it.to_string());
        let (quota, memory) = (number(limits.quota_us()), number(limits.memory_bytes()));
        let parameters = [
            ("rm", "1"),
            ("forcerm", "1"),
            ("cpuperiod", &Limits::period_us().to_string()),
            ("cpuquota", &quota),
            ("memory", &memory),
            // Memory and swap together.
            ("memswap", &memory),
        ];
        let auth = self.credentials().await.config_header();
        let mut answer = self.start_build(spec, &parameters, auth).await?;
        let (mut lines, mut image) = (Classic::default(), None);
        let tell_line = |line: String| {
            tell(if is_step(&line) {
                BuildLine::Step(line)
            } else {
                BuildLine::Output(line)
            });
        };
        let ended = loop {
            let mut message: Message = match answer.next().await {
                Ok(Some(message)) => message,
                Ok(None) => break Ok(()),
                Err(error) => break Err(failed(spec, error)),
            };
            if let Some((words, code)) = message.failure() {
                break Err(refused(&words, code));
            }
            lines.take(&message.stream, tell_line);
            image = id_in(&message.aux).or(image);
        };
        lines.finish(tell_line);
        ended?;
        image.ok_or_else(|| no_image(spec))
    }

    /// Sends the context, and returns once the builder says its first word.
    async fn start_build(
        &self,
        spec: &BuildSpec,
        more: &[(&str, &str)],
        auth: Option<String>,
    ) -> Result<JsonLines, BuildError> {
        let mut labels = spec.labels.clone();
        labels.insert(INSTANCE.to_owned(), self.names.instance.to_string());
        let json = |map| serde_json::to_string(map).unwrap_or_default();
        let (arguments, labels) = (json(&spec.args.0), json(&labels));
        let mut parameters = vec![
            ("t", spec.tag.as_str()),
            ("dockerfile", spec.dockerfile.as_str()),
            ("buildargs", &arguments),
            ("labels", &labels),
        ];
        parameters.extend_from_slice(more);
        let path = format!("/build{}", query(&parameters));
        if path.len() > MAX_ADDRESS {
            return Err(BuildError::NotPossible {
                message: format!(
                    "the build's arguments and labels take {} bytes, and at most {MAX_ADDRESS} \
                     can be passed on",
                    path.len()
                ),
            });
        }
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(CONTENT_TYPE, "application/x-tar");
        if let Some(mut value) = auth.and_then(|auth| HeaderValue::from_str(&auth).ok()) {
            value.set_sensitive(true);
            request = request.header(REGISTRY_CONFIG, value);
        }
        let context = context(&spec.context).await?;
        let starting = async { self.client.open(request.body(context)?).await };
        let answer = starting.await.map_err(|error| failed(spec, error))?;
        Ok(JsonLines::new(answer.into_body()))
    }

    async fn limit(&self, spec: &BuildSpec) -> Result<(), String> {
        if !self.client.is_local() {
            return Err("the engine is on another machine".to_owned());
        }
        let about: About = self
            .client
            .call("reading the engine's settings", self.client.get("/info"))
            .await
            .map_err(|error| error.to_string())?;
        if about.cgroup_driver != "cgroupfs" {
            return Err(format!(
                "the engine leaves cgroups to '{}'",
                cut(&about.cgroup_driver)
            ));
        }
        let limits = limits(spec);
        let setting = move || build_limits::set(Path::new(build_limits::ROOT), limits);
        tokio::task::spawn_blocking(setting)
            .await
            .map_err(|error| error.to_string())?
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct About {
    #[serde(default)]
    cgroup_driver: String,
}

fn limits(spec: &BuildSpec) -> Limits {
    Limits {
        cpu_milli: spec.cpu_limit_milli,
        memory_mb: spec.memory_limit_mb,
    }
}

async fn context(
    path: &Path,
) -> Result<impl Body<Data = Bytes, Error = std::io::Error> + use<>, BuildError> {
    let file = tokio::fs::File::open(path).await.map_err(|error| {
        BuildError::Engine(EngineError::Refused {
            doing: "reading the build's context".to_owned(),
            message: error.to_string(),
        })
    })?;
    Ok(StreamBody::new(stream::try_unfold(
        file,
        |mut file| async move {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            let length = file.read_buf(&mut chunk).await?;
            Ok((length > 0).then(|| (Frame::data(chunk.freeze()), file)))
        },
    )))
}

/// Lines from the classic builder's pieces, which begin and end anywhere in what a command prints.
#[derive(Default)]
struct Classic {
    out: Lines,
    err: Lines,
}

impl Classic {
    fn take(&mut self, piece: &str, mut tell: impl FnMut(String)) {
        if is_builders_own(piece) {
            // What a command printed last may have had no line end.
            std::mem::take(self).finish(&mut tell);
        }
        // What goes to stderr it paints red.
        let painted = piece.strip_prefix("\u{1b}[91m");
        match painted.and_then(|piece| piece.strip_suffix("\u{1b}[0m")) {
            Some(piece) => self.err.take(piece.as_bytes(), tell),
            None => self.out.take(piece.as_bytes(), tell),
        }
    }

    fn finish(self, tell: impl FnMut(String)) {
        let begun = [self.out.finish(), self.err.finish()];
        begun.into_iter().flatten().for_each(tell);
    }
}

/// Whether the classic builder says this itself. It does so in one piece, which a command hardly does
/// by chance.
fn is_builders_own(piece: &str) -> bool {
    piece.starts_with("Removing intermediate container ")
        || piece.starts_with(" ---> ")
        || is_step(piece)
}

/// "Step 2/4 : RUN make"
fn is_step(line: &str) -> bool {
    let is_count = |text: &str| {
        text.split_once('/')
            .is_some_and(|(step, all)| step.parse::<u32>().is_ok() && all.parse::<u32>().is_ok())
    };
    line.strip_prefix("Step ")
        .and_then(|rest| rest.split_once(" : "))
        .is_some_and(|(count, _)| is_count(count))
}

fn id_in(aux: &Value) -> Option<String> {
    aux.get("ID")?.as_str().map(str::to_owned)
}

/// The builder's own no.
fn refused(words: &str, code: Option<i64>) -> BuildError {
    BuildError::Failed {
        message: cut(words),
        exit_code: exit_code(words).or(code.filter(|code| *code != 0)),
    }
}

fn failed(spec: &BuildSpec, error: Error) -> BuildError {
    match error {
        // No such Dockerfile, a line of it that nobody understands…
        Error::DockerResponseServerError { message, .. } => refused(&message, None),
        error => engine_error(&format!("building {}", spec.tag), CALL, error).into(),
    }
}

fn no_image(spec: &BuildSpec) -> BuildError {
    BuildError::Engine(EngineError::Unreachable {
        doing: format!("building {}", spec.tag),
        source: "the build ended without an image".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_of_the_classic_builder_are_seen() {
        assert!(is_step("Step 12/13 : RUN make"));
        for other in ["Step by step : yes", "Step 1/2", " ---> 0123", ""] {
            assert!(!is_step(other), "{other}");
        }
    }

    #[test]
    fn what_the_classic_builder_says_is_told_from_what_a_command_prints() {
        for own in [
            "Step 3/3 : RUN make",
            "Removing intermediate container 34f23959139f\n",
            " ---> 1e4584a34925\n",
        ] {
            assert!(is_builders_own(own), "{own}");
        }
        for other in ["", "Removing old files", "---> 1", "Step 3"] {
            assert!(!is_builders_own(other), "{other}");
        }
    }

    #[test]
    fn lines_of_the_classic_builder_are_not_mixed_up() {
        let mut lines = Classic::default();
        let mut told = Vec::new();
        for piece in [
            "Step 1/2 : RUN make",
            "\n",
            "out 1\nou",
            "\u{1b}[91merr 1\ner\u{1b}[0m",
            "t 2\nno e",
            "\u{1b}[91mr 2\n\u{1b}[0m",
            "nd",
            "Removing intermediate container 34f23959139f\n",
            "\u{1b}[91mnor here\u{1b}[0m",
        ] {
            lines.take(piece, |line| told.push(line));
        }
        lines.finish(|line| told.push(line));
        assert_eq!(
            told,
            [
                "Step 1/2 : RUN make",
                "out 1",
                "err 1",
                "out 2",
                "err 2",
                "no end",
                "Removing intermediate container 34f23959139f",
                "nor here",
            ]
        );
    }

    #[test]
    fn failures_are_read_from_either_place() {
        let failure = |value| serde_json::from_value::<Message>(value).unwrap().failure();
        let words = "The command '/bin/false' returned a non-zero code: 1";
        assert_eq!(
            failure(json!({"errorDetail": {"code": 1, "message": words}, "error": words})),
            Some((words.to_owned(), Some(1)))
        );
        assert_eq!(
            failure(json!({"error": "no"})),
            Some(("no".to_owned(), None))
        );
        assert_eq!(failure(json!({"stream": "fine"})), None);
    }
}
