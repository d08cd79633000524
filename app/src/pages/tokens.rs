use flukedeploy_domain::access::Tier;
use flukedeploy_platform::Error;
use flukedeploy_platform::tokens::list_tokens;
use flukedeploy_platform::views::TokenView;
use leptos::prelude::*;
use time::OffsetDateTime;

use super::page;
use crate::components::{
    Choice, Field, Mark, PageHead, Section, Tint, age, code, empty, frame, new_one, notice, select,
    state, table,
};
use crate::context::Desk;
use crate::forms::tokens::{NEW_NAME, NEW_SECRET};
use crate::paths;

/// `/tokens`: what can each agent do, and when did it last do something?
#[component]
pub(crate) fn TokensPage() -> impl IntoView {
    page(Desk::take(), tokens)
}

async fn tokens(desk: Desk) -> Result<AnyView, Error> {
    let tokens = list_tokens(&desk.px, &desk.actor).await?;
    let made = desk.typed.get(NEW_SECRET).map(ToOwned::to_owned);
    let name = desk.typed.get(NEW_NAME).unwrap_or_default().to_owned();
    let made = made.map(|secret| {
        view! {
            <div class="aside">
            {notice(
                Tint::Good,
                format!("The token '{name}' is made."),
                Some("Copy it now: it is not kept and will not be shown again.".to_owned()),
            )}
            {code("new-token", secret)}
            </div>
        }
    });
    let rows: Vec<_> = tokens
        .iter()
        .map(|token| row(token, desk.now).into_any())
        .collect();
    let list = if rows.is_empty() {
        empty(
            "No tokens yet",
            "Agents, scripts and pipelines sign in with one.",
            (),
        )
        .into_any()
    } else {
        let heads = ["Name", "State", "May", "Last used", "Expires", "Made"];
        table(&heads, rows).into_any()
    };
    let content = view! {
        {PageHead::new("Tokens").lead("For agents, scripts and pipelines: over REST, the stream and MCP.").view()}
        {made}
        {list}
        {new_one(&desk.typed, "New token", new_token_form(&desk))}
    };
    Ok(frame(&desk, Section::Tokens, content))
}

fn row(token: &TokenView, now: OffsetDateTime) -> impl IntoView + use<> {
    let expired = token.expires_at.is_some_and(|at| at <= now);
    let mark = match (token.revoked_at.is_some(), expired) {
        (true, _) => Mark::valid(false, "Revoked"),
        (false, true) => Mark::valid(false, "Expired"),
        (false, false) => Mark::valid(true, "Valid"),
    };
    let may = match token.tier {
        Tier::Extended => "Read",
        Tier::Advanced => "Read and deploy",
        Tier::Admin => "Everything",
    };
    let revoke = token.revoked_at.is_none().then(|| {
        let words = format!("Revoke {}", token.name);
        view! { <a class="button button-small button-danger" href=paths::revoke(&token.id) aria-label=words>"Revoke"</a> }
    });
    let when = |at: Option<OffsetDateTime>, none: &'static str| match at {
        Some(at) => age(at, now).into_any(),
        None => none.into_any(),
    };
    view! {
        <tr>
            <td data-label="" class="cell-title"><span class="cell-main">{token.name.clone()}<span class="cell-sub">{token.persona.clone().unwrap_or_else(|| token.id.clone())}</span></span></td>
            <td data-label="State">{state(mark)}</td>
            <td data-label="May"><span>{may}<span class="cell-sub">{token.tier.as_str()}</span></span></td>
            <td data-label="Last used">{when(token.last_used_at, "Never")}</td>
            <td data-label="Expires">{when(token.expires_at, "Never")}</td>
            <td data-label="Made">{age(token.created_at, now)}</td>
            <td data-label="" class="actions">{revoke}</td>
        </tr>
    }
}

fn new_token_form(desk: &Desk) -> impl IntoView + use<> {
    let typed = &desk.typed;
    let tiers = vec![
        Choice::new("extended", "Extended: read everything, change nothing"),
        Choice::new(
            "advanced",
            "Advanced: also create, deploy, roll back, change and delete apps and their environments",
        ),
        Choice::new(
            "admin",
            "Admin: also tokens, credentials, webhooks and the audit trail",
        ),
    ];
    let ages = vec![
        Choice::new("30", "In 30 days"),
        Choice::new("90", "In 90 days"),
        Choice::new("365", "In a year"),
        Choice::new("never", "Never"),
    ];
    view! {
        <form class="form" method="post" action=paths::TOKENS>
            {Field::new(typed, "name", "Name").hint("Who or what will use it.").placeholder("CI of shop-web").view()}
            {select(typed, "tier", "It may", None, tiers, "advanced")}
            <div class="row">
                {Field::new(typed, "persona", "Persona").optional().hint("An agent's role.").placeholder("OPERATOR").view()}
                {select(typed, "expires_in_days", "It expires", Some("After that it is refused."), ages, "90")}
            </div>
            <div class="row">
                {Field::new(typed, "apps", "Only for apps").optional().hint("Names with a comma between; all if it is empty.").placeholder("shop-web, shop-api").view()}
                {Field::new(typed, "environments", "Only in environments").optional().hint("Of those apps; all if it is empty.").placeholder("staging").view()}
            </div>
            {select(typed, "role", "Its role there", Some("Counts for single apps only."), super::permissions::roles(), "maintainer")}
            <div class="form-end"><button class="button button-primary">"Create token"</button></div>
        </form>
    }
}
