//! Variables and secrets: in the image, in its history and files, in the settings.

use std::collections::{BTreeMap, BTreeSet};

use flukedeploy_domain::app::Settings;
use flukedeploy_domain::check::Check;
use flukedeploy_domain::diagnosis::tame;
use flukedeploy_domain::image::PinnedImage;

use super::secrets::{Shape, is_secret_name, looks_real, named_in, shapes_in};
use super::{CONFIGURATION, SECURITY, listed};
use crate::ports::ImageFacts;
use crate::redaction::hidden_nowhere;

/// Most entries of an image's history that are searched.
const MAX_HISTORY: usize = 2_000;

/// Variables set in the image. Their names are shown, their values never.
pub(super) fn of_image(facts: &ImageFacts) -> Check {
    let (mut named, mut shapes) = (Vec::new(), Vec::new());
    for (name, value) in &facts.env.0 {
        let found = shapes_in(value);
        if !found.is_empty() || is_secret_name(name) && looks_real(value) {
            named.push(name.as_str());
        }
        shapes.extend(found);
    }
    finding(
        "secrets_in_variables",
        &named,
        &shapes,
        "variables of the image hold",
        "no variable of the image looks like a secret",
        "take it out of the image and set it as a variable of the app; then change it, for whoever has the image has it",
    )
}

/// What the image's history tells: build arguments, variables, commands.
pub(super) fn of_history(facts: &ImageFacts) -> Check {
    let (mut named, mut shapes) = (Vec::new(), Vec::new());
    for entry in facts.history.iter().take(MAX_HISTORY) {
        named.extend(named_in(entry));
        shapes.extend(shapes_in(entry));
    }
    named.sort();
    named.dedup();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    finding(
        "secrets_in_history",
        &named,
        &shapes,
        "the image's history holds",
        "the image's history shows no secret",
        "hand secrets to a build with RUN --mount=type=secret (build.secrets), build the image anew, and change the secret",
    )
}

/// Names of files in the layers that look like secrets.
pub(super) fn of_files(found: &Result<Vec<String>, String>) -> Check {
    let name = "secrets_in_files";
    match found {
        Err(why) => Check::not_run(name, SECURITY, why),
        Ok(files) if files.is_empty() => Check::pass(
            name,
            SECURITY,
            "no file in the image's layers is named like a secret",
        ),
        Ok(files) => {
            let files: Vec<String> = files.iter().map(|file| tame(file, 120)).collect();
            Check::warning(
                name,
                SECURITY,
                format!(
                    "files in the image's layers look like secrets: {}",
                    listed(files.iter().map(String::as_str))
                ),
                "list them in .dockerignore and build anew; a later RUN rm does not take them out of the layers",
            )
        }
    }
}

fn finding(
    name: &str,
    named: &[&str],
    shapes: &[Shape],
    place: &str,
    fine: &str,
    remedy: &str,
) -> Check {
    if named.is_empty() && shapes.is_empty() {
        return Check::pass(name, SECURITY, fine);
    }
    let mut kinds: Vec<&str> = shapes.iter().map(|shape| shape.what).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut parts = Vec::new();
    if !named.is_empty() {
        parts.push(format!(
            "what looks like secrets, by name: {}",
            listed(named.iter().copied())
        ));
    }
    if !kinds.is_empty() {
        parts.push(format!("by form: {}", listed(kinds)));
    }
    let message = format!("{place} {}", parts.join("; "));
    if shapes.iter().any(|shape| shape.certain) {
        Check::fail(name, SECURITY, message, remedy)
    } else {
        Check::warning(name, SECURITY, message, remedy)
    }
}

/// Variables that the release before had and this one lacks, unless the image sets them.
pub(super) fn missing(
    former: Option<&Settings>,
    settings: &Settings,
    facts: Option<&ImageFacts>,
) -> Check {
    let name = "variables_missing";
    let Some(former) = former else {
        return Check::pass(
            name,
            CONFIGURATION,
            "no release before this one to compare with",
        );
    };
    let nothing = BTreeMap::new();
    let in_image = facts.map_or(&nothing, |facts| &facts.env.0);
    let has: BTreeSet<&str> = settings.delivered().map(|one| one.name.as_str()).collect();
    let lost: Vec<&str> = (former.delivered())
        .map(|one| one.name.as_str())
        .filter(|name| !has.contains(name) && !in_image.contains_key(*name))
        .collect();
    if lost.is_empty() {
        return Check::pass(
            name,
            CONFIGURATION,
            "every variable of the release that serves is set",
        );
    }
    Check::warning(
        name,
        CONFIGURATION,
        format!(
            "the release that serves has variables that this one lacks: {}",
            listed(lost)
        ),
        "set them again if the app still reads them",
    )
}

