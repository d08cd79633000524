use flukedeploy_domain::audit::AuditFilter;
use flukedeploy_domain::names::AppName;
use flukedeploy_platform::Error;
use flukedeploy_platform::audit::audit_trail;
use flukedeploy_platform::ports::AuditRow;
use leptos::prelude::*;

use super::{page, parameter};
use crate::components::{Crumb, PageHead, Section, changes, frame, outcome_mark, state};
use crate::context::Desk;
use crate::{paths, words};

/// `/audit/{sequence}`: one entry of the trail, whole.
#[component]
pub(crate) fn AuditEntryPage() -> impl IntoView {
    let sequence = parameter("sequence").parse::<i64>();
    page(Desk::take(), async move |desk| {
        entry(desk, sequence.unwrap_or(0)).await
    })
}

async fn entry(desk: Desk, sequence: i64) -> Result<AnyView, Error> {
    let all = AuditFilter::default();
    let after = Some(sequence.saturating_add(1));
    let found = audit_trail(&desk.px, &desk.actor, &all, after, 1).await?;
    let row = found.into_iter().find(|row| row.sequence == sequence);
    let row = row.ok_or_else(|| Error::NotFound {
        what: "audit entry of that number".to_owned(),
    })?;
    let table = (!row.entry.changes.is_empty()).then(|| {
        view! {
            <section class="section" aria-labelledby="changes-title">
                <div class="section-head"><h2 id="changes-title">"What changed"</h2></div>
                {changes("What changed", &row.entry.changes)}
            </section>
        }
    });
    let content = view! {
        {PageHead::new(words::sentence(&words::capital(&row.entry.summary)))
            .crumbs(vec![Crumb::new("Audit", paths::AUDIT)])
            .view()}
        {facts(&row)}
        {table}
    };
    Ok(frame(&desk, Section::Audit, content))
}

fn facts(row: &AuditRow) -> impl IntoView + use<> {
    let entry = &row.entry;
    let persona = entry.actor.persona.clone();
    let origin = entry.origin.clone().unwrap_or_default();
    let fact = |term: &'static str, value: Option<String>| {
        value.map(|value| view! { <div><dt>{term}</dt><dd>{value}</dd></div> })
    };
    let app = entry.resource.strip_prefix("app:").map(|rest| {
        let (name, _) = rest.split_once('/').unwrap_or((rest, ""));
        name.parse::<AppName>()
    });
    let resource = entry.resource.clone();
    let about = match app {
        Some(Ok(app)) => view! { <a class="link" href=paths::app(&app)>{resource}</a> }.into_any(),
        _ => view! { <code>{resource}</code> }.into_any(),
    };
    let by = paths::audit_of(&entry.actor.id);
    view! {
        <dl class="facts">
            <div><dt>"Result"</dt><dd>{state(outcome_mark(entry.outcome))}</dd></div>
            <div><dt>"When"</dt><dd>{words::exact_ms(entry.at)}</dd></div>
            <div><dt>"Who"</dt><dd><a class="link" href=by>{entry.actor.name.clone()}</a></dd></div>
            {fact("Persona", persona)}
            <div><dt>"Through"</dt><dd>{words::capital(words::door(entry.actor.door))}</dd></div>
            {fact("From", origin.address)}
            <div><dt>"Action"</dt><dd><code>{entry.action.as_str()}</code></dd></div>
            <div><dt>"About"</dt><dd>{about}</dd></div>
            {origin.intent.map(|intent| view! { <div class="wide"><dt>"Intent, as declared"</dt><dd>{intent}</dd></div> })}
            {origin.request_id.map(|id| view! { <div class="wide"><dt>"Request"</dt><dd><code>{id}</code></dd></div> })}
            <div class="wide"><dt>{format!("Hash of entry {}", row.sequence)}</dt><dd><code>{row.hash.clone()}</code></dd></div>
        </dl>
    }
}
