//! Deployments as rows.

use flukedeploy_domain::deployment::DeploymentSummary;
use leptos::prelude::*;
use time::OffsetDateTime;

use super::{age, mark_of, state, ticking};
use crate::{paths, words};

/// `with_app`: the list spans apps, so each row names its own.
pub(crate) fn deployment_table(
    deployments: Vec<DeploymentSummary>,
    now: OffsetDateTime,
    with_app: bool,
) -> impl IntoView {
    let rows: Vec<_> = deployments
        .into_iter()
        .map(|one| row(&one, now, with_app))
        .collect();
    view! {
        <div class="table-wrap">
            <table class="table">
                <thead>
                    <tr>
                        {with_app.then(|| view! { <th scope="col">"App"</th> })}
                        <th scope="col">"Deployment"</th>
                        <th scope="col">"State"</th>
                        <th scope="col" class="number">"Took"</th>
                        <th scope="col">"By"</th>
                        <th scope="col">"Started"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
}

fn row(one: &DeploymentSummary, now: OffsetDateTime, with_app: bool) -> impl IntoView + use<> {
    let to = paths::deployment(&one.deployment_id);
    let what = words::what(one);
    let took = match one.total_duration_ms {
        Some(ms) => words::duration(ms).into_any(),
        None => ticking(one.initiated_at, now).into_any(),
    };
    let app = with_app.then(|| {
        view! {
            <td data-label="" class="cell-title">
                <span class="cell-main"><a href=paths::app(&one.app_name)>{one.app_name.to_string()}</a></span>
            </td>
        }
    });
    view! {
        <tr>
            {app}
            <td data-label="Deployment" data-wide="">
                <span class="cell-main"><a href=to title=what.clone()>{words::shortened(&what, 44)}</a></span>
            </td>
            <td data-label="State">{state(mark_of(one))}</td>
            <td data-label="Took" class="number nowrap">{took}</td>
            <td data-label="By">{one.initiated_as.clone()}</td>
            <td data-label="Started">{age(one.initiated_at, now)}</td>
        </tr>
    }
}