/// Variables that are marked secret, with values that redaction cannot look for.
pub(super) fn secret_values(settings: &Settings) -> Option<Check> {
    if !settings.delivered().any(|one| one.is_secret) {
        return None;
    }
    let name = "secret_values";
    let weak = hidden_nowhere(settings);
    if weak.is_empty() {
        return Some(Check::pass(
            name,
            SECURITY,
            "values of variables that are marked secret can be found in logs and taken out",
        ));
    }
    Some(Check::warning(
        name,
        SECURITY,
        format!(
            "values are too short or too common to be found in logs, though marked secret: {}",
            listed(weak)
        ),
        "use values of at least 8 characters that are no common word",
    ))
}

/// Secrets as files belong to the image's user, as long as that is a number: a name means something
/// inside of the image alone, and the app could not read them.
pub(super) fn file_owners(settings: &Settings, image: &PinnedImage) -> Option<Check> {
    let files = settings.delivered().filter(|one| one.file.is_some());
    let nobodys = files.filter(|one| one.file.is_some_and(|file| file.uid.is_none()));
    let nobodys: Vec<&str> = nobodys.map(|one| one.name.as_str()).collect();
    let user = image.user.split(':').next().unwrap_or_default();
    if nobodys.is_empty() {
        return None;
    }
    let name = "secret_files";
    if user.parse::<u32>().is_ok() || super::image::is_root(&image.user) {
        return Some(Check::pass(
            name,
            CONFIGURATION,
            "the image's user can read its secrets in files",
        ));
    }
    Some(Check::warning(
        name,
        CONFIGURATION,
        format!(
            "the image's user has a name and no number, so these files would be root's alone: {}",
            listed(nobodys)
        ),
        "give them a 'uid', or set USER in the image to a number",
    ))
}

