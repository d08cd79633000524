//! Why a deployment failed: the cause, its proof, what to try.

use flukedeploy_domain::diagnosis::{Cause, Diagnosis, Evidence};
use leptos::prelude::*;

use super::copy_button;
use crate::words;

/// Why this deployment failed.
pub(crate) fn diagnosis(diagnosis: &Diagnosis) -> impl IntoView + use<> {
    let verb = match diagnosis.code {
        Cause::Cancelled | Cause::Superseded => "Stopped",
        _ => "Failed",
    };
    let lead = format!("{verb} in {}", words::phase(diagnosis.phase));
    card("diagnosis-title", lead, diagnosis)
}

/// What was found against the release that served, where the platform went back by itself.
pub(crate) fn finding(diagnosis: &Diagnosis) -> impl IntoView + use<> {
    card(
        "because-title",
        "Found on real traffic".to_owned(),
        diagnosis,
    )
}

fn card(id: &'static str, lead: String, diagnosis: &Diagnosis) -> impl IntoView + use<> {
    let code = diagnosis.code.code();
    let next: Vec<_> = diagnosis
        .next
        .iter()
        .map(|step| view! { <li><span>{words::sentence(step)}</span></li> })
        .collect();
    let output = &diagnosis.evidence.untrusted_output;
    // One text node: what an app printed is shown as it is and means nothing to the page.
    let printed = words::printed_by(diagnosis.code);
    let output = (!output.is_empty()).then(|| output.join("\n"));
    view! {
        <section class="diagnosis" aria-labelledby=id>
            <div class="diagnosis-head">
                <h2 id=id>{words::sentence(&diagnosis.message)}</h2>
                <p class="diagnosis-code">
                    <span>{lead}</span>
                    <code>{code}</code>
                    {copy_button("Copy code", Some(code.to_owned()), None)}
                </p>
            </div>
            <div class="diagnosis-body">
                <div>
                    <h3>"What was seen"</h3>
                    {evidence(&diagnosis.evidence)}
                    {output.map(|output| view! {
                        <div class="output">
                            <h3>{printed}</h3>
                            <pre tabindex="0" dir="auto">{output}</pre>
                        </div>
                    })}
                </div>
                <div>
                    <h3>"What to try"</h3>
                    {if next.is_empty() {
                        view! { <p class="soft">"Read the log below, correct the cause and deploy again."</p> }.into_any()
                    } else {
                        view! { <ol class="next">{next}</ol> }.into_any()
                    }}
                </div>
            </div>
        </section>
    }
}

fn evidence(evidence: &Evidence) -> impl IntoView + use<> {
    let ports = evidence
        .listening_ports
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let replicas = evidence.replicas_wanted.map(|wanted| {
        format!(
            "{} of {wanted} healthy",
            evidence.replicas_ready.unwrap_or(0)
        )
    });
    let facts = [
        ("Exit code", evidence.exit_code.map(|code| code.to_string())),
        (
            "Memory",
            (evidence.oom_killed == Some(true)).then(|| "killed for using too much".to_owned()),
        ),
        (
            "Expected port",
            evidence.expected_port.map(|port| port.to_string()),
        ),
        ("Listening on", (!ports.is_empty()).then_some(ports)),
        ("Health check", evidence.health_answer.clone()),
        ("Requests", evidence.traffic.clone()),
        ("Replicas", replicas),
        ("Held by", evidence.held_by.clone()),
        ("Engine", evidence.engine_message.clone()),
    ];
    let rows: Vec<_> = facts
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| view! { <dt>{name}</dt><dd>{value}</dd> }))
        .collect();
    if rows.is_empty() {
        return view! { <p class="soft">"Nothing beyond the message above."</p> }.into_any();
    }
    view! { <dl class="evidence">{rows}</dl> }.into_any()
}
