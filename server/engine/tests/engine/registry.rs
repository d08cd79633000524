//! Images from a registry: Debian's docker-registry, on a port of its own.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptions, RemoveImageOptions, TagImageOptions};
use flukedeploy_domain::credential::{Credential, CredentialKind};
use flukedeploy_domain::image::{ImageRef, PinnedImage};
use flukedeploy_platform::ports::{Engine, LookedUp, ResolveError, ResolvedImage, TaskState};
use futures_util::StreamExt;

use crate::support::{Bed, eventually, random_name};

const SERVE: &str = "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done";
/// User `ann` with the password below.
const HTPASSWD: &str = "ann:$2b$04$s1MKcBN3M1rN6Bn93GglUO6hz0X/SpGU5dbU4cJS0Za8YhT1Nb/1y\n";
/// Written in base64 it holds both characters in which the two alphabets differ.
pub(crate) const PASSWORD: &str = "se>>>cre???t~~~";

pub(crate) struct Registry {
    process: Child,
    directory: PathBuf,
    pub(crate) host: String,
}

impl Registry {
    pub(crate) async fn start(with_password: bool) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let directory =
            std::env::temp_dir().join(format!("flukedeploy-registry-{}", random_name()));
        std::fs::create_dir_all(&directory).unwrap();
        let root = directory.display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {root}/data}}\n  \
             delete: {{enabled: true}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        );
        let mut auth = String::new();
        if with_password {
            std::fs::write(directory.join("htpasswd"), HTPASSWD).unwrap();
            auth = format!("auth:\n  htpasswd: {{realm: test, path: {root}/htpasswd}}\n");
        }
        let file = directory.join("config.yml");
        std::fs::write(&file, config + &auth).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("these tests need the package docker-registry");
        let registry = Self {
            process,
            directory,
            host: format!("127.0.0.1:{port}"),
        };
        eventually("the registry", || async {
            TcpStream::connect(&registry.host).ok()
        })
        .await;
        registry
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn credentials() -> DockerCredentials {
    DockerCredentials {
        username: Some("ann".to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..DockerCredentials::default()
    }
}

/// Pushes an image of ours and forgets it locally. Returns its reference.
async fn push(bed: &mut Bed, registry: &Registry, script: &str) -> ImageRef {
    let local = bed.image("pushed", script, &[]).await;
    let repository = format!("{}/{}/shop", registry.host, bed.instance);
    let options = TagImageOptions {
        repo: Some(repository.clone()),
        tag: Some("v1".to_owned()),
    };
    bed.docker
        .tag_image(local.as_str(), Some(options))
        .await
        .unwrap();
    let options = PushImageOptions {
        tag: Some("v1".to_owned()),
        ..PushImageOptions::default()
    };
    // bollard's header is read as no credentials where it is not URL-safe; these are for `push`
    // only and go through the adapter's own way otherwise.
    let docker = bed.docker.clone().with_request_modifier(|mut request| {
        if let Some(value) = request.headers().get("x-registry-auth") {
            let value = value.to_str().unwrap().replace('+', "-").replace('/', "_");
            request
                .headers_mut()
                .insert("x-registry-auth", value.parse().unwrap());
        }
        request
    });
    let mut pushing = docker.push_image(&repository, Some(options), Some(credentials()));
    while let Some(message) = pushing.next().await {
        message.unwrap();
    }
    let image = format!("{repository}:v1");
    forget(bed, &image).await;
    forget(bed, local.as_str()).await;
    bed.images.push(image.clone());
    image.parse().unwrap()
}

async fn forget(bed: &Bed, image: &str) {
    let options = RemoveImageOptions {
        force: true,
        ..RemoveImageOptions::default()
    };
    bed.docker
        .remove_image(image, Some(options), None)
        .await
        .unwrap();
}

async fn resolve(
    bed: &Bed,
    image: &ImageRef,
) -> (Result<ResolvedImage, ResolveError>, Vec<String>) {
    let told = Mutex::new(Vec::new());
    let result = bed
        .engine
        .resolve_image(image, &|line| told.lock().unwrap().push(line))
        .await;
    (result, told.into_inner().unwrap())
}

fn reference(text: &str) -> ImageRef {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_tag_is_pinned_pulled_and_run() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    let mut registry = Registry::start(false).await;
    let image = push(&mut bed, &registry, SERVE).await;
    let (resolved, told) = resolve(&bed, &image).await;
    let pinned = resolved.unwrap().image;
    bed.images.push(pinned.pinned.clone());
    assert!(!pinned.local_only);
    assert!(
        pinned
            .pinned
            .starts_with(&format!("{}@sha256:", image.repository())),
        "{pinned:?}"
    );
    assert_eq!(pinned.requested, image);
    assert!(
        told.iter().any(|line| line.starts_with("pulled ")),
        "{told:?}"
    );

    let (again, told) = resolve(&bed, &image).await;
    assert_eq!(again.unwrap().image.pinned, pinned.pinned);
    assert!(
        !told.iter().any(|line| line.starts_with("pull")),
        "it is here already: {told:?}"
    );

    let (exact, told) = resolve(&bed, &reference(&pinned.pinned)).await;
    assert_eq!(exact.unwrap().image.pinned, pinned.pinned);
    assert!(told.is_empty(), "nobody has to be asked: {told:?}");

    forget(&bed, &pinned.pinned).await;
    assert!(
        bed.engine.image_available(&pinned).await.unwrap(),
        "the registry has it"
    );
    let (exact, _) = resolve(&bed, &reference(&pinned.pinned)).await;
    assert_eq!(exact.unwrap().image.pinned, pinned.pinned);

    let spec = bed.service("shop", pinned.clone());
    bed.engine.ensure_service(&spec).await.unwrap();
    bed.task(&spec.name, |task| task.state == TaskState::Running)
        .await;

    registry.stop();
    assert!(
        bed.engine.image_available(&pinned).await.unwrap(),
        "it is here"
    );
    let gone = PinnedImage {
        pinned: format!("{}@sha256:{}", image.repository(), "ab".repeat(32)),
        ..pinned.clone()
    };
    assert!(
        bed.engine.image_available(&gone).await.is_err(),
        "nobody knows"
    );
    let other = reference(&format!("{}/other:v1", registry.host));
    let (unreachable, _) = resolve(&bed, &other).await;
    assert!(
        matches!(&unreachable, Err(ResolveError::RegistryUnreachable { message, .. }) if message.contains("refused")),
        "{unreachable:?}"
    );
}

#[tokio::test]
async fn without_the_registry_the_local_image_is_taken() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    let mut registry = Registry::start(false).await;
    let image = push(&mut bed, &registry, SERVE).await;
    let pinned = resolve(&bed, &image).await.0.unwrap().image;
    bed.images.push(pinned.pinned.clone());
    let options = TagImageOptions {
        repo: Some(image.repository().to_owned()),
        tag: Some("v1".to_owned()),
    };
    bed.docker
        .tag_image(&pinned.pinned, Some(options))
        .await
        .unwrap();
    registry.stop();
    let resolved = resolve(&bed, &image).await.0.unwrap();
    assert_eq!(resolved.image.pinned, pinned.pinned);
    assert_eq!(resolved.notes.len(), 1, "{resolved:?}");

    let unpushed = bed.image("unpushed", SERVE, &[]).await;
    let name = format!("{}/unpushed", registry.host);
    let options = TagImageOptions {
        repo: Some(name.clone()),
        tag: Some("v1".to_owned()),
    };
    bed.docker
        .tag_image(unpushed.as_str(), Some(options))
        .await
        .unwrap();
    bed.images.push(format!("{name}:v1"));
    let resolved = resolve(&bed, &reference(&format!("{name}:v1")))
        .await
        .0
        .unwrap();
    assert!(
        resolved.image.local_only && resolved.notes.len() == 1,
        "{resolved:?}"
    );
}

