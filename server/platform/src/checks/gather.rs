//! Asks the outside what has to be known, all at once and for a bounded time, and puts the findings
//! together. Changes nothing.

use std::fmt::Display;
use std::time::Duration;

use flukedeploy_domain::app::Settings;
use flukedeploy_domain::check::Check;
use flukedeploy_domain::deployment::{Deployment, Source};
use flukedeploy_domain::diagnosis::tame;
use flukedeploy_domain::image::{ImageRef, PinnedImage};

use super::{CONFIGURATION, DOCKER, NETWORK, SECURITY, image, outside, settings, variables};
use crate::platform::Platform;
use crate::ports::{EngineError, ImageFacts};

/// How long the engine and the registry may take for one answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// A scanner has a time limit of its own; this is for one that does not keep it.
const SCAN_PATIENCE: Duration = Duration::from_mins(6);

/// What is looked at beside the usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Let the configured scanner look.
    pub(crate) scan: bool,
    /// Look into every layer, which reads the whole image.
    pub(crate) deep: bool,
}

/// What is looked at.
pub(crate) struct Subject<'a> {
    pub(crate) image: &'a PinnedImage,
    pub(crate) settings: &'a Settings,
    /// Of the release that serves.
    pub(crate) former: Result<Option<Settings>, String>,
    /// The image is built here.
    pub(crate) is_built: bool,
}

/// The findings about what a deployment is about to run.
pub(crate) async fn of_release(
    px: &Platform,
    deployment: &Deployment,
    image: &PinnedImage,
    wanted: Wanted,
) -> Vec<Check> {
    let former = match deployment.from_release {
        None => Ok(None),
        Some(number) => px
            .parts()
            .store
            .release(&deployment.app, &deployment.environment, number)
            .await
            .map(|release| release.map(|release| release.settings))
            .map_err(|error| tame(&error.to_string(), 200)),
    };
    let subject = Subject {
        image,
        settings: &deployment.settings,
        former,
        is_built: matches!(deployment.source, Source::Build { .. }),
    };
    of_image(px, &subject, wanted).await
}

/// The findings about an image that is known.
pub(crate) async fn of_image(px: &Platform, subject: &Subject<'_>, wanted: Wanted) -> Vec<Check> {
    let (engine, builder) = (&px.parts().engine, &px.parts().builder);
    let Subject {
        image, settings, ..
    } = *subject;
    let key = settings.checks.signature_key.as_deref();
    let unsignable = key.and_then(|_| outside::unsignable(image));
    let signed = async {
        match key {
            Some(key) if unsignable.is_none() => {
                let looking = async { builder.signed_by(image, key).await.map_err(unsaid) };
                Some(asked(PATIENCE, looking).await)
            }
            _ => None,
        }
    };
    let files = async {
        if wanted.deep {
            Some(asked(PATIENCE, builder.secret_files(image)).await)
        } else {
            None
        }
    };
    let (available, info, facts, files, signed, scan) = tokio::join!(
        asked(PATIENCE, engine.image_available(image)),
        asked(PATIENCE, engine.info()),
        asked(PATIENCE, builder.image_facts(image)),
        files,
        signed,
        scan_of(px, image, wanted.scan),
    );
    let architectures: Vec<String> = image.architecture.iter().cloned().collect();
    let mut checks = vec![
        image::exists(image, &available),
        image::architecture(&architectures, &info.map(|info| info.architecture)),
        image::tag(&image.requested),
        image::user(image),
        image::ports(image, settings),
    ];
    checks.extend(of_facts(&facts));
    checks.extend(files.map(|files| variables::of_files(&files)));
    checks.push(missing(subject, facts.as_ref().ok()));
    checks.extend(variables::secret_values(settings));
    checks.extend(variables::file_owners(settings, image));
    checks.extend(of_settings(settings, Some(image.has_healthcheck)));
    if subject.is_built {
        checks.push(variables::build_arguments(settings));
    }
    checks.extend(unsignable);
    checks.extend(signed.map(|signed| outside::signature(&signed)));
    checks.extend(scan);
    checks
}

