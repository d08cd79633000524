//! What an image is right now, and getting hold of it.

use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::models::{ImageConfig, ImageInspect, OciPlatform};
use bollard::query_parameters::CreateImageOptions;
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_platform::ports::{EngineError, LookedUp, ResolveError, ResolvedImage};
use futures_util::StreamExt;

use crate::client::CALL;
use crate::engine::Inner;
use crate::error::{absent_is_none, cut, engine_error, timed_out};
use crate::progress::Progress;
use crate::registry::{Verdict, judge};

/// What a registry may take to say what a tag means.
const REGISTRY: Duration = Duration::from_secs(5);
/// A pull that says nothing for so long is given up.
const STALL: Duration = Duration::from_mins(2);

/// What the registry said a reference is.
struct Known {
    digest: String,
    platforms: Vec<OciPlatform>,
}

/// Why it gave nothing.
struct Refusal {
    verdict: Verdict,
    message: String,
}

enum RegistryError {
    Refused(Refusal),
    Engine(EngineError),
}

type Tell<'a> = &'a (dyn Fn(String) + Send + Sync);

impl Inner {
    pub(crate) async fn resolve_image(
        &self,
        image: &ImageRef,
        progress: Tell<'_>,
    ) -> Result<ResolvedImage, ResolveError> {
        let here = self.local_image(&local_name(image)).await?;
        if let Some(here) = &here {
            self.check_architecture(image, &[architecture_of(here)])
                .await?;
            if image.is_image_id() || self.is_own(image) || never_was_in_a_registry(image, here) {
                return self.pin_local(image, here, Vec::new()).await;
            }
            if let Some(digest) = wanted_digest(image) {
                return Ok(pin(image, digest, here, Vec::new()));
            }
        } else if image.is_image_id() || self.is_own(image) {
            return Err(ResolveError::NotFound {
                image: image.clone(),
                message: "no such image on this node".to_owned(),
            });
        }
        progress(format!("asking the registry of {image} what it is"));
        match self.ask_registry(image.as_str()).await {
            Ok(known) => self.resolve_known(image, here, known, progress).await,
            Err(RegistryError::Engine(error)) => Err(error.into()),
            Err(RegistryError::Refused(refusal)) => match here {
                Some(here) => self.resolve_without_registry(image, &here, refusal).await,
                None => Err(refusal.into_error(image)),
            },
        }
    }

    async fn resolve_known(
        &self,
        image: &ImageRef,
        here: Option<ImageInspect>,
        known: Known,
        progress: Tell<'_>,
    ) -> Result<ResolvedImage, ResolveError> {
        let platforms: Vec<String> = known
            .platforms
            .into_iter()
            .filter_map(|platform| platform.architecture)
            .collect();
        self.check_architecture(image, &platforms).await?;
        let digest = known.digest;
        let exact = format!("{}@{digest}", image.repository());
        let here = match here {
            Some(here) if has_digest(&here, image.repository(), &digest) => here,
            _ => match self.local_image(&exact).await? {
                Some(here) => here,
                None => self.pull(image, &exact, progress).await?,
            },
        };
        self.check_architecture(image, &[architecture_of(&here)])
            .await?;
        Ok(pin(image, &digest, &here, Vec::new()))
    }

    /// The image is here, and its registry does not help.
    async fn resolve_without_registry(
        &self,
        image: &ImageRef,
        here: &ImageInspect,
        refusal: Refusal,
    ) -> Result<ResolvedImage, ResolveError> {
        let words = &refusal.message;
        let known_digest = digest_in(here, image.repository());
        match refusal.verdict {
            Verdict::Unreachable => {
                let note = format!("the registry did not answer ({words}); took the local image");
                match known_digest {
                    Some(digest) => Ok(pin(image, &digest, here, vec![note])),
                    None => self.pin_local(image, here, vec![note]).await,
                }
            }
            // A name without a registry is Docker Hub's, which knows it by accident at most: an
            // image that was built here. Engines with containerd's image store give such images
            // digests too.
            Verdict::NotFound | Verdict::Denied if image.registry().is_none() => {
                let note = format!("no registry gives this image ({words}); took the local one");
                self.pin_local(image, here, vec![note]).await
            }
            Verdict::NotFound => {
                let note =
                    format!("the registry does not know this image ({words}); took the local one");
                self.pin_local(image, here, vec![note]).await
            }
            Verdict::Denied | Verdict::Other => Err(refusal.into_error(image)),
        }
    }

    /// By its id, which Swarm never tries to pull.
    async fn pin_local(
        &self,
        image: &ImageRef,
        here: &ImageInspect,
        notes: Vec<String>,
    ) -> Result<ResolvedImage, ResolveError> {
        let members = self.nodes().await?.members;
        if members > 1 {
            return Err(ResolveError::OnlyHere {
                image: image.clone(),
                nodes: members,
            });
        }
        let id = here.id.clone().unwrap_or_default();
        let image = pinned(image, id, true, here);
        Ok(ResolvedImage { image, notes })
    }