/// Build arguments stay readable in the image's history.
pub(super) fn build_arguments(settings: &Settings) -> Check {
    let name = "build_args";
    let args = settings.build.args.0.iter();
    let handed_on = settings
        .build
        .variables_as_args
        .then_some(settings.open_variables())
        .into_iter()
        .flatten();
    let mut named: Vec<&str> = args
        .chain(handed_on)
        .filter(|(name, value)| {
            is_secret_name(name) && looks_real(value) || !shapes_in(value).is_empty()
        })
        .map(|(name, _)| name.as_str())
        .collect();
    named.sort_unstable();
    named.dedup();
    if named.is_empty() {
        return Check::pass(name, SECURITY, "no build argument looks like a secret");
    }
    Check::warning(
        name,
        SECURITY,
        format!(
            "build arguments look like secrets and would stay in the image's history: {}",
            listed(named)
        ),
        "move them to build.secrets and read them with RUN --mount=type=secret",
    )
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::app::EnvVars;
    use flukedeploy_domain::check::CheckStatus;

    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> EnvVars {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        EnvVars(pairs.iter().map(owned).collect())
    }

    fn facts(env: &[(&str, &str)], history: &[&str]) -> ImageFacts {
        ImageFacts {
            env: vars(env),
            history: history.iter().map(ToString::to_string).collect(),
            ..ImageFacts::default()
        }
    }

    #[test]
    fn secrets_of_an_image_are_named_and_not_shown() {
        let found = of_image(&facts(
            &[
                ("PATH", "/bin"),
                ("DB_PASSWORD", "s3cr3t-canary"),
                ("LANG", "C"),
            ],
            &[],
        ));
        assert_eq!(found.status, CheckStatus::Warning);
        assert!(found.message.contains("DB_PASSWORD"), "{}", found.message);
        let text = format!("{found:?}");
        assert!(!text.contains("canary") && !text.contains("LANG"), "{text}");
    }

    #[test]
    fn a_token_is_found_under_any_name() {
        let token = format!("ghp_{}", "Ab1".repeat(12));
        let found = of_image(&facts(&[("SETTING", &token)], &[]));
        assert_eq!(found.status, CheckStatus::Fail);
        assert!(found.message.contains("a GitHub token") && !found.message.contains(&token));
    }

    #[test]
    fn a_usual_image_is_clean() {
        let env = [
            ("PATH", "/usr/local/bin:/usr/bin"),
            ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D"),
            ("PYTHON_VERSION", "3.12.1"),
            ("POSTGRES_PASSWORD_FILE", "/run/secrets/password"),
            ("API_TOKEN", ""),
        ];
        let history = [
            "/bin/sh -c #(nop) ADD file:0f1e2d3c4b5a in / ",
            "RUN /bin/sh -c apt-get update && apt-get install -y curl # buildkit",
            "ENV API_TOKEN=",
            "RUN --mount=type=secret,id=npm NPM_TOKEN=$(cat /run/secrets/npm) npm ci",
            "CMD [\"python3\"]",
        ];
        let facts = facts(&env, &history);
        assert_eq!(of_image(&facts).status, CheckStatus::Pass);
        assert_eq!(of_history(&facts).status, CheckStatus::Pass);
    }

    #[test]
    fn history_tells_build_arguments() {
        for entry in [
            "RUN |1 NPM_TOKEN=f00dbabe-canary /bin/sh -c npm ci # buildkit",
            "|1 NPM_TOKEN=f00dbabe-canary /bin/sh -c npm ci",
            "ARG NPM_TOKEN=f00dbabe-canary",
        ] {
            let found = of_history(&facts(&[], &[entry]));
            assert_eq!(found.status, CheckStatus::Warning, "{entry}");
            assert!(found.message.contains("NPM_TOKEN"), "{}", found.message);
            assert!(!format!("{found:?}").contains("canary"));
        }
    }

    #[test]
    fn files_named_like_secrets_are_listed() {
        assert!(of_files(&Err("no answer".to_owned())).not_run);
        assert_eq!(of_files(&Ok(vec![])).status, CheckStatus::Pass);
        let found = of_files(&Ok(vec![
            "app/.env".to_owned(),
            "root/\u{1b}[2Jid_rsa".to_owned(),
        ]));
        assert_eq!(found.status, CheckStatus::Warning);
        assert!(
            found.message.ends_with("app/.env, root/id_rsa"),
            "{}",
            found.message
        );
    }

    #[test]
    fn lost_variables_are_named() {
        let with = |pairs: &[(&str, &str)]| Settings {
            env_vars: vars(pairs),
            ..Settings::default()
        };
        let former = with(&[("A", "1"), ("B", "value-canary"), ("C", "3")]);
        let now = with(&[("A", "1")]);
        let image = facts(&[("C", "x")], &[]);
        let found = missing(Some(&former), &now, Some(&image));
        assert_eq!(found.status, CheckStatus::Warning);
        assert!(found.message.ends_with(": B"), "{}", found.message);
        assert_eq!(missing(None, &now, None).status, CheckStatus::Pass);
        assert_eq!(missing(Some(&now), &former, None).status, CheckStatus::Pass);
    }

    #[test]
    fn files_that_the_images_user_could_not_read_are_named() {
        let image = |user: &str| PinnedImage {
            requested: "shop:v1".parse().unwrap(),
            pinned: "sha256:00".to_owned(),
            local_only: true,
            architecture: None,
            exposed_ports: Vec::new(),
            has_healthcheck: false,
            user: user.to_owned(),
        };
        let mut settings = Settings {
            env_vars: vars(&[("KEY", "value-canary")]),
            ..Settings::default()
        };
        assert!(file_owners(&settings, &image("node")).is_none());
        settings.secret_env_vars.insert("KEY".to_owned());
        let file = flukedeploy_domain::app::SecretFile::default();
        settings.secret_files.insert("KEY".to_owned(), file);
        for user in ["", "root", "1000", "1000:1000"] {
            let found = file_owners(&settings, &image(user)).unwrap();
            assert_eq!(found.status, CheckStatus::Pass, "{user}");
        }
        let found = file_owners(&settings, &image("node")).unwrap();
        assert_eq!(found.status, CheckStatus::Warning);
        assert!(found.message.ends_with(": KEY"), "{}", found.message);
        settings.secret_files.get_mut("KEY").unwrap().uid = Some(1000);
        assert!(file_owners(&settings, &image("node")).is_none());
    }

    #[test]
    fn build_arguments_are_no_place_for_secrets() {
        let mut settings = Settings::default();
        settings.build.args = vars(&[("VERSION", "1.2.3")]);
        settings.env_vars = vars(&[("API_TOKEN", "token-canary-1")]);
        assert_eq!(build_arguments(&settings).status, CheckStatus::Pass);
        settings.build.variables_as_args = true;
        let found = build_arguments(&settings);
        assert_eq!(found.status, CheckStatus::Warning);
        assert!(found.message.contains("API_TOKEN") && !found.message.contains("canary"));
        settings.build.variables_as_args = false;
        settings.build.args = vars(&[("DEPLOY_KEY", "abcdef123456")]);
        assert_eq!(build_arguments(&settings).status, CheckStatus::Warning);
    }
}
