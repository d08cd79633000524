//! The folded parts of the settings about building, jobs and checks.

use flukedeploy_domain::build::BuildSettings;
use flukedeploy_domain::job::{JobKind, JobSettings};
use flukedeploy_platform::views::AppView;
use leptos::prelude::*;

use super::settings_parts::{cpus, folded, number};
use crate::components::{Field, text_area, tick_box};
use crate::forms::Typed;
use crate::forms::building::{USUAL_JOB_SECONDS, command_text};
use crate::words;

pub(super) fn building_parts(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    view! {
        {building(typed, app)}
        {jobs(typed, app)}
        {checks(typed, app)}
    }
}

/// Names whose values are kept and never shown, each with a box that removes it.
fn kept_names(typed: &Typed, names: &[String], remove: &'static str) -> impl IntoView + use<> {
    if names.is_empty() {
        return view! { <p class="hint">"None yet."</p> }.into_any();
    }
    let names: Vec<_> = names
        .iter()
        .map(|name| {
            let checked = typed.has(remove, name);
            view! {
                <li>
                    <code>{name.clone()}</code>
                    <label>
                        <input type="checkbox" name=remove value=name.clone() checked=checked/>
                        "Remove"<span class="visually-hidden">" "{name.clone()}</span>
                    </label>
                </li>
            }
        })
        .collect();
    view! { <ul class="variables">{names}</ul> }.into_any()
}

fn building(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    let build = &app.build;
    let fields = [
        "build_args",
        "build_secrets",
        "build_cpu",
        "build_memory",
        "build_timeout",
    ];
    let usual = BuildSettings::default();
    let cpu = cpus(Some(build.cpu_limit_milli)).unwrap_or_default();
    let now = format!(
        "{cpu} CPU, {} MiB, {} s",
        build.memory_limit_mb, build.timeout_seconds
    );
    let as_args = if typed.is_empty() {
        build.variables_as_args
    } else {
        typed.has("variables_as_args", "true")
    };
    let body = view! {
        <div class="field">
            <p class="label">"Build arguments"</p>
            <p class="hint">"ARG in the Dockerfile. They stay readable in the image: no place for secrets."</p>
            {kept_names(typed, &build.arg_names, "remove_build_args")}
        </div>
        {text_area(typed, "build_args", "Build arguments to set", "NAME=value, one a line.", "NODE_VERSION=22", "")}
        {tick_box("variables_as_args", "Hand the app's variables to the build as arguments, too", None, as_args)}
        <div class="field">
            <p class="label">"Build secrets"</p>
            <p class="hint">"For RUN --mount=type=secret,id=NAME. They are in no layer, no history and no log."</p>
            {kept_names(typed, &build.secret_names, "remove_build_secrets")}
        </div>
        {text_area(typed, "build_secrets", "Build secrets to set", "NAME=value, one a line. Never shown again.", "NPM_TOKEN=…", "")}
        <div class="row">
            {number(typed, "build_cpu", "Processors of a build", &cpu, "Such as 1.5.")}
            {number(typed, "build_memory", "MiB of a build", &build.memory_limit_mb, "Above it, it is ended.")}
            {number(typed, "build_timeout", "Time limit of a build", &build.timeout_seconds, "In seconds.")}
        </div>
        <p class="hint">{format!(
            "An emptied limit is the usual one again: {} CPU, {} MiB, {} s.",
            cpus(Some(usual.cpu_limit_milli)).unwrap_or_default(), usual.memory_limit_mb, usual.timeout_seconds,
        )}</p>
    };
    folded(typed, "Building", now, &fields, body.into_any())
}

/// The names of a job's fields in the form.
struct JobFields {
    kind: JobKind,
    command: &'static str,
    image: &'static str,
    timeout: &'static str,
    /// What it is for, and when it runs.
    duty: &'static str,
    /// The image it has if none is named.
    else_image: &'static str,
}

