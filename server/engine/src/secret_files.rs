//! Files in an image's layers that look like secrets.
//!
//! Layers are read one by one, so that what a later one deletes is found as well: whoever has the
//! image has that too. Names decide what is looked at, and the beginning of the content whether it
//! is told: an empty `.env` is no secret.

use std::io::{BufReader, Cursor, Error, Read};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_platform::ports::EngineError;
use http_body_util::BodyExt;
use tar::{Archive, Entry, EntryType};
use tokio::sync::mpsc;

use crate::client::CALL;
use crate::engine::Inner;
use crate::error::{engine_error, timed_out};

const MAX_FOUND: usize = 20;
/// Most that is read of one image, as the engine sends it and unpacked.
const MAX_BYTES: u64 = 32 * 1024 * 1024 * 1024;
/// The engine packs an image before it sends its first byte.
const STALL: Duration = Duration::from_mins(2);
/// So much of a file is looked at.
const MAX_HEAD: u64 = 64 * 1024;
/// Longest record that says more about a file.
const MAX_RECORD: u64 = 64 * 1024;
const BUFFER: usize = 64 * 1024;
const MAX_NAME: usize = 300;
const BLOCK: usize = 512;

impl Inner {
    pub(crate) async fn secret_files(
        &self,
        image: &PinnedImage,
    ) -> Result<Vec<String>, EngineError> {
        let doing = format!("searching image {} for secrets", image.requested);
        let path = format!("/images/{}/get", image.pinned);
        let opening = self.client.stream(&path);
        let mut body = self.client.call_within(STALL, &doing, opening).await?;
        let (sender, receiver) = mpsc::channel(16);
        let searching = tokio::task::spawn_blocking(move || search(Pieces::new(receiver)));
        loop {
            let frame = match tokio::time::timeout(STALL, body.frame()).await {
                Err(_) => return Err(timed_out(&doing, STALL)),
                Ok(None) => break,
                Ok(Some(frame)) => frame,
            };
            let frame = frame.map_err(|error| engine_error(&doing, CALL, error.into()))?;
            // An error means that it has seen enough.
            if let Ok(data) = frame.into_data()
                && sender.send(data).await.is_err()
            {
                break;
            }
        }
        drop(sender);
        let found = match searching.await {
            Ok(found) => found,
            Err(error) => Err(Error::other(error)),
        };
        found.map_err(|error| EngineError::Refused {
            doing,
            message: error.to_string(),
        })
    }
}

/// What arrives piece by piece, for those who read.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self {
            receiver,
            piece: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Fails where others would go on for ever.
struct Bounded<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.left = self
            .left
            .checked_sub(length as u64)
            .ok_or_else(|| Error::other("the image is too large to be searched"))?;
        Ok(length)
    }
}

/// Through an image as `docker save` writes it: layers in files `<id>/layer.tar`, or, from newer
/// engines, among the blobs of an OCI layout, packed or not.
fn search(image: impl Read) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    let bounded = Bounded {
        reader: image,
        left: MAX_BYTES,
    };
    let mut archive = Archive::new(BufReader::with_capacity(BUFFER, bounded));
    for entry in archive.entries()?.raw(true) {
        let entry = entry?;
        let name = entry.path_bytes().into_owned();
        let may_be_layer = name.ends_with(b"/layer.tar") || name.starts_with(b"blobs/sha256/");
        if may_be_layer && entry.header().entry_type().is_file() {
            search_blob(entry, &mut found)?;
        }
        if found.len() >= MAX_FOUND {
            break;
        }
    }
    Ok(found)
}

fn search_blob(mut blob: impl Read, found: &mut Vec<String>) -> std::io::Result<()> {
    let head = head(&mut blob, BLOCK as u64)?;
    let whole = Cursor::new(head.clone()).chain(blob);
    match head.as_slice() {
        [0x1f, 0x8b, ..] => {
            let bounded = Bounded {
                reader: MultiGzDecoder::new(whole),
                left: MAX_BYTES,
            };
            let mut unpacked = BufReader::new(bounded);
            let head = self::head(&mut unpacked, BLOCK as u64)?;
            if is_tar(&head) {
                search_layer(Cursor::new(head).chain(unpacked), found)?;
            }
            Ok(())
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(Error::other(
            "it has layers packed with zstd, which cannot be read here",
        )),
        head if is_tar(head) => search_layer(whole, found),
        // Manifests and the like.
        _ => Ok(()),
    }
}

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262).is_some_and(|magic| magic == b"ustar")
}

