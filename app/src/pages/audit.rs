use flukedeploy_domain::access::{Action, Door};
use flukedeploy_domain::audit::{AuditFilter, Outcome};
use flukedeploy_domain::names::{Invalid, quoted};
use flukedeploy_platform::Error;
use flukedeploy_platform::audit::audit_trail;
use flukedeploy_platform::ports::AuditRow;
use leptos::prelude::*;
use time::OffsetDateTime;

use super::logs_wanted::instant;
use super::{page, query};
use crate::components::{
    Choice, Field, PageHead, Section, age, empty, frame, outcome_mark, problem, select, state,
};
use crate::context::Desk;
use crate::forms::Typed;
use crate::{paths, words};

/// Entries of one page.
const SHOWN: u32 = 50;

/// The filters, as addresses and the form name them.
const NAMES: [&str; 8] = [
    "q", "actor", "action", "resource", "door", "outcome", "since", "until",
];

/// `/audit`: who did what, and what was refused?
#[component]
pub(crate) fn AuditPage() -> impl IntoView {
    let wanted = Wanted::read();
    page(Desk::take(), async move |desk| trail(desk, wanted).await)
}

/// What the address asks for.
struct Wanted {
    /// Name and value of what was given.
    given: Vec<(&'static str, String)>,
    before: Option<i64>,
}

impl Wanted {
    fn read() -> Self {
        Self {
            given: NAMES
                .into_iter()
                .filter_map(|name| Some((name, query(name)?)))
                .collect(),
            before: query("before").and_then(|before| before.parse().ok()),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.given.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn filter(&self) -> Result<AuditFilter, Error> {
        let mut faults = Vec::new();
        let text = |name| self.get(name).map(ToOwned::to_owned);
        let mut time = |name| -> Option<OffsetDateTime> {
            instant(name, self.get(name)?)
                .map_err(|fault| faults.push(fault))
                .ok()
        };
        let (since, until) = (time("since"), time("until"));
        let mut filter = AuditFilter {
            actor: text("actor"),
            resource: text("resource"),
            since,
            until,
            text: text("q"),
            ..AuditFilter::default()
        };
        filter.action = self.one_of("action", &Action::ALL, Action::as_str, &mut faults);
        filter.door = self.one_of("door", &Door::ALL, Door::as_str, &mut faults);
        filter.outcome = self.one_of("outcome", &Outcome::ALL, Outcome::as_str, &mut faults);
        if faults.is_empty() {
            Ok(filter)
        } else {
            Err(Error::Invalid(faults))
        }
    }

    fn one_of<T: Copy>(
        &self,
        name: &'static str,
        all: &[T],
        word: fn(T) -> &'static str,
        faults: &mut Vec<Invalid>,
    ) -> Option<T> {
        let text = self.get(name)?;
        let found = all.iter().copied().find(|one| word(*one) == text);
        if found.is_none() {
            let problem = format!("must be one of those offered, not {}", quoted(text));
            faults.push(Invalid::new(name, problem));
        }
        found
    }

    fn typed(&self) -> Typed {
        let values = self.given.iter();
        Typed::new(
            values
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    }

    /// The same filters at another place.
    fn address(&self, path: &str, before: Option<i64>) -> String {
        let before = before.map(|before| ("before", before.to_string()));
        let pairs: Vec<String> = self
            .given
            .iter()
            .chain(&before)
            .map(|(name, value)| format!("{name}={}", paths::encoded(value)))
            .collect();
        if pairs.is_empty() {
            return path.to_owned();
        }
        format!("{path}?{}", pairs.join("&"))
    }
}

async fn trail(desk: Desk, wanted: Wanted) -> Result<AnyView, Error> {
    let found = match wanted.filter() {
        Ok(filter) => audit_trail(&desk.px, &desk.actor, &filter, wanted.before, SHOWN + 1).await,
        Err(fault) => Err(fault),
    };
    let (rows, typed) = match found {
        Ok(rows) => (rows, wanted.typed()),
        Err(fault @ Error::Invalid(_)) => (Vec::new(), wanted.typed().with_error(&fault)),
        Err(other) => return Err(other),
    };
    let shown = usize::try_from(SHOWN).unwrap_or(usize::MAX);
    let older = (rows.len() > shown).then(|| rows[shown - 1].sequence);
    let older = older.map(|before| {
        let to = wanted.address(paths::AUDIT, Some(before));
        view! { <p><a class="button" href=to>"Older entries"</a></p> }
    });
    let newest = wanted.before.map(|_| {
        let to = wanted.address(paths::AUDIT, None);
        view! { <a class="link" href=to>"To the newest"</a> }
    });
    let list = if rows.is_empty() {
        empty(
            "Nothing fits",
            "Everything that changes something, and every attempt that was refused, stands here.",
            view! { <a class="button" href=paths::AUDIT>"Show all entries"</a> },
        )
        .into_any()
    } else {
        let rows: Vec<_> = rows
            .iter()
            .take(shown)
            .map(|row| line(row, desk.now).into_any())
            .collect();
        entries(rows).into_any()
    };
    let export = wanted.address("/api/v1/audit/export", None);
    let content = view! {
        {PageHead::new("Audit")
            .lead("Every change and every refused attempt, newest first. Entries are chained by hash: 'flukedeploy audit verify' finds one that was edited, removed or moved.")
            .actions(view! { <a class="button" href=export download="audit.ndjson">"Export"</a> })
            .view()}
        {problem(&typed)}
        {form(&typed)}
        {newest}
        {list}
        {older}
    };
    Ok(frame(&desk, Section::Audit, content))
}

fn entries(rows: Vec<AnyView>) -> impl IntoView + use<> {
    view! {
        <div class="table-wrap">
            <table class="table">
                <thead>
                    <tr>
                        <th scope="col">"What"</th>
                        <th scope="col">"Who"</th>
                        <th scope="col">"Result"</th>
                        <th scope="col">"When"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
}

fn line(row: &AuditRow, now: OffsetDateTime) -> impl IntoView + use<> {
    let entry = &row.entry;
    let persona = entry.actor.persona.as_ref();
    let by = match persona {
        Some(persona) => format!("{persona}, {}", words::door(entry.actor.door)),
        None => words::door(entry.actor.door).to_owned(),
    };
    view! {
        <tr>
            <td data-label="" class="cell-title">
                <span class="cell-main">
                    <a href=paths::audit_entry(row.sequence)>{words::shortened(&words::capital(&entry.summary), 120)}</a>
                    <span class="cell-sub">{entry.resource.clone()}</span>
                </span>
            </td>
            <td data-label="Who"><span class="cell-main">{entry.actor.name.clone()}<span class="cell-sub">{by}</span></span></td>
            <td data-label="Result">{state(outcome_mark(entry.outcome))}</td>
            <td data-label="When">{age(entry.at, now)}</td>
        </tr>
    }
}

fn form(typed: &Typed) -> impl IntoView + use<> {
    let chosen = |name: &str| typed.get(name).is_some();
    let more = ["resource", "door", "since", "until"];
    let more = more.into_iter().filter(|name| chosen(name)).count();
    let mut actions = vec![Choice::new("", "All actions")];
    actions.extend(Action::ALL.map(|action| {
        let word = words::capital(&action.as_str().replace('_', " "));
        Choice::new(action.as_str(), word)
    }));
    let mut doors = vec![Choice::new("", "All doors")];
    doors.extend(Door::ALL.map(|door| {
        let word = words::capital(words::door(door));
        Choice::new(door.as_str(), word)
    }));
    let mut outcomes = vec![Choice::new("", "All results")];
    outcomes.extend(Outcome::ALL.map(|one| Choice::new(one.as_str(), outcome_mark(one).word)));
    view! {
        <form class="explorer-form" method="get" action=paths::AUDIT role="search">
            <div class="explorer-main">
                <div class="field-grow">{Field::new(typed, "q", "Text").placeholder("a word, a name, an intent").view()}</div>
                {Field::new(typed, "actor", "Who").placeholder("name or id").view()}
                {select(typed, "action", "Action", None, actions, "")}
                {select(typed, "outcome", "Result", None, outcomes, "")}
                <button class="button">"Filter"</button>
            </div>
            <div class="explorer-second">
            <details class="disclosure" id="more-filters" open={more > 0}>
                <summary>{if more > 0 { format!("More filters ({more})") } else { "More filters".to_owned() }}</summary>
                <div class="explorer-more">
                    {Field::new(typed, "resource", "About").placeholder("app:shop-web").view()}
                    {select(typed, "door", "Through", None, doors, "")}
                    {Field::new(typed, "since", "From (UTC)").moment().view()}
                    {Field::new(typed, "until", "Before (UTC)").moment().view()}
                </div>
            </details>
            </div>
        </form>
    }
}