    /// What [`Inner::resolve_image`] would begin with; fetches nothing.
    pub(crate) async fn look_up_image(&self, image: &ImageRef) -> Result<LookedUp, ResolveError> {
        if let Some(here) = self.local_image(&local_name(image)).await? {
            let is_local = image.is_image_id() || self.is_own(image);
            let digest = match wanted_digest(image) {
                Some(digest) => Some(digest.to_owned()),
                None => digest_in(&here, image.repository()).filter(|_| !is_local),
            };
            let image = match digest {
                Some(digest) => pin(image, &digest, &here, Vec::new()).image,
                None => pinned(image, here.id.clone().unwrap_or_default(), true, &here),
            };
            return Ok(LookedUp::Here(image));
        }
        if image.is_image_id() || self.is_own(image) {
            return Ok(LookedUp::Nowhere);
        }
        match self.ask_registry(image.as_str()).await {
            Ok(known) => Ok(LookedUp::InRegistry {
                architectures: known
                    .platforms
                    .into_iter()
                    .filter_map(|platform| platform.architecture)
                    .collect(),
            }),
            Err(RegistryError::Engine(error)) => Err(error.into()),
            Err(RegistryError::Refused(refusal)) => match refusal.verdict {
                Verdict::NotFound => Ok(LookedUp::Nowhere),
                Verdict::Denied | Verdict::Unreachable | Verdict::Other => {
                    Err(refusal.into_error(image))
                }
            },
        }
    }

    pub(crate) async fn image_available(&self, image: &PinnedImage) -> Result<bool, EngineError> {
        if self.local_image(&image.pinned).await?.is_some() {
            return Ok(true);
        }
        if image.local_only || !image.pinned.contains('@') {
            return Ok(false);
        }
        match self.ask_registry(&image.pinned).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Engine(error)) => Err(error),
            Err(RegistryError::Refused(refusal)) => match refusal.verdict {
                Verdict::NotFound | Verdict::Denied => Ok(false),
                Verdict::Unreachable | Verdict::Other => Err(EngineError::Refused {
                    doing: format!("asking the registry of {}", image.requested),
                    message: refusal.message,
                }),
            },
        }
    }

    pub(crate) async fn local_image(
        &self,
        name: &str,
    ) -> Result<Option<ImageInspect>, EngineError> {
        let doing = format!("looking for image {name}");
        let reading = self.client.docker().inspect_image(name);
        absent_is_none(self.client.call(&doing, reading).await)
    }

    async fn ask_registry(&self, name: &str) -> Result<Known, RegistryError> {
        let credentials = self.credentials().await.of(name);
        let had_credentials = credentials.is_some();
        let doing = format!("asking the registry of {name}");
        let work = async {
            self.client.met().await?;
            let asking = self
                .client
                .docker()
                .inspect_registry_image(name, credentials);
            Ok::<_, EngineError>(tokio::time::timeout(REGISTRY, asking).await)
        };
        match work.await.map_err(RegistryError::Engine)? {
            Ok(Ok(found)) => match found.descriptor.digest {
                Some(digest) if is_digest(&digest) => Ok(Known {
                    digest,
                    platforms: found.platforms,
                }),
                _ => Err(RegistryError::Engine(EngineError::Refused {
                    doing,
                    message: "the registry gave no digest".to_owned(),
                })),
            },
            Ok(Err(error)) => Err(refusal(&doing, name, had_credentials, error)),
            Err(_) => Err(RegistryError::Refused(Refusal {
                verdict: Verdict::Unreachable,
                message: format!("no answer within {} s", REGISTRY.as_secs()),
            })),
        }
    }

    async fn pull(
        &self,
        image: &ImageRef,
        exact: &str,
        progress: Tell<'_>,
    ) -> Result<ImageInspect, ResolveError> {
        let doing = format!("pulling {exact}");
        progress(doing.clone());
        let credentials = self.credentials().await.of(exact);
        let had_credentials = credentials.is_some();
        let options = CreateImageOptions {
            from_image: Some(exact.to_owned()),
            ..CreateImageOptions::default()
        };
        let mut messages = self
            .client
            .docker()
            .create_image(Some(options), None, credentials);
        let (mut layers, started_at) = (Progress::default(), Instant::now());
        loop {
            let message = match tokio::time::timeout(STALL, messages.next()).await {
                Err(_) => return Err(timed_out(&doing, STALL).into()),
                Ok(None) => break,
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => {
                    return Err(match refusal(&doing, exact, had_credentials, error) {
                        RegistryError::Engine(error) => error.into(),
                        RegistryError::Refused(refusal) => refusal.into_error(image),
                    });
                }
            };
            let bytes = message.progress_detail.and_then(|detail| {
                Some((
                    u64::try_from(detail.current?).ok()?,
                    u64::try_from(detail.total?).ok()?,
                ))
            });
            let layer = message.id.unwrap_or_default();
            let status = message.status.unwrap_or_default();
            if let Some(line) = layers.update(&layer, &status, bytes, Instant::now()) {
                progress(line);
            }
        }
        let here = self
            .local_image(exact)
            .await?
            .ok_or_else(|| ResolveError::NotFound {
                image: image.clone(),
                message: "the image is not there after it was pulled".to_owned(),
            })?;
        progress(format!(
            "pulled {exact} in {:.1} s",
            started_at.elapsed().as_secs_f64()
        ));
        Ok(here)
    }

    /// At least one of `found` must be the engine's own.
    async fn check_architecture(
        &self,
        image: &ImageRef,
        found: &[String],
    ) -> Result<(), ResolveError> {
        let wanted = self.client.met().await?.architecture;
        match foreign(found, &wanted) {
            None => Ok(()),
            Some(found) => Err(ResolveError::WrongArchitecture {
                image: image.clone(),
                found,
                wanted: normal(&wanted).to_owned(),
            }),
        }
    }

    /// Made from this program: in no registry, on any engine.
    fn is_own(&self, image: &ImageRef) -> bool {
        let repository = image.repository();
        repository == self.names.sample_repository()
            || repository == self.names.program_repository()
    }
}

