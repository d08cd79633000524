//! What can be known about a release before it runs. Changes nothing and fetches nothing.

use flukedeploy_domain::access::{Action, Actor, Resource};
use flukedeploy_domain::app::{Environment, Settings};
use flukedeploy_domain::check::Check;
use flukedeploy_domain::diagnosis::tame;
use flukedeploy_domain::image::ImageRef;
use flukedeploy_domain::job::JobKind;
use flukedeploy_domain::names::{AppName, EnvironmentName};

use crate::apps::require_environment;
use crate::authorise::authorise;
use crate::checks::{Subject, Wanted, of_image, of_unfetched, overall, tests_of};
use crate::error::Error;
use crate::platform::Platform;
use crate::ports::{LookedUp, ResolveError};
use crate::views::ValidationReport;

/// Deployments among which the one that ran tests last is looked for.
const LAST_DEPLOYMENTS: u32 = 20;

#[derive(Debug, Clone)]
pub struct Validate {
    pub app: AppName,
    pub environment: EnvironmentName,
    /// Else the image of the release that serves.
    pub image: Option<ImageRef>,
    pub run_tests: bool,
    /// Let the configured scanner look, and look into every layer.
    pub run_security_scan: bool,
}

/// The findings about an image with the settings the environment has now: what the next deployment
/// of it would be told.
pub async fn validate(
    px: &Platform,
    actor: &Actor,
    cmd: Validate,
) -> Result<ValidationReport, Error> {
    authorise(
        px,
        actor,
        Action::Validate,
        Resource::Environment(&cmd.app, &cmd.environment),
    )?;
    let environment = require_environment(px, actor, &cmd.app, &cmd.environment).await?;
    let serving = match environment.active_release {
        Some(number) => {
            let store = &px.parts().store;
            store.release(&cmd.app, &environment.name, number).await?
        }
        None => None,
    };
    let wanted = Wanted {
        scan: cmd.run_security_scan,
        deep: cmd.run_security_scan,
    };
    let mut settings = environment.settings.clone();
    settings.shared = crate::projects::shared_with(px, &cmd.app).await?;
    let settings = &settings;
    let mut checks = match (&cmd.image, serving) {
        (Some(image), serving) => {
            let former = serving.map(|release| release.settings);
            of_named(px, image, settings, former, wanted).await
        }
        (None, Some(release)) => {
            let subject = Subject {
                image: &release.image,
                settings,
                former: Ok(Some(release.settings.clone())),
                is_built: false,
            };
            of_image(px, &subject, wanted).await
        }
        (None, None) => vec![Check::fail(
            "image",
            "docker",
            "no image was named and no release serves",
            "name the image to validate",
        )],
    };
    if cmd.run_tests {
        checks.push(tests(px, &environment).await?);
    }
    Ok(ValidationReport {
        status: overall(&checks),
        app_name: cmd.app,
        environment: environment.name,
        checks,
    })
}

async fn of_named(
    px: &Platform,
    image: &ImageRef,
    settings: &Settings,
    former: Option<Settings>,
    wanted: Wanted,
) -> Vec<Check> {
    let unfetched = |known| of_unfetched(px, image, known, settings, former.as_ref(), wanted);
    match px.parts().engine.look_up_image(image).await {
        Ok(LookedUp::Here(image)) => {
            let subject = Subject {
                image: &image,
                settings,
                former: Ok(former.clone()),
                is_built: false,
            };
            of_image(px, &subject, wanted).await
        }
        Ok(LookedUp::InRegistry { architectures }) => unfetched(Ok(architectures)).await,
        Ok(LookedUp::Nowhere) | Err(ResolveError::NotFound { .. }) => {
            let mut checks = unfetched(Err(String::new())).await;
            checks[0] = Check::fail(
                "image",
                "docker",
                format!("the image {image} is neither on this node nor in its registry"),
                "check the image's name and tag, or push it",
            );
            checks
        }
        Err(error) => unfetched(Err(tame(&error.to_string(), 500))).await,
    }
}

async fn tests(px: &Platform, environment: &Environment) -> Result<Check, Error> {
    let (app, name) = (&environment.app, &environment.name);
    let deployments = px
        .parts()
        .store
        .deployments_of(app, Some(name), LAST_DEPLOYMENTS)
        .await?;
    let last = deployments
        .iter()
        .find(|deployment| deployment.preparation.job(JobKind::Test).is_some());
    let job = environment.settings.jobs.get(JobKind::Test);
    Ok(tests_of(job, last))
}
