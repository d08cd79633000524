//! An engine that does not answer, or is not there yet.

use std::path::PathBuf;
use std::time::Duration;

use flukedeploy_engine::SwarmEngine;
use flukedeploy_platform::ports::{Engine, EngineError, EngineEvent, ReadTo};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::time::timeout;

use crate::support::{config, random_name};

struct Socket(PathBuf);

impl Socket {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("flukedeploy-{}.sock", random_name())))
    }

    fn engine(&self) -> SwarmEngine {
        let mut config = config("nobody");
        config.docker = Some(format!("unix://{}", self.0.display()));
        SwarmEngine::new(config)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_frozen_engine_times_out() {
    let socket = Socket::new();
    let listener = UnixListener::bind(&socket.0).unwrap();
    let frozen = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    let engine = socket.engine();
    let image = "shop:v1".parse().unwrap();
    let (info, tasks, removal, mut logs) = (
        engine.info(),
        engine.tasks("x"),
        engine.remove_service("x"),
        engine.follow_logs("x", &ReadTo::default()),
    );
    let resolution = engine.resolve_image(&image, &|_| {});
    let all = async { tokio::join!(info, tasks, removal, logs.next(), resolution) };
    let (info, tasks, removal, line, resolution) = timeout(Duration::from_secs(15), all)
        .await
        .expect("calls have deadlines");
    assert!(
        matches!(info, Err(EngineError::TimedOut { seconds: 10, .. })),
        "{info:?}"
    );
    assert!(
        matches!(tasks, Err(EngineError::TimedOut { .. })),
        "{tasks:?}"
    );
    assert!(
        matches!(removal, Err(EngineError::TimedOut { .. })),
        "{removal:?}"
    );
    assert!(
        matches!(line, Some(Err(EngineError::TimedOut { .. }))),
        "{line:?}"
    );
    assert!(resolution.is_err());
    frozen.abort();
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_unreachable() {
    let engine = Socket::new().engine();
    let info = engine.info().await;
    assert!(
        matches!(info, Err(EngineError::Unreachable { .. })),
        "{info:?}"
    );
    assert!(info.unwrap_err().is_transient());
}

#[tokio::test]
async fn a_bad_address_shows_in_the_first_call() {
    let mut config = config("nobody");
    config.docker = Some("ssh://somewhere".to_owned());
    let error = SwarmEngine::new(config).info().await.unwrap_err();
    assert!(
        error.to_string().contains("must start with unix://"),
        "{error}"
    );
}

/// Answers every request with `body`, whatever it was.
async fn answer(listener: UnixListener, body: &'static str) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_told_so() {
    let socket = Socket::new();
    let listener = UnixListener::bind(&socket.0).unwrap();
    let old = tokio::spawn(answer(
        listener,
        r#"{"Version":"18.09.1","ApiVersion":"1.39","Arch":"amd64"}"#,
    ));
    let error = socket.engine().info().await.unwrap_err();
    assert!(error.to_string().contains("1.41"), "{error}");
    assert!(!error.is_transient());
    old.abort();
}

#[tokio::test]
async fn watching_begins_when_the_engine_comes() {
    let socket = Socket::new();
    let mut events = socket.engine().watch();
    let early = timeout(Duration::from_millis(700), events.next()).await;
    assert!(early.is_err(), "{early:?}");
    let listener = UnixListener::bind(&socket.0).unwrap();
    let late = tokio::spawn(answer(
        listener,
        r#"{"Version":"20.10.24","ApiVersion":"1.41","Arch":"amd64"}"#,
    ));
    let event = timeout(Duration::from_secs(15), events.next())
        .await
        .unwrap();
    assert_eq!(event, Some(EngineEvent::Missed));
    late.abort();
}