/// The findings about an image that is not on this node: nothing is fetched to look into it.
/// `architectures`: what its registry says it is for; `Err` holds why that is not known.
pub(crate) async fn of_unfetched(
    px: &Platform,
    requested: &ImageRef,
    architectures: Result<Vec<String>, String>,
    settings: &Settings,
    former: Option<&Settings>,
    wanted: Wanted,
) -> Vec<Check> {
    let why = "the image is not on this node, and validation fetches nothing; a deployment looks";
    let mut checks = match architectures {
        Ok(architectures) => {
            let info = asked(PATIENCE, px.parts().engine.info()).await;
            vec![
                Check::pass(
                    "image",
                    DOCKER,
                    format!("the image {requested} is in its registry"),
                ),
                image::architecture(&architectures, &info.map(|info| info.architecture)),
            ]
        }
        Err(why) => vec![Check::not_run("image", DOCKER, &why)],
    };
    checks.push(image::tag(requested));
    let unseen = [
        ("runs_as_root", SECURITY),
        ("exposed_port", NETWORK),
        ("command", DOCKER),
        ("secrets_in_variables", SECURITY),
        ("secrets_in_history", SECURITY),
    ];
    checks.extend(unseen.map(|(name, category)| Check::not_run(name, category, why)));
    if wanted.deep {
        checks.push(Check::not_run("secrets_in_files", SECURITY, why));
    }
    checks.push(variables::missing(former, settings, None));
    checks.extend(of_settings(settings, None));
    if settings.checks.signature_key.is_some() {
        checks.push(Check::not_run(outside::SIGNATURE, SECURITY, why));
    }
    if wanted.scan {
        checks.push(outside::scan(Some(Err(why.to_owned()))));
    }
    checks
}

fn of_facts(facts: &Result<ImageFacts, String>) -> Vec<Check> {
    match facts {
        Ok(facts) => vec![
            image::command(facts),
            variables::of_image(facts),
            variables::of_history(facts),
        ],
        Err(why) => vec![
            Check::not_run("command", DOCKER, why),
            Check::not_run("secrets_in_variables", SECURITY, why),
            Check::not_run("secrets_in_history", SECURITY, why),
        ],
    }
}

fn missing(subject: &Subject<'_>, facts: Option<&ImageFacts>) -> Check {
    match &subject.former {
        Ok(former) => variables::missing(former.as_ref(), subject.settings, facts),
        Err(why) => Check::not_run("variables_missing", CONFIGURATION, why),
    }
}

fn of_settings(of: &Settings, has_healthcheck: Option<bool>) -> Vec<Check> {
    let mut checks = vec![settings::valid(of), settings::health(of, has_healthcheck)];
    checks.extend(settings::health_path(of));
    checks.extend(settings::limits(of));
    checks
}

async fn scan_of(px: &Platform, image: &PinnedImage, wanted: bool) -> Option<Check> {
    if !wanted {
        return None;
    }
    let scanning = px.parts().inspector.scan(image);
    let report = match tokio::time::timeout(SCAN_PATIENCE, scanning).await {
        Ok(None) => None,
        Ok(Some(Ok(report))) => Some(Ok(report)),
        Ok(Some(Err(error))) => Some(Err(outside::told(&error))),
        Err(_) => Some(Err(no_answer(SCAN_PATIENCE))),
    };
    Some(outside::scan(report))
}

/// An answer, or in words why there is none.
pub(super) async fn asked<T, E: Display>(
    patience: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(tame(&error.to_string(), 500)),
        Err(_) => Err(no_answer(patience)),
    }
}

/// It is the registry that is asked for signatures, so nothing is said of the Docker engine.
fn unsaid(error: EngineError) -> String {
    match error {
        EngineError::Refused { doing, message } => format!("{doing}: {message}"),
        other => other.to_string(),
    }
}

fn no_answer(patience: Duration) -> String {
    format!("no answer within {} s", patience.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_becomes_words_in_time() {
        let never = std::future::pending::<Result<(), EngineError>>();
        let answer = asked(Duration::from_millis(5), never).await;
        assert_eq!(answer, Err("no answer within 0 s".to_owned()));
        let refused = async {
            Err::<(), _>(EngineError::NotFound {
                doing: "looking".to_owned(),
            })
        };
        assert_eq!(
            asked(PATIENCE, refused).await,
            Err("not found while looking".to_owned())
        );
    }

    #[test]
    fn an_engine_that_says_nothing_passes_nothing() {
        let checks = of_facts(&Err("no answer".to_owned()));
        assert_eq!(checks.len(), 3);
        assert!(checks.iter().all(|check| check.not_run));
    }
}
