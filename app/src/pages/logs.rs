use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::log_entry::{Level, LogFilter};
use flukedeploy_domain::log_query::TextQuery;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::get_environment;
use flukedeploy_platform::logs::{ReadLogs, read_logs};
use leptos::prelude::*;

use super::app::app_tabs;
use super::{app_crumbs, app_name, environment, page, query};
use crate::assets;
use crate::components::{Choice, Field, PageHead, Section, frame, log_line, log_template, select};
use crate::context::Desk;
use crate::forms::Typed;
use crate::{paths, words};

const LINES: u32 = 200;

/// `/apps/{name}/logs`: the newest lines, oldest first; `?q=`, `?level=` and `?deployment=` narrow
/// them.
#[component]
pub(crate) fn LogsPage() -> impl IntoView {
    let (name, text, level) = (app_name(), query("q"), query("level"));
    let deployment = query("deployment").and_then(|id| id.parse::<DeploymentId>().ok());
    let environment = environment();
    page(Desk::take(), async move |desk| {
        logs(desk, &name?, text, level, deployment, &environment?).await
    })
}

async fn logs(
    desk: Desk,
    name: &AppName,
    text: Option<String>,
    level: Option<String>,
    deployment: Option<DeploymentId>,
    environment: &EnvironmentName,
) -> Result<AnyView, Error> {
    // An app that does not exist has no logs page, though it may have had logs.
    let app = get_environment(&desk.px, &desk.actor, name, environment).await?;
    let min_level = level
        .as_deref()
        .and_then(|level| level.parse::<Level>().ok());
    let (wanted, fault) = match text.as_deref().map(TextQuery::parse).transpose() {
        Ok(wanted) => (wanted, None),
        Err(fault) => (None, Some(fault)),
    };
    let request = ReadLogs {
        filter: LogFilter {
            app_name: Some(name.to_string()),
            deployment_id: deployment.as_ref().map(ToString::to_string),
            min_level,
            ..LogFilter::default()
        },
        text: wanted,
        limit: LINES,
        total: true,
        ..ReadLogs::default()
    };
    let found = read_logs(&desk.px, &desk.actor, request).await?;
    let total = found.total;
    let lines: Vec<_> = found.entries.iter().rev().map(log_line).collect();
    let of = if app.environments.len() > 1 && deployment.is_none() {
        " of all environments"
    } else {
        ""
    };
    let note = if total > u64::from(LINES) {
        format!("The newest {LINES} of {total} entries{of}. Times are UTC.")
    } else {
        format!(
            "{}{of}. Times are UTC.",
            words::count(total, "entry", "entries")
        )
    };
    let nothing = lines.is_empty().then(|| {
        let words = if text.is_some() || min_level.is_some() || deployment.is_some() {
            "No entry fits. Widen the filter."
        } else {
            "No entries yet. What the app prints appears here."
        };
        view! { <li class="log-empty">{words}</li> }
    });
    let mut typed = Typed::new(vec![
        ("q".to_owned(), text.clone().unwrap_or_default()),
        (
            "level".to_owned(),
            min_level.map_or("", Level::as_str).to_owned(),
        ),
    ]);
    if let Some(fault) = fault {
        typed = typed.with_error(&Error::Invalid(vec![fault]));
    }
    let levels = vec![
        Choice::new("", "All levels"),
        Choice::new("info", "Info and worse"),
        Choice::new("warn", "Warnings and worse"),
        Choice::new("error", "Errors"),
    ];
    let content = view! {
        {PageHead::new("Logs")
            .crumbs(app_crumbs(name, environment))
            .lead(note)
            .live()
            .view()}
        {app_tabs(name, environment, "Logs")}
        <form class="filters" method="get" action=paths::logs(name) role="search">
            <div class="field-grow">{Field::new(&typed, "q", "Text").placeholder("word  \"any text\"  -without  /regex/").view()}</div>
            {select(&typed, "level", "Level", None, levels, "")}
            {(!environment.is_production()).then(|| view! { <input type="hidden" name="environment" value=environment.to_string()/> })}
            {deployment.as_ref().map(|id| view! { <input type="hidden" name="deployment" value=id.to_string()/> })}
            <button class="button">"Filter"</button>
        </form>
        {deployment.as_ref().map(|id| view! {
            <p class="log-narrowed">"Only "<a class="link" href=paths::deployment(id)>"one deployment"</a>". "<a class="link" href=paths::within(&paths::logs(name), environment)>"Show all entries"</a></p>
        })}
        <ol
            class="log log-tall"
            id="log"
            data-log=""
            data-live="append"
            data-tail=name.to_string()
            data-deployment-id=deployment.map(|id| id.to_string()).unwrap_or_default()
            data-text=text.unwrap_or_default()
            data-min-level=min_level.map_or("", Level::as_str)
            tabindex="0"
            aria-label=format!("Log of {name}")
        >
            {nothing}
            {lines}
        </ol>
        {log_template()}
        <script type="module" src=assets::url("logs.js")></script>
    };
    Ok(frame(&desk, Section::Apps, content))
}