const JOBS: [JobFields; 4] = [
    JobFields {
        kind: JobKind::PreBuild,
        command: "job_pre_build_command",
        image: "job_pre_build_image",
        timeout: "job_pre_build_timeout",
        duty: "Before anything is fetched or built.",
        else_image: "Else the image that serves.",
    },
    JobFields {
        kind: JobKind::Test,
        command: "job_test_command",
        image: "job_test_image",
        timeout: "job_test_timeout",
        duty: "The app's own, in the new image. If they fail, nothing is changed.",
        else_image: "Else the new image.",
    },
    JobFields {
        kind: JobKind::Release,
        command: "job_release_command",
        image: "job_release_image",
        timeout: "job_release_timeout",
        duty: "Migrations: in the new image, while the old release serves.",
        else_image: "Else the new image.",
    },
    JobFields {
        kind: JobKind::PostDeploy,
        command: "job_post_deploy_command",
        image: "job_post_deploy_image",
        timeout: "job_post_deploy_timeout",
        duty: "Once the new release serves.",
        else_image: "Else the new image.",
    },
];

fn jobs(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    let names: Vec<&str> = JOBS
        .iter()
        .flat_map(|job| [job.command, job.image, job.timeout])
        .collect();
    let set: Vec<&str> = JobKind::ALL
        .into_iter()
        .filter(|kind| app.jobs.get(*kind).is_some())
        .map(words::job)
        .collect();
    let now = if set.is_empty() {
        "none".to_owned()
    } else {
        set.join(", ").to_lowercase()
    };
    let groups: Vec<_> = JOBS
        .iter()
        .map(|fields| job(typed, fields, app.jobs.get(fields.kind)))
        .collect();
    let body = view! {
        <p class="hint">"Each runs once in a container of its own, with the app's variables. Exit code 0 is success; anything else stops the deployment. A command is a program, then one argument a line, or a JSON list; no shell is involved. Without a command there is no job."</p>
        {groups}
    };
    folded(typed, "Jobs", now, &names, body.into_any())
}

fn job(typed: &Typed, fields: &JobFields, now: Option<&JobSettings>) -> impl IntoView + use<> {
    let command = now.map_or_else(String::new, |job| command_text(&job.command));
    let image = now
        .and_then(|job| job.image.as_ref())
        .map(ToString::to_string)
        .unwrap_or_default();
    let timeout = now.map_or(USUAL_JOB_SECONDS, |job| job.timeout_seconds);
    view! {
        <fieldset class="group">
            <legend>{words::job(fields.kind)}</legend>
            {text_area(typed, fields.command, "Command", fields.duty, "./manage\nmigrate", &command)}
            <div class="row">
                {Field::new(typed, fields.image, "Image").optional().mono().value(&image).hint(fields.else_image).view()}
                {number(typed, fields.timeout, "Time limit", &timeout, "In seconds.")}
            </div>
        </fieldset>
    }
}

fn checks(typed: &Typed, app: &AppView) -> impl IntoView + use<> {
    let checks = &app.checks;
    let key = checks.signature_key.clone().unwrap_or_default();
    let signed = if checks.signature_key.is_some() {
        "signature wanted"
    } else {
        "no signature wanted"
    };
    let now = match checks.ignore.len() {
        0 => signed.to_owned(),
        ignored => format!("{signed}, {ignored} ignored"),
    };
    let body = view! {
        {text_area(typed, "signature_key", "Signature key", "A public key (PEM), as cosign makes them: an image without its signature is refused.", "-----BEGIN PUBLIC KEY-----", &key)}
        {text_area(typed, "checks_ignore", "Checks to ignore", "Names of checks, one a line: still shown, but they stop nothing.", "runs_as_root", &checks.ignore.join("\n"))}
    };
    let fields = ["signature_key", "checks_ignore"];
    folded(typed, "Checks", now, &fields, body.into_any())
}
