//! Sources to build: git repositories and archives, made on the spot.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use tar::{Builder, EntryType, Header};

use crate::lease;

/// A folder that goes when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(hint: &str) -> Result<Self> {
        let path = lease::directory().join(format!("{hint}-{}", crate::random_name(10)));
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A repository with a working tree, below a folder that a server may serve.
#[derive(Debug, Clone)]
pub struct Repository {
    directory: PathBuf,
}

impl Repository {
    /// An empty one with the branch `main`.
    pub fn new(below: &Path, name: &str) -> Result<Self> {
        let directory = below.join(name);
        std::fs::create_dir_all(&directory)?;
        let repository = Self { directory };
        repository.git(&["init", "--quiet", "--initial-branch=main"])?;
        // As the usual forges do: any commit that a branch or tag leads to can be asked for.
        repository.git(&["config", "uploadpack.allowReachableSHA1InWant", "true"])?;
        Ok(repository)
    }

    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Writes these files, commits everything, and returns the commit.
    pub fn commit<S: AsRef<str>>(&self, files: &[(&str, S)]) -> Result<String> {
        for (path, content) in files {
            let path = self.directory.join(path);
            std::fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
            std::fs::write(&path, content.as_ref())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        self.git(&["add", "--all"])?;
        self.git(&[
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            "a change",
        ])?;
        self.git(&["rev-parse", "HEAD"])
    }

    /// Makes a branch from where it stands, and goes there.
    pub fn branch(&self, name: &str) -> Result<()> {
        self.git(&["checkout", "--quiet", "-b", name]).map(drop)
    }

    pub fn checkout(&self, name: &str) -> Result<()> {
        self.git(&["checkout", "--quiet", name]).map(drop)
    }

    pub fn tag(&self, name: &str) -> Result<()> {
        self.git(&["tag", "--annotate", "--message", "a tag", name])
            .map(drop)
    }

    /// Names another repository as a submodule: as its address from here, and where to have it.
    pub fn add_submodule(&self, other: &Repository, address: &str, path: &str) -> Result<()> {
        let local = other.path().display().to_string();
        self.git(&[
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            &local,
            path,
        ])?;
        let key = format!("submodule.{path}.url");
        self.git(&["config", "--file", ".gitmodules", &key, address])
            .map(drop)
    }

    /// Runs git here, with nothing of this machine's own configuration.
    pub fn git(&self, arguments: &[&str]) -> Result<String> {
        let output = git_command()
            .arg("-C")
            .arg(&self.directory)
            .args(arguments)
            .output()
            .context("running git; is it installed?")?;
        ensure!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

fn git_command() -> Command {
    let mut command = Command::new("git");
    command
        .stdin(Stdio::null())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "a test")
            .env(format!("GIT_{role}_EMAIL"), "test@example.com");
    }
    command
}

/// Compressed by an own hand, so that it can hold what no `tar` program would write.
pub struct Archive {
    tar: Builder<GzEncoder<Vec<u8>>>,
}

impl Default for Archive {
    fn default() -> Self {
        Self::new()
    }
}

impl Archive {
    pub fn new() -> Self {
        let gz = GzEncoder::new(Vec::new(), Compression::fast());
        Self {
            tar: Builder::new(gz),
        }
    }

    pub fn of<S: AsRef<str>>(files: &[(&str, S)]) -> Result<Vec<u8>> {
        let mut archive = Self::new();
        for (path, content) in files {
            archive.file(path, content.as_ref())?;
        }
        archive.finish()
    }

    pub fn file(&mut self, path: &str, content: &str) -> Result<()> {
        self.entry(path, EntryType::Regular, None, content.as_bytes())
    }

    pub fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.entry(path, EntryType::Symlink, Some(to), &[])
    }

    pub fn hard_link(&mut self, path: &str, to: &str) -> Result<()> {
        self.entry(path, EntryType::Link, Some(to), &[])
    }