impl Refusal {
    fn into_error(self, image: &ImageRef) -> ResolveError {
        let (image, message) = (image.clone(), self.message);
        match self.verdict {
            Verdict::NotFound => ResolveError::NotFound { image, message },
            Verdict::Denied => ResolveError::Denied { image, message },
            Verdict::Unreachable => ResolveError::RegistryUnreachable { image, message },
            Verdict::Other => ResolveError::Engine(EngineError::Refused {
                doing: format!("fetching {image}"),
                message,
            }),
        }
    }
}

/// Whether an error is the registry's or the engine's.
fn refusal(doing: &str, name: &str, had_credentials: bool, error: Error) -> RegistryError {
    let (status, message) = match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => (status_code, message),
        Error::DockerStreamError { error } => (500, error),
        other => return RegistryError::Engine(engine_error(doing, CALL, other)),
    };
    let registry = name
        .parse::<ImageRef>()
        .ok()
        .and_then(|image| image.registry().map(str::to_owned));
    let at_hub = registry.is_none_or(|host| host == "docker.io" || host == "index.docker.io");
    let verdict = match judge(&message, at_hub, had_credentials) {
        Verdict::Other if status == 404 => Verdict::NotFound,
        Verdict::Other if status == 401 || status == 403 => Verdict::Denied,
        verdict => verdict,
    };
    RegistryError::Refused(Refusal {
        verdict,
        message: cut(&message),
    })
}

/// The name under which the engine finds it: a digest overrules a tag.
fn local_name(image: &ImageRef) -> String {
    match wanted_digest(image) {
        Some(digest) => format!("{}@{digest}", image.repository()),
        None => image.to_string(),
    }
}

fn wanted_digest(image: &ImageRef) -> Option<&str> {
    image.as_str().split_once('@').map(|(_, digest)| digest)
}