/// `raw`, since the crate reads records about names into memory whatever their size is.
fn search_layer(layer: impl Read, found: &mut Vec<String>) -> std::io::Result<()> {
    let mut archive = Archive::new(layer);
    let mut long_name = None;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::GNULongName => long_name = Some(record(&mut entry)?),
            EntryType::XHeader => long_name = name_in(&record(&mut entry)?)?.or(long_name),
            kind => {
                let name = long_name
                    .take()
                    .unwrap_or_else(|| entry.path_bytes().into_owned());
                if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
                    continue;
                }
                let name = String::from_utf8_lossy(&name);
                let name = name.trim_end_matches('\0').trim_start_matches("./");
                if let Some(rule) = rule_for(name) {
                    let content = head(&mut entry, MAX_HEAD)?;
                    if rule(&String::from_utf8_lossy(&content)) {
                        add(found, name);
                    }
                }
            }
        }
        if found.len() >= MAX_FOUND {
            break;
        }
    }
    Ok(())
}

fn add(found: &mut Vec<String>, name: &str) {
    let shown = name.chars().take(MAX_NAME);
    let shown: String = shown
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    let shown = format!("/{}", shown.trim_start_matches('/'));
    if !found.contains(&shown) {
        found.push(shown);
    }
}

fn head(reader: &mut impl Read, length: u64) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(length).read_to_end(&mut head)?;
    Ok(head)
}

/// A longer one is cut; what follows it is found all the same.
fn record<R: Read>(entry: &mut Entry<'_, R>) -> std::io::Result<Vec<u8>> {
    head(entry, MAX_RECORD)
}

/// The name in a pax record: lines of `<length> <key>=<value>`.
fn name_in(record: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    let (mut rest, mut name) = (record, None);
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&rest[..space]).ok();
        let length = length.and_then(|text| text.parse::<usize>().ok());
        let Some((line, after)) = length.and_then(|length| rest.split_at_checked(length)) else {
            break;
        };
        let pair = line.get(space + 1..).unwrap_or_default();
        let pair = pair.strip_suffix(b"\n").unwrap_or(pair);
        if let Some(value) = pair.strip_prefix(b"path=") {
            name = Some(value.to_vec());
        } else if pair.starts_with(b"size=") {
            return Err(Error::other("a layer holds a file of more than 8 GB"));
        }
        rest = after;
    }
    Ok(name)
}

type Rule = fn(&str) -> bool;

/// What the content of a file of this name must hold to be a secret; `None`: not looked at.
fn rule_for(path: &str) -> Option<Rule> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let in_folder = |wanted: &str| folder.rsplit('/').next() == Some(wanted);
    let has_ending = |endings: &[&str]| {
        name.rsplit_once('.')
            .is_some_and(|(_, ending)| endings.contains(&ending))
    };
    match name {
        "id_rsa" | "id_dsa" | "id_ecdsa" | "id_ed25519" => Some(is_private_key),
        ".npmrc" => Some(is_npm_token),
        ".git-credentials" => Some(|text| text.contains("://") && text.contains('@')),
        ".netrc" | "_netrc" => Some(|text| text.contains("password")),
        ".pypirc" => Some(|text| has_value(text, |key| key == "password")),
        "credentials" if in_folder(".aws") => {
            Some(|text| has_value(text, |key| key == "aws_secret_access_key"))
        }
        "config.json" if in_folder(".docker") => Some(is_docker_login),
        ".dockercfg" => Some(is_docker_login),
        ".env" => Some(is_environment),
        _ if name.starts_with(".env.")
            && !has_ending(&["example", "sample", "template", "dist"]) =>
        {
            Some(is_environment)
        }
        _ if has_ending(&["pem", "key"]) => Some(is_private_key),
        _ => None,
    }
}

fn is_private_key(text: &str) -> bool {
    text.contains("PRIVATE KEY-----")
}

fn is_npm_token(text: &str) -> bool {
    has_value(text, |key| {
        ["_authToken", "_auth", "_password"]
            .iter()
            .any(|ending| key.ends_with(ending))
    })
}

fn is_docker_login(text: &str) -> bool {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut values = compact.split("\"auth\":\"").skip(1);
    values.any(|value| !value.starts_with('"'))
        || compact.contains("\"identitytoken\":\"")
        || compact.contains("\"password\":\"")
}

fn is_environment(text: &str) -> bool {
    has_value(text, |key| {
        let key = key.to_ascii_uppercase();
        [
            "SECRET",
            "TOKEN",
            "PASSWORD",
            "PASSWD",
            "PRIVATE_KEY",
            "API_KEY",
            "APIKEY",
            "ACCESS_KEY",
            "CREDENTIAL",
        ]
        .iter()
        .any(|word| key.contains(word))
    })
}

