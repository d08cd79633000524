//! Every component in every state: the contract between styles and markup.

use flukedeploy_domain::check::Check;
use flukedeploy_domain::deployment::Status;
use flukedeploy_platform::Error;
use flukedeploy_platform::views::AppState;
use leptos::prelude::*;

use crate::components::{
    Choice, Field, Mark, PageHead, Section, Tint, Way, app_mark, checks, code, deployment_mark,
    empty, frame, notice, one_of, problem, select, state, text_area,
};
use crate::context::Desk;
use crate::forms::Typed;

/// `/components`; no page links to it.
#[component]
pub(crate) fn ComponentsPage() -> impl IntoView {
    let desk = Desk::take();
    let app_states = [
        AppState::Running,
        AppState::Deploying,
        AppState::Degraded,
        AppState::Failed,
        AppState::NeverDeployed,
        AppState::Stopped,
        AppState::Asleep,
        AppState::Maintenance,
    ];
    let states: Vec<_> = app_states
        .map(app_mark)
        .into_iter()
        .chain(
            [
                Status::Pending,
                Status::Building,
                Status::Deploying,
                Status::Success,
                Status::Failed,
                Status::RolledBack,
            ]
            .map(deployment_mark),
        )
        .chain([
            Mark::answers(true, "Answers", ""),
            Mark::valid(false, "Revoked"),
        ])
        .map(|mark| view! { <span>{state(mark)}</span> })
        .collect();
    let fine = Typed::default();
    let wrong = Typed::new(vec![
        ("image".to_owned(), "Shop Web".to_owned()),
        ("strategy".to_owned(), "recreate".to_owned()),
    ])
    .with_error(&Error::Invalid(vec![
        flukedeploy_domain::names::Invalid::new(
            "image",
            "may hold only letters, digits and . _ - / :, not 'Shop Web'",
        ),
    ]));
    let choices = || {
        vec![
            Choice::new("rolling", "Rolling"),
            Choice::new("recreate", "Recreate"),
        ]
    };
    let way = |value, word, fields| Way {
        value,
        word,
        hint: "What it means.",
        fields,
    };
    let ways = vec![
        way(
            "first",
            "The first",
            Field::new(&fine, "only_first", "Its field")
                .view()
                .into_any(),
        ),
        way("second", "The second", ().into_any()),
    ];
    let findings = [
        Check::fail("signature", "security", "it is not signed", "sign it"),
        Check::warning("runs_as_root", "security", "it runs as root", "add a USER"),
        Check::not_run("security_scan", "security", "no command is configured"),
        Check::pass("architecture", "docker", "it fits every node"),
    ];
    let content = view! {
        {PageHead::new("Components").lead("Every component in every state. Switch the colours in the account menu.").view()}
        <div class="steps">
            <section><h2>"States"</h2><p class="counts">{states}</p></section>
            <section>
                <h2>"Buttons"</h2>
                <p class="buttons">
                    <button type="button" class="button button-primary">"Primary"</button>
                    <button type="button" class="button">"Secondary"</button>
                    <button type="button" class="button button-danger">"Dangerous"</button>
                    <button type="button" class="button button-small">"Small"</button>
                    <span class="tag">"Tag"</span><span class="tag tag-good">"Serves"</span><span class="tag tag-attention">"Paused"</span>
                </p>
            </section>
            <section>
                <h2>"Notices"</h2>
                {notice(Tint::Good, "The settings are saved.".to_owned(), Some("Domains are in effect now.".to_owned()))}
                {notice(Tint::Attention, "The ingress is not connected.".to_owned(), None)}
                {problem(&wrong)}
            </section>
            <section>
                <h2>"Fields"</h2>
                <div class="form">
                    {Field::new(&fine, "name", "Name").hint("A hint.").placeholder("shop-web").view()}
                    {Field::new(&wrong, "image", "Image").mono().view()}
                    {select(&wrong, "strategy", "Strategy", None, choices(), "rolling")}
                    {text_area(&fine, "env_vars", "Variables", "NAME=value, one a line.", "A=1", "")}
                </div>
            </section>
            <section>
                <h2>"A choice with fields of its own"</h2>
                <div class="form">{one_of(&fine, "way", "What to deploy", "first", ways)}</div>
            </section>
            {checks(&findings)}
            <section><h2>"Code"</h2>{code("sample", "curl http://localhost:3000/healthz".to_owned())}</section>
            {empty("Nothing here yet", "What the thing is for, and how to make the first one.", view! { <a class="button" href="#main">"Make one"</a> })}
        </div>
    };
    frame(&desk, Section::None, content)
}
