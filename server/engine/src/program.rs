//! Images made from this very program, so that no registry is needed to start.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bollard::query_parameters::CreateImageOptions;
use bytes::Bytes;
use flukedeploy_domain::image::ImageRef;
use flukedeploy_platform::ports::EngineError;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

use crate::elf;
use crate::engine::Inner;
use crate::error::cut;
use crate::labels::INSTANCE;
use crate::spec::{INGRESS_LISTEN_PORT, INGRESS_STATE, NOBODY};

/// Packing and storing the program, debug builds on slow disks included.
const IMPORT: Duration = Duration::from_mins(3);
const CHUNK: usize = 256 * 1024;
/// Where the program's libraries are in the image.
const LIBRARIES: &str = "/lib/flukedeploy";
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The program and all it takes to run it.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    content: PathBuf,
    /// The loader's path, which is written in the program.
    interpreter: Option<PathBuf>,
    /// The name each library is asked for by, and where it is on this machine.
    libraries: Vec<(String, PathBuf)>,
    /// First 12 hex digits of the SHA-256 of its content.
    pub(crate) hash: String,
}

impl Inner {
    /// The image that runs as the ingress: its id, which Swarm does not try to pull.
    pub(crate) async fn ensure_program_image(&self) -> Result<String, EngineError> {
        let program = self.program().await?;
        let name = format!("{}:{}", self.names.program_repository(), program.hash);
        let changes = vec![
            r#"ENTRYPOINT ["/flukedeploy"]"#.to_owned(),
            format!("USER {NOBODY}:{NOBODY}"),
        ];
        self.ensure_image(&name, program, changes).await
    }

    pub(crate) async fn ensure_sample_image(&self) -> Result<ImageRef, EngineError> {
        let program = self.program().await?;
        let name = format!("{}:{}", self.names.sample_repository(), program.hash);
        let changes = vec![
            r#"ENTRYPOINT ["/flukedeploy", "sample-app"]"#.to_owned(),
            format!("USER {NOBODY}:{NOBODY}"),
            format!("EXPOSE {INGRESS_LISTEN_PORT}"),
        ];
        self.ensure_image(&name, program, changes).await?;
        name.parse().map_err(
            |error: flukedeploy_domain::names::Invalid| EngineError::Refused {
                doing: "naming the sample image".to_owned(),
                message: error.to_string(),
            },
        )
    }

    /// Looked at once: what runs does not change while it runs.
    async fn program(&self) -> Result<&Program, EngineError> {
        self.program
            .get_or_try_init(|| async {
                let path = self.program_path.clone();
                let looked = tokio::task::spawn_blocking(move || Program::look_at(&path)).await;
                looked
                    .map_err(io::Error::other)
                    .flatten()
                    .map_err(|error| EngineError::Refused {
                        doing: format!("reading the program {}", self.program_path.display()),
                        message: error.to_string(),
                    })
            })
            .await
    }

    async fn ensure_image(
        &self,
        name: &str,
        program: &Program,
        mut changes: Vec<String>,
    ) -> Result<String, EngineError> {
        let doing = format!("making image {name}");
        if let Some(image) = self.local_image(name).await? {
            let labels = image
                .config
                .as_ref()
                .and_then(|config| config.labels.as_ref());
            if self.names.owns(labels) {
                return Ok(image.id.unwrap_or_default());
            }
            return Err(EngineError::Refused {
                doing,
                message: "an image of that name exists and is not of this instance".to_owned(),
            });
        }
        changes.push(format!("LABEL {INSTANCE}={}", self.names.instance));
        if program.interpreter.is_some() {
            changes.push(format!("ENV LD_LIBRARY_PATH={LIBRARIES}"));
        }
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
            changes,
            ..CreateImageOptions::default()
        };
        let body = bollard::body_try_stream(program.clone().archive());
        let mut messages = self
            .client
            .docker()
            .create_image(Some(options), Some(body), None);
        let import = async {
            while let Some(message) = messages.next().await {
                message?;
            }
            Ok(())
        };
        self.client.call_within(IMPORT, &doing, import).await?;
        let made = self.local_image(name).await?;
        let id = made
            .and_then(|image| image.id)
            .ok_or(EngineError::NotFound { doing })?;
        tracing::info!(image = name, "made an image from this program");
        Ok(id)
    }
}

