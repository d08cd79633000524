//! The image itself: is it there, does it fit, what does it declare.

use flukedeploy_domain::app::{Protocol, Settings};
use flukedeploy_domain::check::Check;
use flukedeploy_domain::image::{ImageRef, PinnedImage};

use super::{CONFIGURATION, DOCKER, NETWORK, SECURITY, listed};
use crate::ports::ImageFacts;

/// Tags that are moved on with every build, by custom.
const MOVING_TAGS: &[&str] = &[
    "latest",
    "stable",
    "edge",
    "nightly",
    "rolling",
    "next",
    "dev",
    "develop",
    "development",
    "main",
    "master",
    "trunk",
    "head",
    "snapshot",
    "canary",
    "current",
    "lts",
    "staging",
    "prod",
    "production",
];

/// `available`: what the engine says; `Err` holds why it says nothing.
pub(super) fn exists(image: &PinnedImage, available: &Result<bool, String>) -> Check {
    match available {
        Ok(true) => Check::pass(
            "image",
            DOCKER,
            format!(
                "the image {} is available as {}",
                image.requested, image.pinned
            ),
        ),
        Ok(false) => Check::fail(
            "image",
            DOCKER,
            format!(
                "the image {} ({}) is neither on this node nor in its registry",
                image.requested, image.pinned
            ),
            "push the image again, or deploy another one",
        ),
        Err(why) => Check::not_run("image", DOCKER, why),
    }
}

/// `node`: the architecture as the engine names it.
pub(super) fn architecture(found: &[String], node: &Result<String, String>) -> Check {
    let node = match node {
        Ok(node) => usual(node),
        Err(why) => return Check::not_run("architecture", DOCKER, why),
    };
    let known: Vec<&str> = found
        .iter()
        .map(|name| usual(name))
        .filter(|name| !name.is_empty() && *name != "unknown")
        .collect();
    if known.is_empty() || node.is_empty() {
        return Check::not_run("architecture", DOCKER, "the image names no architecture");
    }
    if known.contains(&node) {
        return Check::pass(
            "architecture",
            DOCKER,
            format!("the image is for {node}, as this node is"),
        );
    }
    Check::fail(
        "architecture",
        DOCKER,
        format!(
            "the image is for {}, but this node is {node}",
            listed(known)
        ),
        format!("build the image for linux/{node}"),
    )
}

/// Images and kernels name the same machines differently.
fn usual(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" | "armhf" => "arm",
        "i386" | "i686" => "386",
        other => other,
    }
}

pub(super) fn tag(image: &ImageRef) -> Check {
    let moving = |tag: &str| MOVING_TAGS.contains(&tag.to_ascii_lowercase().as_str());
    let message = match image.tag() {
        _ if image.is_pinned() => {
            return Check::pass(
                "image_tag",
                CONFIGURATION,
                "the image is named by its digest",
            );
        }
        Some(tag) if !moving(tag) => {
            return Check::pass(
                "image_tag",
                CONFIGURATION,
                "the image is named by a version's tag",
            );
        }
        Some(tag) => format!("the tag '{tag}' is moved on: it says nothing about the version"),
        None => "the image has no tag, so its name says nothing about its version".to_owned(),
    };
    Check::warning(
        "image_tag",
        CONFIGURATION,
        message,
        "name a version's tag or a digest",
    )
}

pub(super) fn user(image: &PinnedImage) -> Check {
    if is_root(&image.user) {
        Check::warning(
            "runs_as_root",
            SECURITY,
            "the image runs as root",
            "set USER in the image to a user without rights, by its number",
        )
    } else {
        Check::pass("runs_as_root", SECURITY, "the image does not run as root")
    }
}

/// `USER` as an image has it: `name`, `number`, each with `:group`.
pub(super) fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default().trim();
    name.is_empty() || name == "root" || name.bytes().all(|b| b == b'0')
}

pub(super) fn command(facts: &ImageFacts) -> Check {
    if facts.has_command {
        Check::pass("command", DOCKER, "the image has a command to run")
    } else {
        Check::fail(
            "command",
            DOCKER,
            "the image has neither an ENTRYPOINT nor a CMD, so it cannot start",
            "set CMD or ENTRYPOINT in the image",
        )
    }
}

