use flukedeploy_domain::access::{Action, Resource};
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::get_environment;
use leptos::prelude::*;

use super::{app_crumbs, app_name, environment, page};
use crate::components::{Crumb, Field, PageHead, Section, frame, problem};
use crate::context::Desk;
use crate::forms::uploads::ARCHIVE;
use crate::paths;

/// `/apps/{name}/deploy/upload`: sends an archive; deploying it comes after.
#[component]
pub(crate) fn UploadPage() -> impl IntoView {
    let (name, environment) = (app_name(), environment());
    page(Desk::take(), async move |desk| {
        upload(desk, &name?, &environment?).await
    })
}

async fn upload(
    desk: Desk,
    name: &AppName,
    environment: &EnvironmentName,
) -> Result<AnyView, Error> {
    desk.need(Action::Deploy, Resource::Environment(name, environment))?;
    get_environment(&desk.px, &desk.actor, name, environment).await?;
    let back = paths::within(&paths::deploy(name), environment);
    let typed = &desk.typed;
    let mut crumbs = app_crumbs(name, environment);
    crumbs.push(Crumb::new("Deploy", back.clone()));
    let content = view! {
        {PageHead::new("Send an archive")
            .crumbs(crumbs)
            .lead("Nothing is deployed yet: first the archive is sent, then you say how.")
            .view()}
        {problem(typed)}
        <form class="form" method="post" enctype="multipart/form-data" action=paths::within(&paths::upload(name), environment)>
            {Field::new(typed, ARCHIVE, "Archive")
                .file(".tar,.tgz,.gz,application/x-tar,application/gzip")
                .hint("A tar or tar.gz file of the source. It is kept for a day; nothing in it may lead out of it.")
                .view()}
            <div class="form-end">
                <button class="button button-primary">"Send"</button>
                <a class="button" href=back>"Cancel"</a>
            </div>
        </form>
    };
    Ok(frame(&desk, Section::Apps, content))
}
