//! Create, change and delete an app.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::app::{MAX_REPLICAS, Settings};
use flukedeploy_domain::deployment::{Queue, Strategy, ValidationLevel};
use flukedeploy_domain::health::HealthGate;
use flukedeploy_domain::image::ImageRef;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::{
    ChangeApp, NewApp, change_app, create_app, delete_app, get_environment,
};
use flukedeploy_platform::deployments::{Deploy, Wanted, deploy};
use flukedeploy_platform::environments::delete_environment;

use super::Sent;
use super::parse::Reader;
use crate::paths;

pub(crate) async fn create(form: Sent) -> Response {
    let result = create_and_deploy(&form).await;
    form.answer(result).await
}

async fn create_and_deploy(form: &Sent) -> Result<String, Error> {
    let (px, actor) = (&form.px, form.actor()?);
    let mut reader = Reader::new(&form.typed);
    let name: Option<AppName> = reader.required("app_name");
    let image: Option<ImageRef> = reader.optional("image");
    let (env_vars, marks) = reader.all_variables();
    let mut settings = Settings {
        container_port: reader.number("container_port", 1, u16::MAX).unwrap_or(80),
        replicas: reader.number("replicas", 1, MAX_REPLICAS).unwrap_or(1),
        health: reader.health(&HealthGate::default()),
        domains: reader.domains("domains"),
        strategy: reader.optional("strategy").unwrap_or_default(),
        ..Settings::default()
    };
    settings.set_variables(&env_vars, &marks);
    reader.finish()?;
    let Some(name) = name else {
        return Err(Error::invalid("app_name", "must be given"));
    };
    create_app(
        px,
        actor,
        NewApp {
            name: name.clone(),
            settings,
        },
    )
    .await?;
    let Some(image) = image else {
        return Ok(paths::app(&name));
    };
    // The app exists now: should the deployment be refused, its page is where to go on.
    match deploy(px, actor, first_deployment(name.clone(), image)).await {
        Ok(accepted) => Ok(paths::deployment(&accepted.deployment.deployment_id)),
        Err(error) => {
            tracing::warn!(app.name = %name, error = &error as &dyn std::error::Error, "the first deployment was refused");
            Ok(paths::deploy(&name))
        }
    }
}

fn first_deployment(app: AppName, image: ImageRef) -> Deploy {
    Deploy {
        app,
        environment: EnvironmentName::production(),
        what: Wanted::Image(image),
        version: None,
        env_vars: flukedeploy_domain::app::EnvVars::default(),
        marks: flukedeploy_domain::app::Marks::default(),
        replicas: None,
        strategy: None,
        validation_level: ValidationLevel::default(),
        auto_rollback: true,
        queue: Queue::Wait,
        create: false,
        container_port: None,
        reason: None,
        idempotency_key: None,
    }
}

pub(crate) async fn change(Path(name): Path<String>, form: Sent) -> Response {
    let result = change_settings(&form, &name).await;
    form.answer(result).await
}

async fn change_settings(form: &Sent, name: &str) -> Result<String, Error> {
    let (actor, name) = form.addressed(name)?;
    let environment = form.environment()?;
    let shown = get_environment(&form.px, actor, &name, &environment).await?;
    let mut reader = Reader::new(&form.typed);
    let (set_env_vars, mut marks) = reader.all_variables();
    let remove_env_vars = reader.ticked(&mut marks);
    let change = ChangeApp {
        container_port: reader.number("container_port", 1, u16::MAX),
        replicas: reader.number("replicas", 1, MAX_REPLICAS),
        health: Some(reader.health(&shown.health)),
        set_env_vars,
        marks,
        remove_env_vars,
        domains: Some(reader.domains("domains")),
        strategy: reader.optional::<Strategy>("strategy"),
        parts: reader.parts(),
        if_version: reader.number("settings_version", 0, u64::MAX),
    };
    reader.finish()?;
    change_app(&form.px, actor, &name, &environment, change).await?;
    let saved = format!("{}?saved=1#settings", paths::app(&name));
    Ok(paths::within(&saved, &environment))
}

pub(crate) async fn delete(Path(name): Path<String>, form: Sent) -> Response {
    let result = confirm_and_delete(&form, &name).await;
    form.answer(result).await
}

async fn confirm_and_delete(form: &Sent, name: &str) -> Result<String, Error> {
    let (actor, name) = form.addressed::<AppName>(name)?;
    let environment = form.environment()?;
    let confirmed = form.typed.text("confirm");
    if environment.is_production() {
        if confirmed != Some(name.as_str()) {
            let problem = format!("must be the app's name, {name}");
            return Err(Error::invalid("confirm", problem));
        }
        delete_app(&form.px, actor, &name).await?;
        return Ok(paths::APPS.to_owned());
    }
    if confirmed != Some(environment.as_str()) {
        let problem = format!("must be the environment's name, {environment}");
        return Err(Error::invalid("confirm", problem));
    }
    delete_environment(&form.px, actor, &name, &environment).await?;
    Ok(paths::app(&name))
}