#[tokio::test]
async fn what_the_registry_lacks_is_not_found() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    let registry = Registry::start(false).await;
    let image = push(&mut bed, &registry, SERVE).await;
    for missing in [
        format!("{}:v2", image.repository()),
        format!("{}/never/was:v1", registry.host),
        format!("{}@sha256:{}", image.repository(), "ab".repeat(32)),
    ] {
        let (result, _) = resolve(&bed, &reference(&missing)).await;
        let Err(ResolveError::NotFound { message, .. }) = result else {
            panic!("{missing}: {result:?}");
        };
        assert!(!message.is_empty());
    }
}

#[tokio::test]
async fn a_registry_with_a_password_wants_it() {
    let mut registry = Registry::start(true).await;
    let file = registry.directory.join("auth.json");
    let Some(mut bed) = Bed::with(|config| config.registry_auth_file = Some(file.clone())).await
    else {
        return;
    };
    let image = push(&mut bed, &registry, SERVE).await;
    let auths = |password: &str| {
        let entry = serde_json::json!({"username": "ann", "password": password});
        serde_json::json!({"auths": {registry.host.clone(): entry}}).to_string()
    };
    for known in [None, Some(auths("wr0ng"))] {
        if let Some(known) = known {
            std::fs::write(&file, known).unwrap();
        }
        let (result, _) = resolve(&bed, &image).await;
        let Err(ResolveError::Denied { message, .. }) = result else {
            panic!("{result:?}");
        };
        assert!(
            !message.contains("wr0ng") && !message.is_empty(),
            "{message}"
        );
    }
    std::fs::write(&file, auths(PASSWORD)).unwrap();
    let pinned = resolve(&bed, &image).await.0.unwrap().image;
    bed.images.push(pinned.pinned.clone());
    forget(&bed, &pinned.pinned).await;
    // Swarm pulls with the credentials that came with the service.
    let spec = bed.service("shop", pinned);
    bed.engine.ensure_service(&spec).await.unwrap();
    bed.task(&spec.name, |task| task.state == TaskState::Running)
        .await;
    registry.stop();
}