impl Program {
    /// Blocks: reads the whole program.
    fn look_at(path: &Path) -> io::Result<Self> {
        let is_own = is_own(path);
        // The path may lead to a newer program by now, or nowhere; this one never does.
        let content = if is_own {
            PathBuf::from(OWN_PROGRAM)
        } else {
            path.to_owned()
        };
        let mut file = File::open(&content)?;
        let interpreter = elf::read(&mut file)?.interpreter;
        let libraries = match &interpreter {
            None => Vec::new(),
            Some(loader) if is_own => mapped_libraries(loader)?,
            Some(loader) => listed_libraries(loader, path)?,
        };
        Ok(Self {
            hash: hash(&content)?,
            content,
            interpreter,
            libraries,
        })
    }

    /// A tar of the image's files, packed as it is read. The same program gives the same bytes, so
    /// that the engine keeps one copy for all images made of it.
    fn archive(self) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (sender, receiver) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || {
            let mut pipe = Pipe {
                sender,
                buffer: Vec::with_capacity(CHUNK),
            };
            if let Err(error) = self.pack(&mut pipe) {
                // Nobody listens any more, or learns from this why the archive ends early.
                let _ = pipe.sender.blocking_send(Err(error));
            }
        });
        stream::unfold(receiver, |mut receiver| async move {
            let chunk = receiver.recv().await?;
            Some((chunk, receiver))
        })
    }

    fn pack<W: Write>(&self, target: &mut W) -> io::Result<()> {
        let mut archive = Archive(Builder::new(target));
        archive.directory("tmp", 0o1777, 0)?;
        archive.directory("etc", 0o755, 0)?;
        archive.text(
            "etc/passwd",
            "root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n",
        )?;
        archive.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")?;
        let state = Path::new(INGRESS_STATE);
        archive.parents(state)?;
        // A volume takes over owner and mode of what it covers.
        archive.directory(relative(state), 0o700, NOBODY.into())?;
        archive.program(Path::new("flukedeploy"), &self.content)?;
        if let Some(loader) = &self.interpreter {
            archive.parents(loader)?;
            archive.program(relative(loader), &fs::canonicalize(loader)?)?;
        }
        let home = Path::new(LIBRARIES);
        for (index, (name, path)) in self.libraries.iter().enumerate() {
            let place = home.join(name);
            if index == 0 {
                archive.parents(&place)?;
            }
            archive.program(relative(&place), path)?;
        }
        archive.0.finish()?;
        archive.0.get_mut().flush()
    }
}

struct Archive<W: Write>(Builder<W>);

impl<W: Write> Archive<W> {
    fn header(kind: EntryType, mode: u32, owner: u64, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(0);
        header.set_size(size);
        header
    }

    fn directory(&mut self, path: impl AsRef<Path>, mode: u32, owner: u64) -> io::Result<()> {
        let mut header = Self::header(EntryType::Directory, mode, owner, 0);
        self.0.append_data(&mut header, path, io::empty())
    }

    /// All directories above `path`.
    fn parents(&mut self, path: &Path) -> io::Result<()> {
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for directory in above.into_iter().rev().map(relative) {
            if !directory.as_os_str().is_empty() {
                self.directory(directory, 0o755, 0)?;
            }
        }
        Ok(())
    }

    fn text(&mut self, path: &str, text: &str) -> io::Result<()> {
        let mut header = Self::header(EntryType::Regular, 0o644, 0, text.len() as u64);
        self.0.append_data(&mut header, path, text.as_bytes())
    }

    fn program(&mut self, path: &Path, from: &Path) -> io::Result<()> {
        let file = File::open(from)?;
        let size = file.metadata()?.len();
        let mut header = Self::header(EntryType::Regular, 0o755, 0, size);
        self.0.append_data(&mut header, path, file.take(size))
    }
}

/// Hands chunks over to the asynchronous side.
struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::replace(
            &mut self.buffer,
            Vec::with_capacity(CHUNK),
        ));
        self.sender
            .blocking_send(Ok(chunk))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Whether `path` is the program that runs right now.
