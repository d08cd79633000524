//! Answers of the engine that go on for long: one JSON value a line.

use bollard::errors::Error;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

/// Far above any message of the engine.
const MAX_LINE: usize = 16 * 1024 * 1024;

pub(crate) struct JsonLines {
    body: Incoming,
    buffer: BytesMut,
    /// So much of the buffer holds no line end.
    searched: usize,
}

impl JsonLines {
    pub(crate) fn new(body: Incoming) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            searched: 0,
        }
    }

    /// `None` at the end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        while let Some(line) = self.line().await? {
            let line = line.trim_ascii();
            if !line.is_empty() {
                return Ok(Some(serde_json::from_slice(line)?));
            }
        }
        Ok(None)
    }

    async fn line(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let rest = &self.buffer[self.searched..];
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE {
                return Err(std::io::Error::other("the engine sends a line without end").into());
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    self.searched = 0;
                    return Ok(Some(self.buffer.split().freeze()));
                }
            }
        }
    }
}
