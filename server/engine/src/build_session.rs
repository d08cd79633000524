//! `BuildKit`'s session: the builder's way back to us, while a build runs.
//!
//! Over one connection that `POST /session` turned into HTTP/2 we are the server, and the builder
//! asks: for secrets, for credentials of the registries of base images, and whether we are still
//! there. The protocol is gRPC with messages of one or two fields; see [`crate::protobuf`].

use bytes::{BufMut, Bytes, BytesMut};
use flukedeploy_domain::app::EnvVars;
use flukedeploy_platform::ports::EngineError;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use std::convert::Infallible;
use std::sync::Arc;

use crate::client::encode;
use crate::credentials::Credentials;
use crate::engine::Inner;
use crate::program::hex;
use crate::protobuf::{Fields, put_bytes, put_varint};

const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// Names of secrets and hosts are short.
const MAX_QUESTION: usize = 64 * 1024;

/// gRPC's status codes.
const NOT_FOUND: u8 = 5;
const UNIMPLEMENTED: u8 = 12;
const INVALID: u8 = 3;

/// Ends when it is dropped, and with it what the builder does for it.
pub(crate) struct Session {
    pub(crate) id: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What the builder may ask for. No `Debug`, on purpose.
struct Answers {
    secrets: EnvVars,
    credentials: Credentials,
}

impl Inner {
    pub(crate) async fn open_session(
        &self,
        secrets: EnvVars,
        credentials: Credentials,
    ) -> Result<Session, EngineError> {
        let doing = "opening a session with the builder";
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| EngineError::Refused {
            doing: doing.to_owned(),
            message: error.to_string(),
        })?;
        let id = hex(&bytes);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/session")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "h2c")
            .header("X-Docker-Expose-Session-Uuid", &id)
            .header("X-Docker-Expose-Session-Name", "flukedeploy");
        for method in [SECRET, CREDENTIALS, HEALTH] {
            request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
        }
        let opening = async {
            let request = request.body(Empty::<Bytes>::new())?;
            let response = self.client.open(request).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let why = "the engine opens no session";
                return Err(std::io::Error::other(why).into());
            }
            Ok(hyper::upgrade::on(response).await?)
        };
        let connection = self.client.call(doing, opening).await?;
        let answers = Arc::new(Answers {
            secrets,
            credentials,
        });
        let serving = tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answers = answers.clone();
                async move { Ok::<_, Infallible>(answer(&answers, request).await) }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(32)
                .serve_connection(connection, service);
            if let Err(error) = serving.await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a session with the builder broke"
                );
            }
        });
        Ok(Session { id, serving })
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(answers: &Answers, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), MAX_QUESTION);
    let Ok(body) = body.collect().await else {
        return refusal(INVALID, "the question is too long");
    };
    let body = body.to_bytes();
    // A flag for compression, which was not agreed on, and four bytes of length.
    let Some((&[0, _, _, _, _], question)) = body.split_first_chunk::<5>() else {
        return refusal(INVALID, "the question is no message");
    };
    let text = Fields(question)
        .find(|(field, _)| *field == 1)
        .map(|(_, value)| value.text())
        .unwrap_or_default();
    match answers.reply(&path, &text) {
        Ok(reply) => response(&reply),
        Err((code, message)) => refusal(code, &message),
    }
}

impl Answers {
    fn reply(&self, path: &str, asked: &str) -> Result<Vec<u8>, (u8, String)> {
        let mut reply = Vec::new();
        match path {
            SECRET => match self.secrets.0.get(asked) {
                Some(secret) => put_bytes(&mut reply, 1, secret.as_bytes()),
                None => return Err((NOT_FOUND, format!("there is no secret '{asked}'"))),
            },
            CREDENTIALS => {
                // No answer is one too: then it tries without.
                if let Some(known) = self.credentials.of_host(asked) {
                    let (username, secret) = match known.identitytoken {
                        Some(token) => (None, Some(token)),
                        None => (known.username, known.password),
                    };
                    put_bytes(&mut reply, 1, username.unwrap_or_default().as_bytes());
                    put_bytes(&mut reply, 2, secret.unwrap_or_default().as_bytes());
                }
            }
            // SERVING
            HEALTH => put_varint(&mut reply, 1, 1),
            _ => return Err((UNIMPLEMENTED, "not known here".to_owned())),
        }
        Ok(reply)
    }
}

fn response(message: &[u8]) -> Answer {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(framed.freeze())
        .with_trailers(async move { Some(Ok(trailers)) })
        .boxed_unsync();
    grpc(body)
}

fn refusal(code: u8, message: &str) -> Answer {
    let mut answer = grpc(Empty::new().boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    if let Ok(message) = HeaderValue::from_str(&encode(message)) {
        headers.insert("grpc-message", message);
    }
    answer
}

fn grpc(body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use flukedeploy_domain::credential::{Credential, CredentialKind};
    use std::collections::BTreeMap;

    fn answers() -> Answers {
        Answers {
            secrets: EnvVars(BTreeMap::from([("token".to_owned(), "s3cret".to_owned())])),
            credentials: Credentials::default().overruled_by(&[Credential {
                kind: CredentialKind::Registry,
                host: "docker.io".to_owned(),
                username: "ann".to_owned(),
                secret: "word".to_owned(),
                known_hosts: None,
                created_at: time::OffsetDateTime::UNIX_EPOCH,
            }]),
        }
    }

    fn texts(reply: &[u8]) -> Vec<(u64, String)> {
        Fields(reply)
            .map(|(field, value)| (field, value.text()))
            .collect()
    }

    #[test]
    fn only_what_was_given_is_told() {
        let answers = answers();
        let reply = answers.reply(SECRET, "token").unwrap();
        assert_eq!(texts(&reply), [(1, "s3cret".to_owned())]);
        let (code, words) = answers.reply(SECRET, "other").unwrap_err();
        assert!(code == NOT_FOUND && words.contains("other"));
        let reply = answers.reply(CREDENTIALS, "registry-1.docker.io").unwrap();
        assert_eq!(
            texts(&reply),
            [(1, "ann".to_owned()), (2, "word".to_owned())]
        );
        assert!(answers.reply(CREDENTIALS, "ghcr.io").unwrap().is_empty());
        assert_eq!(answers.reply(HEALTH, "").unwrap(), [8, 1]);
        let other = answers.reply("/moby.filesync.v1.FileSync/DiffCopy", "");
        assert_eq!(other.unwrap_err().0, UNIMPLEMENTED);
    }
}
