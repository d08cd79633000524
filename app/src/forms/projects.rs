//! Put apps into projects, and change what a project shares.

use axum::extract::Path;
use axum::response::Response;
use flukedeploy_domain::names::{AppName, ProjectName};
use flukedeploy_platform::projects::{ShareVariables, share_variables};
use flukedeploy_platform::{Error, grants};

use super::Sent;
use super::parse::Reader;
use crate::paths;

pub(crate) async fn put(form: Sent) -> Response {
    let result = put_app(&form).await;
    form.answer(result).await
}

async fn put_app(form: &Sent) -> Result<String, Error> {
    let actor = form.actor()?;
    let mut reader = Reader::new(&form.typed);
    let app: Option<AppName> = reader.required("app");
    let project: Option<ProjectName> = reader.optional("project");
    reader.finish()?;
    let Some(app) = app else {
        return Err(Error::invalid("app", "must be given"));
    };
    grants::set_project(&form.px, actor, &app, project.as_ref()).await?;
    Ok(project.map_or_else(|| paths::PROJECTS.to_owned(), |name| paths::project(&name)))
}

pub(crate) async fn share(Path(name): Path<String>, form: Sent) -> Response {
    let result = change(&form, &name).await;
    form.answer(result).await
}

async fn change(form: &Sent, name: &str) -> Result<String, Error> {
    let (actor, name) = form.addressed::<ProjectName>(name)?;
    let mut reader = Reader::new(&form.typed);
    let (set, mut marks) = reader.all_variables();
    let remove = reader.ticked(&mut marks);
    let change = ShareVariables {
        set,
        marks,
        remove,
        replace: false,
        if_version: reader.number("version", 0, u64::MAX),
    };
    reader.finish()?;
    share_variables(&form.px, actor, &name, change).await?;
    Ok(format!("{}?saved=1", paths::project(&name)))
}
