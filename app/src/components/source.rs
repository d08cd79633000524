//! Where a deployment's image came from.

use flukedeploy_domain::deployment::DeploymentSummary;
use leptos::prelude::*;

use super::copy_button;
use crate::words;

/// Drawn where something was built, or came from another environment.
pub(crate) fn source(one: &DeploymentSummary) -> Option<impl IntoView + use<>> {
    let source = one.source.clone()?;
    let commit = one.preparation.commit.clone().map(|commit| {
        let short: String = commit.chars().take(12).collect();
        view! {
            <div><dt>"Commit"</dt><dd class="with-copy">
                <code title=commit.clone()>{short}</code>{copy_button("Copy commit", Some(commit), None)}
            </dd></div>
        }
    });
    let builder = one.preparation.builder.as_deref().map(
        |name| view! { <div><dt>"Built with"</dt><dd>{words::builder(name).to_owned()}</dd></div> },
    );
    Some(view! {
        <section aria-labelledby="source-title">
            <div class="section-head"><h2 id="source-title">"Source"</h2></div>
            <dl class="facts">
                <div class="wide mono"><dt>"From"</dt><dd>{source}</dd></div>
                {commit}
                {builder}
            </dl>
        </section>
    })
}
