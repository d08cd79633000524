use flukedeploy_domain::forwarder::{ForwarderId, ForwarderView};
use flukedeploy_platform::Error;
use flukedeploy_platform::forwarders::get_forwarder;
use leptos::prelude::*;

use super::log_forwarders::{about, form_of, mark};
use super::{page, parameter};
use crate::components::{Crumb, PageHead, Section, age, frame, problem, removal, state};
use crate::context::Desk;
use crate::{paths, words};

/// `/log-forwarders/{id}`: how far has it got?
#[component]
pub(crate) fn LogForwarderPage() -> impl IntoView {
    let id = forwarder_id();
    page(Desk::take(), async move |desk| show(desk, &id?).await)
}

/// `/log-forwarders/{id}/delete`.
#[component]
pub(crate) fn DeleteLogForwarderPage() -> impl IntoView {
    let id = forwarder_id();
    page(Desk::take(), async move |desk| delete(desk, &id?).await)
}

/// An id that cannot be one is the id of no forwarder.
fn forwarder_id() -> Result<ForwarderId, Error> {
    parameter("id").parse().map_err(|_| Error::NotFound {
        what: "log forwarder of that id".to_owned(),
    })
}

fn crumbs() -> Vec<Crumb> {
    vec![
        Crumb::new("Webhooks", paths::WEBHOOKS),
        Crumb::new("Log forwarders", paths::LOG_FORWARDERS),
    ]
}

async fn show(desk: Desk, id: &ForwarderId) -> Result<AnyView, Error> {
    let one = get_forwarder(&desk.px, &desk.actor, id).await?;
    let error = one.last_error.as_deref().map(words::sentence);
    let success = one.last_success_at.map(|at| age(at, desk.now));
    let next = one.next_try_at.filter(|at| *at > desk.now);
    let next = next.map(|at| age(at, desk.now));
    let content = view! {
        {PageHead::new(one.authority().to_owned())
            .crumbs(crumbs())
            .actions(actions(&one))
            .view()}
        {problem(&desk.typed)}
        <dl class="facts">
            <div><dt>"State"</dt><dd>{state(mark(&one))}</dd></div>
            <div><dt>"Form"</dt><dd>{form_of(one.kind)}</dd></div>
            <div><dt>"About"</dt><dd>{about(&one)}</dd></div>
            <div class="wide"><dt>"Address"</dt><dd><code>{one.url.clone()}</code></dd></div>
            <div><dt>"Entries waiting"</dt><dd>{one.entries_behind}</dd></div>
            <div><dt>"Entries sent"</dt><dd>{one.entries_sent}</dd></div>
            <div><dt>"Removed before they were sent"</dt><dd>{one.entries_missed}</dd></div>
            <div><dt>"Refused by the receiver"</dt><dd>{one.entries_refused}</dd></div>
            {success.map(|at| view! { <div><dt>"Last arrival"</dt><dd>{at}</dd></div> })}
            {error.map(|why| view! { <div class="wide"><dt>"Last error"</dt><dd>{why}</dd></div> })}
            {next.map(|at| view! { <div><dt>"Next attempt"</dt><dd>{at}</dd></div> })}
            <div><dt>"Made"</dt><dd>{age(one.created_at, desk.now)}</dd></div>
        </dl>
    };
    Ok(frame(&desk, Section::Webhooks, content))
}

fn actions(one: &ForwarderView) -> impl IntoView + use<> {
    let (word, wanted) = if one.active {
        ("Turn off", "false")
    } else {
        ("Turn on", "true")
    };
    view! {
        <div class="buttons">
            <form method="post" action=paths::test_log_forwarder(&one.id)>
                <button class="button button-primary">"Send a test"</button>
            </form>
            <form method="post" action=paths::switch_log_forwarder(&one.id)>
                <button class="button" name="active" value=wanted>{word}</button>
            </form>
            <a class="button button-danger" href=paths::delete_log_forwarder(&one.id)>"Remove"</a>
        </div>
    }
}

async fn delete(desk: Desk, id: &ForwarderId) -> Result<AnyView, Error> {
    let one = get_forwarder(&desk.px, &desk.actor, id).await?;
    let host = one.authority().to_owned();
    let mut crumbs = crumbs();
    crumbs.push(Crumb::new(host.clone(), paths::log_forwarder(id)));
    let content = view! {
        {PageHead::new(format!("Remove the log forwarder to {host}"))
            .crumbs(crumbs)
            .lead("What waits is not sent any more, and where it was is forgotten. To stop it for a while, turn it off instead.")
            .view()}
        {removal(&desk.typed, paths::delete_log_forwarder(id), (), "Remove the log forwarder".to_owned(), paths::log_forwarder(id))}
    };
    Ok(frame(&desk, Section::Webhooks, content))
}