fn is_own(path: &Path) -> bool {
    if fs::read_link(OWN_PROGRAM).is_ok_and(|own| own == path) {
        return true;
    }
    match (fs::metadata(path), fs::metadata(OWN_PROGRAM)) {
        (Ok(one), Ok(other)) => one.dev() == other.dev() && one.ino() == other.ino(),
        _ => false,
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hex(&hasher.finalize()[..6]))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The libraries this process has loaded.
fn mapped_libraries(loader: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let skip = [fs::canonicalize(loader)?, fs::read_link(OWN_PROGRAM)?];
    let mut libraries = Vec::new();
    for path in mapped_files(&fs::read_to_string("/proc/self/maps")?) {
        if skip.contains(&path) || libraries.iter().any(|(_, known)| *known == path) {
            continue;
        }
        let Ok(library) = elf::read(&mut File::open(&path)?) else {
            continue;
        };
        let file_name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if let Some(name) = library
            .soname
            .filter(|name| !name.contains('/'))
            .or(file_name)
        {
            libraries.push((name, path));
        }
    }
    libraries.sort();
    Ok(libraries)
}

/// Files that are mapped to be executed.
fn mapped_files(maps: &str) -> Vec<PathBuf> {
    maps.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(6, ' ');
            let (_, permissions) = (fields.next()?, fields.next()?);
            let path = fields.nth(3)?.trim_start();
            (permissions.contains('x') && path.starts_with('/')).then(|| PathBuf::from(path))
        })
        .collect()
}

/// The libraries another program would load: its loader can tell without running it.
fn listed_libraries(loader: &Path, program: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let output = Command::new(loader).arg("--list").arg(program).output()?;
    if !output.status.success() {
        let words = cut(&String::from_utf8_lossy(&output.stderr));
        return Err(io::Error::other(format!(
            "its libraries cannot be listed: {words}"
        )));
    }
    let mut libraries = listed(&String::from_utf8_lossy(&output.stdout));
    libraries.sort();
    Ok(libraries)
}

/// Lines of the form `name => path (address)`.
fn listed(text: &str) -> Vec<(String, PathBuf)> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.trim().split_once(" => ")?;
            let path = rest.rsplit_once(" (").map_or(rest, |(path, _)| path);
            let is_plain = !name.contains('/') && path.starts_with('/');
            is_plain.then(|| (name.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_and_listed_libraries_are_read() {
        let maps = "\
55d0c8a00000-55d0c8a02000 r--p 00000000 fe:00 123  /usr/bin/flukedeploy
7f1c2c000000-7f1c2c155000 r-xp 00026000 fe:00 456                        /usr/lib/x86_64-linux-gnu/libc.so.6
7f1c2c200000-7f1c2c201000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
";
        assert_eq!(
            mapped_files(maps),
            [PathBuf::from("/usr/lib/x86_64-linux-gnu/libc.so.6")]
        );
        let list = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\tlibx.so => not found\n";
        assert_eq!(
            listed(list),
            [(
                "libm.so.6".to_owned(),
                PathBuf::from("/lib/x86_64-linux-gnu/libm.so.6")
            )]
        );
    }

    #[test]
    fn both_ways_to_the_libraries_agree() {
        let own = fs::read_link(OWN_PROGRAM).unwrap();
        assert!(is_own(&own));
        let Some(loader) = elf::read(&mut File::open(&own).unwrap())
            .unwrap()
            .interpreter
        else {
            return;
        };
        let mapped: Vec<String> = mapped_libraries(&loader)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let listed: Vec<String> = listed_libraries(&loader, &own)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(!listed.is_empty());
        for name in listed {
            assert!(mapped.contains(&name), "{name} is not in {mapped:?}");
        }
    }

    #[test]
    fn the_archive_is_the_same_every_time_and_holds_what_is_needed() {
        let program = Program {
            content: "/bin/sh".into(),
            interpreter: None,
            libraries: vec![("libx.so".to_owned(), "/etc/hostname".into())],
            hash: String::new(),
        };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        program.pack(&mut first).unwrap();
        program.pack(&mut second).unwrap();
        assert_eq!(first, second);
        let mut archive = tar::Archive::new(first.as_slice());
        let entries: Vec<(String, u64, u32)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let path = entry
                    .path()
                    .unwrap()
                    .to_string_lossy()
                    .trim_end_matches('/')
                    .to_owned();
                (
                    path,
                    entry.header().uid().unwrap(),
                    entry.header().mode().unwrap(),
                )
            })
            .collect();
        for wanted in [
            ("tmp", 0, 0o1777),
            ("etc/passwd", 0, 0o644),
            ("var/lib/flukedeploy-ingress", 65534, 0o700),
            ("flukedeploy", 0, 0o755),
            ("lib/flukedeploy", 0, 0o755),
            ("lib/flukedeploy/libx.so", 0, 0o755),
        ] {
            assert!(
                entries
                    .iter()
                    .any(|(path, owner, mode)| (path.as_str(), *owner, *mode) == wanted),
                "{wanted:?} in {entries:?}"
            );
        }
    }
}
