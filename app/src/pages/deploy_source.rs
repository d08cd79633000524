//! What to deploy: the first choice of the deployment form.

use flukedeploy_domain::build::{GitReference, RepositoryUrl, UploadId};
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;

use crate::components::{Choice, Field, Way, needed_area, one_of, select, tick_box};
use crate::forms::Typed;
use crate::forms::sources::{DOCKERFILE, GIT, IMAGE, UPLOAD};
use crate::paths;

/// The four ways, with what was typed, or else with what the last deployment was made of.
pub(super) fn source_fields(
    typed: &Typed,
    app: &AppView,
    sent: Option<&UploadId>,
    focus: bool,
) -> impl IntoView + use<> {
    let last = last_repository(app);
    let usual = match (sent, &last) {
        (Some(_), _) => UPLOAD,
        (None, Some(_)) => GIT,
        (None, None) => IMAGE,
    };
    let chosen = typed.get("source").unwrap_or(usual).to_owned();
    let ways = vec![
        Way {
            value: IMAGE,
            word: "An image",
            hint: "It exists in a registry, or on this server.",
            fields: image(typed, app, focus && chosen == IMAGE),
        },
        Way {
            value: GIT,
            word: "A git repository",
            hint: "Fetched and built here.",
            fields: git(typed, last),
        },
        Way {
            value: UPLOAD,
            word: "An archive",
            hint: "A tar or tar.gz file that you send, built here.",
            fields: upload(typed, app, sent),
        },
        Way {
            value: DOCKERFILE,
            word: "A Dockerfile",
            hint: "Typed in here; it gets no files.",
            fields: needed_area(
                typed,
                "dockerfile",
                "Dockerfile",
                "Built without a context: COPY finds no files.",
                "FROM ghcr.io/team/base:v3\nENV MODE=demo",
            )
            .into_any(),
        },
    ];
    one_of(typed, "source", "What to deploy", &chosen, ways)
}

fn image(typed: &Typed, app: &AppView, focus: bool) -> AnyView {
    // What was built here has a name that means nothing to people.
    let built = app
        .latest_deployment
        .as_ref()
        .is_some_and(|one| one.source.is_some());
    let image = app.image.clone().filter(|_| !built).unwrap_or_default();
    let field = Field::new(typed, "image", "Image")
        .mono()
        .value(&image)
        .hint("Pinned to what it is right now, so that what was checked is what runs.")
        .placeholder("ghcr.io/team/shop-web:v1.0.0");
    let field = if focus { field.autofocus() } else { field };
    field.view().into_any()
}

fn git(typed: &Typed, last: Option<(RepositoryUrl, Option<GitReference>)>) -> AnyView {
    let (repository, reference) = last.map_or_else(Default::default, |(repository, reference)| {
        let reference = reference.map(|name| name.to_string()).unwrap_or_default();
        (repository.to_string(), reference)
    });
    view! {
        {Field::new(typed, "repository", "Repository")
            .mono()
            .value(&repository)
            .hint("With https or ssh. Tokens and keys are kept under Credentials, never here.")
            .placeholder("https://git.example.com/team/shop.git")
            .view()}
        <div class="row">
            {Field::new(typed, "reference", "Branch, tag or commit")
                .optional()
                .mono()
                .value(&reference)
                .hint("Else its default branch.")
                .placeholder("main")
                .view()}
            {Field::new(typed, "subfolder", "Subfolder")
                .optional()
                .mono()
                .hint("Only this is the source.")
                .placeholder("services/web")
                .view()}
        </div>
        {tick_box("submodules", "With its submodules", None, typed.has("submodules", "true"))}
        {recipe(typed, "git_recipe", "git_recipe_path", "Path in the repository")}
    }
    .into_any()
}

fn upload(typed: &Typed, app: &AppView, sent: Option<&UploadId>) -> AnyView {
    let id = sent.map(ToString::to_string).unwrap_or_default();
    let page = paths::within(&paths::upload(&app.app_name), &app.environment);
    view! {
        <p class="hint">
            "Send it first: "<a class="link" href=page>"choose an archive"</a>
            ". Then this form comes back, and it stands below."
        </p>
        {Field::new(typed, "upload", "Archive")
            .mono()
            .value(&id)
            .hint("Its id. It is kept for a day.")
            .placeholder("up-1767225600000-0a1b2c3d")
            .view()}
        {recipe(typed, "upload_recipe", "upload_recipe_path", "Path in the archive")}
    }
    .into_any()
}

fn recipe(
    typed: &Typed,
    kind: &'static str,
    path: &'static str,
    title: &'static str,
) -> impl IntoView + use<> {
    let choices = vec![
        Choice::new(
            "find",
            "Found by itself: a definition file, or a Dockerfile",
        ),
        Choice::new("dockerfile", "The Dockerfile at a path"),
        Choice::new("definition", "The definition file at a path"),
    ];
    view! {
        {select(typed, kind, "How it is built", None, choices, "find")}
        {Field::new(typed, path, title)
            .optional()
            .mono()
            .hint("Where it is not found by itself.")
            .placeholder("docker/Dockerfile.web")
            .view()}
    }
}

/// `https://git.example.com/shop.git main`, as deployments describe what they were built of.
fn last_repository(app: &AppView) -> Option<(RepositoryUrl, Option<GitReference>)> {
    let last = app.latest_deployment.as_ref()?;
    let (repository, reference) = match last.source.as_deref()?.split_once(' ') {
        Some((repository, reference)) => (repository, reference.parse().ok()),
        None => (last.source.as_deref()?, None),
    };
    Some((repository.parse().ok()?, reference))
}
