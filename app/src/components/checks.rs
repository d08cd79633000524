//! What was found out about a release before it ran.

use flukedeploy_domain::check::{Check, CheckStatus};
use leptos::prelude::*;

use super::{check_mark, state};
use crate::words;

/// What wants a look first; what passed is folded away. Nothing that was not run counts as passed.
pub(crate) fn checks(checks: &[Check]) -> Option<impl IntoView + use<>> {
    if checks.is_empty() {
        return None;
    }
    let rank = |check: &Check| match check.status {
        _ if check.not_run => 2,
        CheckStatus::Fail => 0,
        CheckStatus::Warning => 1,
        CheckStatus::Pass => 3,
    };
    let ranked = |wanted: u8| checks.iter().filter(move |check| rank(check) == wanted);
    let counts: Vec<String> = ["failed", "with a warning", "not run", "passed"]
        .into_iter()
        .zip(0u8..)
        .map(|(word, of)| (ranked(of).count(), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let looked_at: Vec<_> = (0..3).flat_map(ranked).map(finding).collect();
    let passed: Vec<_> = ranked(3).map(finding).collect();
    let passed = (!passed.is_empty()).then(|| {
        let count = words::count(passed.len() as u64, "check", "checks");
        view! {
            <details class="checks-passed" id="checks-passed" open=looked_at.is_empty()>
                <summary>{count}" passed"</summary>
                <ul class="checks">{passed}</ul>
            </details>
        }
    });
    Some(view! {
        <section aria-labelledby="checks-title">
            <div class="section-head"><h2 id="checks-title">"Checks"</h2><span class="section-note">{counts.join(", ")}</span></div>
            <div class="panel">
                {(!looked_at.is_empty()).then(|| view! { <ul class="checks">{looked_at}</ul> })}
                {passed}
            </div>
        </section>
    })
}

fn finding(check: &Check) -> impl IntoView + use<> {
    view! {
        <li class="check" data-check=check.name.clone()>
            {state(check_mark(check))}
            <div>
                <p>{words::sentence(&check.message)}" "<code class="check-name">{check.name.clone()}</code></p>
                {check.suggestion.as_deref().map(|remedy| view! { <p class="soft">{words::sentence(remedy)}</p> })}
            </div>
        </li>
    }
}