    /// Of any kind and with any name up to 100 bytes: nothing is checked.
    pub fn entry(
        &mut self,
        path: &str,
        kind: EntryType,
        link: Option<&str>,
        content: &[u8],
    ) -> Result<()> {
        let mut header = Header::new_ustar();
        put(&mut header.as_old_mut().name, path)?;
        if let Some(link) = link {
            put(&mut header.as_old_mut().linkname, link)?;
        }
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(u64::try_from(content.len())?);
        if matches!(kind, EntryType::Block | EntryType::Char) {
            // /dev/mem
            header.set_device_major(1)?;
            header.set_device_minor(1)?;
        }
        header.set_cksum();
        self.tar.append(&header, content)?;
        Ok(())
    }

    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(self.tar.into_inner()?.finish()?)
    }
}

fn put(field: &mut [u8], text: &str) -> Result<()> {
    let field = field
        .get_mut(..text.len())
        .context("a name in a plain tar header has at most 100 bytes")?;
    field.copy_from_slice(text.as_bytes());
    Ok(())
}

/// A tar.gz of so many gigabytes of zeros in so many files, each a multiple of 32 MiB; itself some ten
/// megabytes.
pub fn bomb(gigabytes: u64, files: u64) -> Result<Vec<u8>> {
    const BLOCK: u64 = 1 << 25;
    let bytes = (gigabytes << 30) / files;
    // The middle is one compressed block again and again. What is behind it has no right check
    // sum, but nobody who unpacks as far as that has refused it.
    let mut archive = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let block = deflated(&mut io::repeat(0).take(BLOCK))?;
    for number in 0..files {
        let mut header = Header::new_gnu();
        header.set_path(format!("zeros{number}"))?;
        header.set_size(bytes);
        header.set_mode(0o644);
        header.set_cksum();
        archive.extend(deflated(&mut header.as_bytes().as_slice())?);
        for _ in 0..bytes / BLOCK {
            archive.extend(&block);
        }
    }
    Ok(archive)
}

/// Compressed up to a byte's end, without an end of the stream and without a look back.
fn deflated(content: &mut impl Read) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    io::copy(content, &mut encoder)?;
    encoder.flush()?;
    Ok(encoder.get_ref().clone())
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_repository_has_branches_tags_and_submodules() {
        let scratch = Scratch::new("repo").unwrap();
        let part = Repository::new(scratch.path(), "part").unwrap();
        part.commit(&[("inside.txt", "of the part")]).unwrap();
        let whole = Repository::new(scratch.path(), "whole").unwrap();
        let first = whole.commit(&[("deep/file", "1")]).unwrap();
        whole.tag("v1").unwrap();
        whole.branch("next").unwrap();
        whole.add_submodule(&part, "../part", "parts/one").unwrap();
        let second = whole.commit(&[("deep/file", "2")]).unwrap();
        assert_ne!(first, second);
        assert_eq!(whole.git(&["rev-parse", "v1^{commit}"]).unwrap(), first);
        let modules = std::fs::read_to_string(whole.path().join(".gitmodules")).unwrap();
        assert!(modules.contains("url = ../part"), "{modules}");
    }

    #[test]
    fn an_archive_holds_what_no_program_would_write() {
        let mut archive = Archive::new();
        archive.file("../up", "x").unwrap();
        archive.link("link", "/etc/passwd").unwrap();
        let bytes = archive.finish().unwrap();
        let mut tar = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        let names: Vec<_> = tar
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["../up", "link"]);
    }

    #[test]
    fn a_bomb_is_small_and_unpacks_to_zeros() {
        let bytes = bomb(1, 1).unwrap();
        assert!(bytes.len() < 2 << 20, "{}", bytes.len());
        let mut tar = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        let mut entry = tar.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.size(), 1 << 30);
        let copied = io::copy(&mut entry, &mut io::sink()).unwrap();
        assert_eq!(copied, 1 << 30);
    }
}
