//! The commands that ran once for a deployment.

use flukedeploy_domain::job::{JobRecord, JobStatus};
use leptos::prelude::*;
use time::OffsetDateTime;

use super::{job_mark, state, ticking};
use crate::words;

pub(crate) fn jobs(jobs: &[JobRecord], now: OffsetDateTime) -> Option<impl IntoView + use<>> {
    if jobs.is_empty() {
        return None;
    }
    let rows: Vec<_> = jobs.iter().map(|job| row(job, now)).collect();
    Some(view! {
        <section aria-labelledby="jobs-title">
            <div class="section-head"><h2 id="jobs-title">"Jobs"</h2><span class="section-note">"Each ran once, in a container of its own."</span></div>
            <div class="table-wrap">
                <table class="table">
                    <thead>
                        <tr>
                            <th scope="col">"Job"</th>
                            <th scope="col">"State"</th>
                            <th scope="col">"Command"</th>
                            <th scope="col" class="number">"Exit code"</th>
                            <th scope="col" class="number">"Took"</th>
                            <th scope="col">"Log"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </section>
    })
}

fn row(job: &JobRecord, now: OffsetDateTime) -> impl IntoView + use<> {
    let kind = words::job(job.kind);
    let command = job.command.join(" ");
    let took = match (job.status, job.completed_at) {
        (JobStatus::NotRun, _) => "–".into_any(),
        (_, Some(end)) => {
            let ms = u64::try_from((end - job.started_at).whole_milliseconds()).unwrap_or(0);
            words::duration(ms).into_any()
        }
        (_, None) => ticking(job.started_at, now).into_any(),
    };
    let exit_code = job
        .exit_code
        .map_or_else(|| "–".to_owned(), |code| code.to_string());
    let log = if job.status == JobStatus::NotRun {
        "–".into_any()
    } else {
        let to = format!("#lines-{}", job.kind.phase().as_str());
        let about = format!("Lines of {}", kind.to_lowercase());
        view! { <a class="link" href=to aria-label=about>"Lines"</a> }.into_any()
    };
    view! {
        <tr data-job=job.kind.as_str() data-status=job.status.as_str()>
            <td data-label="" class="cell-title nowrap"><span class="cell-main">{kind}</span></td>
            <td data-label="State">
                {state(job_mark(job.status))}
                {job.note.as_deref().map(|note| view! { <span class="cell-sub">{words::sentence(note)}</span> })}
            </td>
            <td data-label="Command" data-wide=""><code title=command.clone()>{words::shortened(&command, 80)}</code></td>
            <td data-label="Exit code" class="number">{exit_code}</td>
            <td data-label="Took" class="number nowrap">{took}</td>
            <td data-label="Log">{log}</td>
        </tr>
    }
}