/// Whether a line `key=value` has such a key, and a value of its own.
fn has_value(text: &str, is_wanted: impl Fn(&str) -> bool) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let pair = line.split_once(['=', ':'].as_slice());
        // `//registry/:_authToken=x` holds both.
        let pair = line.split_once('=').or(pair);
        !line.starts_with(['#', ';'])
            && pair.is_some_and(|(key, value)| {
                let value = value.trim().trim_matches(['"', '\'']);
                is_wanted(key.trim()) && !value.is_empty() && !value.starts_with("${")
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n";

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn found(image: &[u8]) -> Vec<String> {
        search(image).unwrap()
    }

    #[test]
    fn layers_of_both_formats_are_read() {
        let long = format!("{}/id_rsa", "deep/".repeat(40));
        let first = tar(&[
            ("root/.ssh/id_ed25519", KEY.as_bytes()),
            (&long, KEY.as_bytes()),
            ("app/main", b"-----BEGIN PRIVATE KEY-----"),
        ]);
        let second = gzip(&tar(&[("srv/tls.pem", b"-----BEGIN RSA PRIVATE KEY-----")]));
        let image = tar(&[
            ("manifest.json", b"[]"),
            ("abc/layer.tar", &first),
            ("blobs/sha256/0123", &second),
            ("blobs/sha256/4567", br#"{"schemaVersion":2}"#),
        ]);
        let long = format!("/{}", long.replace("//", "/"));
        let found: Vec<_> = found(&image)
            .iter()
            .map(|name| name.replace("//", "/"))
            .collect();
        assert_eq!(
            found,
            [
                "/root/.ssh/id_ed25519".to_owned(),
                long,
                "/srv/tls.pem".to_owned()
            ]
        );
    }

    #[test]
    fn no_more_than_twenty_are_told_and_each_once() {
        let files: Vec<_> = (0..30).map(|n| format!("k/{n}.pem")).collect();
        let files: Vec<_> = files
            .iter()
            .map(|name| (name.as_str(), KEY.as_bytes()))
            .collect();
        let layer = tar(&files);
        let image = tar(&[("a/layer.tar", &layer), ("b/layer.tar", &layer)]);
        assert_eq!(found(&image).len(), 20);
        let layer = tar(&files[..3]);
        let image = tar(&[("a/layer.tar", &layer), ("b/layer.tar", &layer)]);
        assert_eq!(found(&image).len(), 3);
    }

    #[test]
    fn nothing_odd_gets_into_names_and_records_are_bounded() {
        let mut found = Vec::new();
        add(&mut found, "a\n\u{1b}[31m.pem");
        assert_eq!(found, ["/a\u{fffd}\u{fffd}[31m.pem"]);
        assert_eq!(
            name_in(b"12 path=abc\n18 path=x/id_rsa12").unwrap(),
            Some(b"x/id_rsa12".to_vec())
        );
        assert_eq!(name_in(b"99999 path=abc\n").unwrap(), None);
        assert!(name_in(b"20 size=99999999999\n").is_err());
    }

    #[test]
    fn content_decides() {
        let is_secret = |path: &str, text: &str| rule_for(path).is_some_and(|rule| rule(text));
        for (path, text) in [
            ("app/.env", "DB_HOST=db\nexport DB_PASSWORD='x'"),
            ("app/.env.production", "STRIPE_API_KEY=sk"),
            ("app/.npmrc", "//registry.example.com/:_authToken=npm_x"),
            (
                "root/.aws/credentials",
                "[default]\naws_secret_access_key = x",
            ),
            ("root/.git-credentials", "https://ann:x@example.com"),
            ("root/.netrc", "machine a login b password c"),
            (
                "root/.docker/config.json",
                r#"{"auths": {"a": {"auth": "eA=="}}}"#,
            ),
            ("root/.pypirc", "[pypi]\npassword: x"),
            ("id_rsa", KEY),
        ] {
            assert!(is_secret(path, text), "{path}");
        }
        for (path, text) in [
            ("app/.env", "DB_PASSWORD=\n#TOKEN=x\nPORT=80"),
            ("app/.env.example", "TOKEN=x"),
            (
                "app/.npmrc",
                "//registry.example.com/:_authToken=${NPM_TOKEN}",
            ),
            ("etc/ssl/certs/ca.pem", "-----BEGIN CERTIFICATE-----"),
            ("srv/credentials", "aws_secret_access_key = x"),
            ("root/.docker/config.json", r#"{"auths": {}, "auth": ""}"#),
            ("app/config.json", r#"{"auth": "x"}"#),
            ("id_rsa.pub", "ssh-rsa AAAA"),
        ] {
            assert!(!is_secret(path, text), "{path}");
        }
    }
}
