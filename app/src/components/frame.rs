//! The frame around signed-in pages, and the bare one for those before.

use flukedeploy_domain::access::{Action, may_somewhere};
use leptos::prelude::*;
use leptos_meta::Title;

use super::{Icon, fluke, icon};
use crate::context::{Desk, Theme};
use crate::paths;

/// Which entry of the navigation is lit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Overview,
    Apps,
    Deployments,
    Approvals,
    Logs,
    System,
    People,
    Audit,
    Tokens,
    Webhooks,
    Credentials,
    Connect,
    None,
}

pub(crate) fn frame(desk: &Desk, section: Section, content: impl IntoView + 'static) -> AnyView {
    let waiting = desk.to_decide;
    let link = move |of: Section, word: &'static str, to: &'static str, shape: Icon| {
        let current = (of == section).then_some("page");
        let count = (of == Section::Approvals).then(|| to_decide(waiting));
        view! { <li><a class="nav-link" href=to aria-current=current>{icon(shape)}{word}{count}</a></li> }
    };
    // What would only be refused is not offered.
    let may = |action| may_somewhere(&desk.actor, action);
    let instance = desk.px.config().instance.to_string();
    let instance = (instance != "main" && instance != "default").then_some(instance);
    view! {
        <a class="skip" href="#main">"Skip to content"</a>
        <div class="frame">
            <header class="sidebar">
                <a class="brand" href=paths::OVERVIEW>
                    {fluke()}"FlukeDeploy"
                    {instance.map(|name| view! { <span class="brand-instance">{name}</span> })}
                </a>
                <nav class="nav" aria-label="Main">
                    <ul>
                        {link(Section::Overview, "Overview", paths::OVERVIEW, Icon::Overview)}
                        {link(Section::Apps, "Apps", paths::APPS, Icon::Apps)}
                        {link(Section::Deployments, "Deployments", paths::DEPLOYMENTS, Icon::Deployments)}
                        {link(Section::Logs, "Logs", paths::LOGS, Icon::Logs)}
                        {may(Action::DecideApproval).then(|| link(Section::Approvals, "Approvals", paths::APPROVALS, Icon::Approvals))}
                        {may(Action::ViewSystem).then(|| link(Section::System, "System", paths::SYSTEM, Icon::System))}
                    </ul>
                    <ul class="nav-group">
                        {may(Action::ListPeople).then(|| link(Section::People, "People", paths::PEOPLE, Icon::People))}
                        {may(Action::ViewAudit).then(|| link(Section::Audit, "Audit", paths::AUDIT, Icon::Audit))}
                        {may(Action::ListTokens).then(|| link(Section::Tokens, "Tokens", paths::TOKENS, Icon::Tokens))}
                        {may(Action::ListCredentials).then(|| link(Section::Credentials, "Credentials", paths::CREDENTIALS, Icon::Credentials))}
                        {may(Action::ListWebhooks).then(|| link(Section::Webhooks, "Webhooks", paths::WEBHOOKS, Icon::Webhooks))}
                        {link(Section::Connect, "API and MCP", paths::CONNECT, Icon::Connect)}
                    </ul>
                </nav>
                {account(desk)}
            </header>
            <main id="main" tabindex="-1"><div class="page">{content}</div></main>
        </div>
    }
    .into_any()
}

/// How many wait for this visitor's word; none is not worth a number.
fn to_decide(waiting: usize) -> impl IntoView {
    let number = (waiting > 0).then(|| {
        view! { <span class="nav-count">{waiting}<span class="visually-hidden">" to decide"</span></span> }
    });
    view! { <span id="to-decide" data-live="replace">{number}</span> }
}

fn account(desk: &Desk) -> impl IntoView + use<> {
    let chosen = desk.theme;
    let is_administrator = desk.actor.is_administrator();
    let may = |action| may_somewhere(&desk.actor, action);
    let themes: Vec<_> = Theme::ALL
        .into_iter()
        .map(|theme| {
            let word = match theme {
                Theme::System => "As the system",
                Theme::Light => "Light",
                Theme::Dark => "Dark",
            };
            let pressed = if theme == chosen { "true" } else { "false" };
            view! {
                <button class="menu-item" name="theme" value=theme.as_str() aria-pressed=pressed>{word}</button>
            }
        })
        .collect();
    view! {
        <details class="account" data-menu="">
            <summary aria-label=format!("Account: {}", desk.actor.name)>
                {icon(Icon::Account)}<span class="account-name">{desk.actor.name.clone()}</span>
            </summary>
            <div class="account-menu">
                <p class="menu-title">"Signed in as "{desk.actor.name.clone()}</p>
                <a class="menu-item" href=paths::ACCOUNT>"Your account"</a>
                <hr/>
                <div class="menu-phone">
                    {is_administrator.then(|| view! { <a class="menu-item" href=paths::PEOPLE>"People"</a> })}
                    {may(Action::ViewAudit).then(|| view! { <a class="menu-item" href=paths::AUDIT>"Audit"</a> })}
                    {may(Action::ListTokens).then(|| view! { <a class="menu-item" href=paths::TOKENS>"Tokens"</a> })}
                    {may(Action::ListCredentials).then(|| view! { <a class="menu-item" href=paths::CREDENTIALS>"Credentials"</a> })}
                    {may(Action::ListWebhooks).then(|| view! { <a class="menu-item" href=paths::WEBHOOKS>"Webhooks"</a> })}
                    <a class="menu-item" href=paths::CONNECT>"API and MCP"</a>
                    <hr/>
                </div>
                <form method="post" action=paths::THEME data-theme-form="">
                    <p class="menu-title">"Colours"</p>
                    {themes}
                </form>
                <hr/>
                <form method="post" action=paths::SIGN_OUT>
                    <button class="menu-item">"Sign out"</button>
                </form>
            </div>
        </details>
    }
}

/// Sign-in and set-up: one thing in the middle.
pub(crate) fn gate(
    title: &'static str,
    lead: impl IntoView,
    content: impl IntoView,
) -> impl IntoView {
    view! {
        <Title text=format!("{title} · FlukeDeploy")/>
        <main class="gate" id="main">
            <div class="gate-box">
                <div class="brand">{fluke()}</div>
                <h1>{title}</h1>
                <div class="gate-lead">{lead}</div>
                {content}
            </div>
        </main>
    }
}