fn stored(host: &str, password: &str) -> Credential {
    Credential {
        kind: CredentialKind::Registry,
        host: host.to_owned(),
        username: "ann".to_owned(),
        secret: password.to_owned(),
        known_hosts: None,
        created_at: time::OffsetDateTime::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn looking_up_asks_and_fetches_nothing() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    let own = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    for with_password in [false, true] {
        let mut registry = Registry::start(with_password).await;
        let image = push(&mut bed, &registry, SERVE).await;
        if with_password {
            for known in [Vec::new(), vec![stored(&registry.host, "wr0ng")]] {
                bed.engine.use_registries(known);
                let refused = bed.engine.look_up_image(&image).await.unwrap_err();
                assert!(
                    matches!(refused, ResolveError::Denied { .. }),
                    "{refused:?}"
                );
                assert!(!format!("{refused:?}").contains("wr0ng"));
            }
            bed.engine
                .use_registries(vec![stored(&registry.host, PASSWORD)]);
        }
        let looked_up = bed.engine.look_up_image(&image).await.unwrap();
        let LookedUp::InRegistry { architectures } = looked_up else {
            panic!("{looked_up:?}");
        };
        assert_eq!(architectures, [own]);
        for missing in [
            format!("{}:v2", image.repository()),
            format!("{}/never/was:v1", registry.host),
            format!("{}@sha256:{}", image.repository(), "ab".repeat(32)),
        ] {
            let looked_up = bed.engine.look_up_image(&reference(&missing)).await;
            assert_eq!(looked_up.unwrap(), LookedUp::Nowhere, "{missing}");
        }
        assert!(
            bed.docker.inspect_image(image.as_str()).await.is_err(),
            "it was fetched"
        );

        // Once it is here, nobody else has to be asked.
        let pinned = resolve(&bed, &image).await.0.unwrap().image;
        bed.images.push(pinned.pinned.clone());
        registry.stop();
        let exact = reference(&pinned.pinned);
        let LookedUp::Here(here) = bed.engine.look_up_image(&exact).await.unwrap() else {
            panic!("{exact} is here");
        };
        assert_eq!((here.pinned, here.local_only), (pinned.pinned, false));
        let other = reference(&format!("{}/other:v1", registry.host));
        let away = bed.engine.look_up_image(&other).await.unwrap_err();
        assert!(
            matches!(away, ResolveError::RegistryUnreachable { .. }),
            "{away:?}"
        );
    }

    let local = bed.image("local", SERVE, &[]).await;
    let LookedUp::Here(here) = bed.engine.look_up_image(&local).await.unwrap() else {
        panic!("{local} is here");
    };
    assert!(
        here.local_only && here.pinned.starts_with("sha256:"),
        "{here:?}"
    );
    let gone = reference(&format!("sha256:{}", "cd".repeat(32)));
    let looked_up = bed.engine.look_up_image(&gone).await.unwrap();
    assert_eq!(looked_up, LookedUp::Nowhere, "ids are in no registry");
}