pub(super) fn ports(image: &PinnedImage, settings: &Settings) -> Check {
    let exposed = &image.exposed_ports;
    let published = settings
        .published_ports
        .iter()
        .filter(|port| port.protocol == Protocol::Tcp)
        .map(|port| port.target);
    let mut wanted: Vec<u16> = settings
        .expose_http
        .then_some(settings.container_port)
        .into_iter()
        .chain(published)
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let undeclared: Vec<String> = wanted
        .iter()
        .filter(|port| !exposed.contains(port))
        .map(ToString::to_string)
        .collect();
    if exposed.is_empty() {
        return Check::pass("exposed_port", NETWORK, "the image declares no ports");
    }
    if undeclared.is_empty() {
        return Check::pass(
            "exposed_port",
            NETWORK,
            "the image declares the ports that are used",
        );
    }
    let declared: Vec<String> = exposed.iter().map(ToString::to_string).collect();
    Check::warning(
        "exposed_port",
        NETWORK,
        format!(
            "the image declares port {}, the app is set to {}",
            listed(declared.iter().map(String::as_str)),
            listed(undeclared.iter().map(String::as_str))
        ),
        "set container_port to the port the app listens on, or declare it with EXPOSE",
    )
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::app::PublishedPort;
    use flukedeploy_domain::check::CheckStatus;

    use super::*;

    fn image(name: &str) -> PinnedImage {
        PinnedImage {
            requested: name.parse().unwrap(),
            pinned: format!("{name}@sha256:{}", "ab".repeat(32)),
            local_only: false,
            architecture: Some("amd64".to_owned()),
            exposed_ports: vec![8080],
            has_healthcheck: false,
            user: "1000".to_owned(),
        }
    }

    #[test]
    fn an_image_that_is_gone_fails_and_silence_never_passes() {
        let image = image("shop");
        assert_eq!(exists(&image, &Ok(true)).status, CheckStatus::Pass);
        assert_eq!(exists(&image, &Ok(false)).status, CheckStatus::Fail);
        assert!(exists(&image, &Err("no answer".to_owned())).not_run);
    }

    #[test]
    fn architectures_are_compared_by_what_they_mean() {
        let of = |found: &[&str], node: &str| {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            architecture(&found, &Ok(node.to_owned()))
        };
        assert_eq!(of(&["amd64"], "x86_64").status, CheckStatus::Pass);
        assert_eq!(of(&["arm64", "amd64"], "x86_64").status, CheckStatus::Pass);
        assert_eq!(of(&["arm64"], "x86_64").status, CheckStatus::Fail);
        assert!(of(&["unknown"], "x86_64").not_run);
        assert!(architecture(&["amd64".to_owned()], &Err("no answer".to_owned())).not_run);
    }

    #[test]
    fn tags_that_move_are_warned_of() {
        let status = |name: &str| tag(&name.parse().unwrap()).status;
        for name in [
            "shop",
            "shop:latest",
            "shop:main",
            "localhost:5000/shop",
            "shop:LTS",
        ] {
            assert_eq!(status(name), CheckStatus::Warning, "{name}");
        }
        let digest = format!("shop@sha256:{}", "a".repeat(64));
        for name in ["shop:v1", "shop:2024-01-02", &digest] {
            assert_eq!(status(name), CheckStatus::Pass, "{name}");
        }
    }

    #[test]
    fn root_has_many_names() {
        for user in ["", "root", "0", "0:0", "root:staff", "00", ":1000"] {
            assert!(is_root(user), "{user:?}");
        }
        for user in ["1000", "rooty", "nobody", "1000:0", "10"] {
            assert!(!is_root(user), "{user:?}");
        }
        let mut image = image("shop");
        assert_eq!(user(&image).status, CheckStatus::Pass);
        image.user = String::new();
        assert_eq!(user(&image).status, CheckStatus::Warning);
    }

    #[test]
    fn nothing_to_run_cannot_start() {
        let mut facts = ImageFacts::default();
        assert_eq!(command(&facts).status, CheckStatus::Fail);
        facts.has_command = true;
        assert_eq!(command(&facts).status, CheckStatus::Pass);
    }

    #[test]
    fn ports_that_are_used_should_be_declared() {
        let mut settings = Settings {
            container_port: 8080,
            ..Settings::default()
        };
        let mut image = image("shop");
        assert_eq!(ports(&image, &settings).status, CheckStatus::Pass);
        settings.container_port = 3000;
        let found = ports(&image, &settings);
        assert_eq!(found.status, CheckStatus::Warning);
        assert_eq!(
            found.message,
            "the image declares port 8080, the app is set to 3000"
        );
        settings.expose_http = false;
        assert_eq!(ports(&image, &settings).status, CheckStatus::Pass);
        settings.published_ports = vec![PublishedPort {
            published: 5432,
            target: 5432,
            protocol: Protocol::Tcp,
        }];
        assert_eq!(ports(&image, &settings).status, CheckStatus::Warning);
        image.exposed_ports.clear();
        assert_eq!(ports(&image, &settings).status, CheckStatus::Pass);
    }
}
