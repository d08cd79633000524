//! An image's way to its registry.

use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ImageInspect;
use bytes::Bytes;
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_platform::ports::{BuildError, BuildLine};
use http::{Method, Request};
use http_body_util::Empty;
use serde_json::Value;

use crate::build_trace::Tell;
use crate::builds::Message;
use crate::client::{CALL, query};
use crate::engine::Inner;
use crate::error::{cut, engine_error, timed_out};
use crate::images::{is_digest, pinned};
use crate::lines::JsonLines;
use crate::transport::REGISTRY_AUTH;

/// A push that says nothing for so long is given up.
const STALL: Duration = Duration::from_mins(2);
/// `{}`: engines want the header even where there are no credentials.
const NOBODY: &str = "e30=";

impl Inner {
    /// Pushes an image by its name, and pins it to what the registry then holds.
    pub(crate) async fn push(
        &self,
        image: &ImageRef,
        here: &ImageInspect,
        tell: Tell<'_>,
    ) -> Result<PinnedImage, BuildError> {
        let registry = image.registry().unwrap_or("docker.io");
        let doing = format!("pushing {image}");
        tell(BuildLine::Step(doing.clone()));
        let auth = self.credentials().await.header(image.as_str());
        let tag = image.tag().unwrap_or("latest");
        let path = format!(
            "/images/{}/push{}",
            image.repository(),
            query(&[("tag", tag)])
        );
        let not_pushed = |message: &str| BuildError::PushFailed {
            registry: registry.to_owned(),
            message: cut(message),
        };
        let fault = |error| match error {
            Error::DockerResponseServerError { message, .. } => not_pushed(&message),
            error => BuildError::Engine(engine_error(&doing, CALL, error)),
        };
        let late = || BuildError::Engine(timed_out(&doing, STALL));
        let starting = async {
            let request = Request::builder()
                .method(Method::POST)
                .uri(path)
                .header(REGISTRY_AUTH, auth.as_deref().unwrap_or(NOBODY))
                .body(Empty::<Bytes>::new())?;
            self.client.open(request).await
        };
        let answer = tokio::time::timeout(STALL, starting).await;
        let answer = answer.map_err(|_| late())?.map_err(fault)?;
        let mut messages = JsonLines::new(answer.into_body());
        let mut digest = None;
        loop {
            let message = tokio::time::timeout(STALL, messages.next::<Message>()).await;
            let Some(mut message) = message.map_err(|_| late())?.map_err(fault)? else {
                break;
            };
            if let Some((words, _)) = message.failure() {
                return Err(not_pushed(&words));
            }
            let found = message.aux.get("Digest").and_then(Value::as_str);
            digest = found.map(str::to_owned).or(digest);
        }
        let digest = digest
            .filter(|digest| is_digest(digest))
            .ok_or_else(|| not_pushed("the registry gave no digest"))?;
        let exact = format!("{}@{digest}", image.repository());
        Ok(pinned(image, exact, false, here))
    }
}