fn never_was_in_a_registry(image: &ImageRef, here: &ImageInspect) -> bool {
    image.registry().is_none() && digest_in(here, image.repository()).is_none()
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The digest under which `repository` gave this image.
fn digest_in(here: &ImageInspect, repository: &str) -> Option<String> {
    let wanted = familiar(repository);
    here.repo_digests.iter().flatten().find_map(|entry| {
        let (name, digest) = entry.split_once('@')?;
        (familiar(name) == wanted && is_digest(digest)).then(|| digest.to_owned())
    })
}

fn has_digest(here: &ImageInspect, repository: &str, digest: &str) -> bool {
    let wanted = familiar(repository);
    here.repo_digests.iter().flatten().any(|entry| {
        entry
            .split_once('@')
            .is_some_and(|(name, found)| familiar(name) == wanted && found == digest)
    })
}

/// `docker.io/library/nginx` is `nginx`.
fn familiar(repository: &str) -> &str {
    let path = repository
        .strip_prefix("docker.io/")
        .or_else(|| repository.strip_prefix("index.docker.io/"))
        .unwrap_or(repository);
    path.strip_prefix("library/").unwrap_or(path)
}

fn pin(image: &ImageRef, digest: &str, here: &ImageInspect, notes: Vec<String>) -> ResolvedImage {
    let exact = format!("{}@{digest}", image.repository());
    ResolvedImage {
        image: pinned(image, exact, false, here),
        notes,
    }
}

pub(crate) fn pinned(
    image: &ImageRef,
    pinned: String,
    local_only: bool,
    here: &ImageInspect,
) -> PinnedImage {
    let nothing = ImageConfig::default();
    let config = here.config.as_ref().unwrap_or(&nothing);
    let has_healthcheck = config
        .healthcheck
        .as_ref()
        .and_then(|check| check.test.as_ref())
        .and_then(|test| test.first())
        .is_some_and(|kind| kind != "NONE");
    PinnedImage {
        requested: image.clone(),
        pinned,
        local_only,
        architecture: Some(architecture_of(here)).filter(|name| !name.is_empty()),
        exposed_ports: exposed(config.exposed_ports.as_deref().unwrap_or_default()),
        has_healthcheck,
        user: config.user.clone().unwrap_or_default(),
    }
}

fn exposed(ports: &[String]) -> Vec<u16> {
    let mut ports: Vec<u16> = ports
        .iter()
        .filter_map(|port| match port.split_once('/') {
            Some((number, "tcp")) => number.parse().ok(),
            Some(_) => None,
            None => port.parse().ok(),
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn architecture_of(here: &ImageInspect) -> String {
    here.architecture.clone().unwrap_or_default()
}

/// The architectures an image is for, if the engine's is not among them. What says nothing is no
/// proof.
fn foreign(found: &[String], wanted: &str) -> Option<String> {
    let wanted = normal(wanted);
    let known: Vec<&str> = found
        .iter()
        .map(|name| normal(name))
        .filter(|name| is_architecture(name))
        .collect();
    let is_foreign = !known.is_empty() && !wanted.is_empty() && !known.contains(&wanted);
    is_foreign.then(|| known.join(", "))
}

/// Images and kernels name the same machines differently.
fn normal(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" | "armhf" => "arm",
        "i386" | "i686" => "386",
        other => other,
    }
}

/// Lists of platforms also hold attestations, for "unknown".
fn is_architecture(name: &str) -> bool {
    !name.is_empty() && name != "unknown"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn here(value: serde_json::Value) -> ImageInspect {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn digests_belong_to_repositories() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let image = here(
            json!({"RepoDigests": [format!("nginx@{digest}"), "localhost:5000/x@sha256:short"]}),
        );
        for repository in [
            "nginx",
            "library/nginx",
            "docker.io/library/nginx",
            "docker.io/nginx",
        ] {
            assert_eq!(
                digest_in(&image, repository).as_ref(),
                Some(&digest),
                "{repository}"
            );
            assert!(has_digest(&image, repository, &digest));
        }
        assert_eq!(digest_in(&image, "localhost:5000/x"), None);
        assert_eq!(digest_in(&image, "team/nginx"), None);
    }

    #[test]
    fn a_digest_overrules_a_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let image: ImageRef = format!("localhost:5000/shop:v1@{digest}").parse().unwrap();
        assert_eq!(local_name(&image), format!("localhost:5000/shop@{digest}"));
        let image: ImageRef = "shop:v1".parse().unwrap();
        assert_eq!(local_name(&image), "shop:v1");
    }

    #[test]
    fn an_image_for_other_machines_is_seen() {
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(foreign(&list(&["x86_64"]), "amd64"), None);
        assert_eq!(
            foreign(&list(&["arm64", "amd64", "unknown"]), "x86_64"),
            None
        );
        assert_eq!(foreign(&list(&["unknown", ""]), "amd64"), None);
        assert_eq!(foreign(&list(&["arm64", "unknown"]), ""), None);
        assert_eq!(
            foreign(&list(&["aarch64", "unknown", "s390x"]), "amd64").as_deref(),
            Some("arm64, s390x")
        );
    }

    #[test]
    fn what_an_image_declares_is_taken_over() {
        let image = here(json!({
            "Id": "sha256:x", "Architecture": "amd64",
            "Config": {
                "ExposedPorts": {"8080/tcp": {}, "53/udp": {}, "80/tcp": {}},
                "Healthcheck": {"Test": ["CMD", "/check"]},
                "User": "1000",
            },
        }));
        let pinned = pinned(&"shop".parse().unwrap(), "x".to_owned(), true, &image);
        assert_eq!(pinned.exposed_ports, [80, 8080]);
        assert!(pinned.has_healthcheck);
        assert_eq!(
            (pinned.user.as_str(), pinned.architecture.as_deref()),
            ("1000", Some("amd64"))
        );
        let none = here(json!({"Config": {"Healthcheck": {"Test": ["NONE"]}}}));
        assert!(
            !super::pinned(&"shop".parse().unwrap(), String::new(), true, &none).has_healthcheck
        );
    }
}
