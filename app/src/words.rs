//! Times, lengths and states in words.

use flukedeploy_domain::access::Door;
use flukedeploy_domain::app::RunMode;
use flukedeploy_domain::approval::ApprovalState;
use flukedeploy_domain::deployment::{
    DeploymentSummary, InitiatedBy, PhaseName, RolloutSummary, Status, Strategy, ValidationLevel,
};
use flukedeploy_domain::diagnosis::Cause;
use flukedeploy_domain::health::HealthProbe;
use flukedeploy_domain::job::JobKind;
use time::OffsetDateTime;
use time::macros::format_description;

/// "340 ms", "4.2 s", "2 min 5 s", "1 h 3 min".
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..60_000 => format!("{} s", ms / 1_000),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// "just now", "3 min ago", "in 2 days".
pub(crate) fn relative(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let seconds = (now - at).whole_seconds();
    let words = match seconds.unsigned_abs() {
        0..5 => return "just now".to_owned(),
        s @ 5..60 => format!("{s} sec."),
        s @ 60..3_600 => format!("{} min.", s / 60),
        s @ 3_600..86_400 => format!("{} hr.", s / 3_600),
        s => count(s / 86_400, "day", "days"),
    };
    if seconds > 0 {
        format!("{words} ago")
    } else {
        format!("in {words}")
    }
}

/// "2026-02-04 10:13:20 UTC".
pub(crate) fn exact(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    at.to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_default()
}

/// "10:13:20", in UTC.
pub(crate) fn clock(at: OffsetDateTime) -> String {
    let format = format_description!("[hour]:[minute]:[second]");
    at.to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_default()
}

/// "10:13:20.123", in UTC.
pub(crate) fn clock_ms(at: OffsetDateTime) -> String {
    let format = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
    at.to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_default()
}

/// "2026-02-04 10:13:20.123 UTC".
pub(crate) fn exact_ms(at: OffsetDateTime) -> String {
    let format = format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3] UTC"
    );
    at.to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_default()
}

/// "Wednesday 4 February 2026".
pub(crate) fn day(date: time::Date) -> String {
    let format = format_description!("[weekday] [day padding:none] [month repr:long] [year]");
    date.format(format).unwrap_or_default()
}

pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Shortens in the middle, where ids and image names differ least.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    let length = text.chars().count();
    if length <= limit {
        return text.to_owned();
    }
    let half = limit / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(length - half).collect();
    format!("{head}…{tail}")
}

pub(crate) fn phase(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::PreBuild => "Pre-build",
        PhaseName::Build => "Build",
        PhaseName::PreDeploy => "Pre-deploy",
        PhaseName::Deploy => "Deploy",
        PhaseName::PostDeploy => "Post-deploy",
    }
}

/// What a phase is there for.
pub(crate) fn phase_duty(phase: PhaseName, deployment: &DeploymentSummary) -> &'static str {
    match (phase, deployment.act.as_str()) {
        (PhaseName::PreBuild, _) => "Checks the request",
        (PhaseName::Build, "scale" | "stop" | "sleep" | "start" | "maintenance") => {
            "Needs no other image"
        }
        (PhaseName::Deploy, "scale") => "Changes how many replicas run",
        (PhaseName::Deploy, "stop" | "sleep") => "Stops the replicas",
        (PhaseName::Deploy, "start") => "Starts the replicas",
        (PhaseName::Deploy, "maintenance") => "Holds new requests",
        (PhaseName::PostDeploy, "scale" | "stop" | "sleep" | "start" | "maintenance") => {
            "Writes down what was done"
        }
        (PhaseName::Build, "promote") => "Takes the very same image",
        (PhaseName::Build, _) if deployment.source.is_some() => "Gets the source, builds the image",
        (PhaseName::Build, _) => "Gets the image and pins it",
        (PhaseName::PreDeploy, _) => "Checks the release",
        (PhaseName::Deploy, _) => "Starts replicas, moves traffic",
        (PhaseName::PostDeploy, _) => "Looks once more, keeps the settings",
    }
}

pub(crate) fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Rolling => "Rolling",
        Strategy::BlueGreen => "Blue-green",
        Strategy::Canary => "Canary",
        Strategy::Recreate => "Recreate",
    }
}

pub(crate) fn probe(probe: &HealthProbe) -> String {
    match probe {
        HealthProbe::Http {
            path,
            expect_status: Some(status),
        } => format!("GET {path} answers {status}"),
        HealthProbe::Http { path, .. } => format!("GET {path}"),
        HealthProbe::Tcp => "TCP connection".to_owned(),
        HealthProbe::Docker => "The image's HEALTHCHECK".to_owned(),
        HealthProbe::Command { command } => format!("Command {}", command.join(" ")),
    }
}

pub(crate) fn initiated_by(by: InitiatedBy) -> &'static str {
    match by {
        InitiatedBy::Api => "dashboard or API",
        InitiatedBy::Webhook => "webhook",
        InitiatedBy::Cli => "command line",
        InitiatedBy::Agent => "agent",
    }
}

/// Through which door somebody came.
pub(crate) fn door(door: Door) -> &'static str {
    match door {
        Door::Dashboard => "the dashboard",
        Door::Rest => "the REST API",
        Door::Stream => "the log stream",
        Door::Mcp => "MCP",
        Door::Cli => "the command line",
        Door::System => "FlukeDeploy itself",
    }
}

/// "shop:v2", or what else was done: "Back to release 3", "Scale to 2 replicas", "Stop".
pub(crate) fn what(deployment: &DeploymentSummary) -> String {
    match deployment.act.as_str() {
        "scale" => format!("Scale to {}", replicas(deployment.replicas.requested)),
        "restart" => "Restart".to_owned(),
        "stop" => "Stop".to_owned(),
        "sleep" => "Put to sleep".to_owned(),
        "start" => "Start".to_owned(),
        "maintenance" => "Maintenance".to_owned(),
        "promote" => match &deployment.source {
            Some(source) => format!("Promote {source}"),
            None => "Promote".to_owned(),
        },
        _ => match (
            &deployment.rollback_of,
            &deployment.source,
            &deployment.image,
        ) {
            (Some(release), ..) => format!("Back to release {release}"),
            (None, Some(source), _) => match source.split_once(' ') {
                // Not an address, but "a Dockerfile" or "the upload …".
                Some(("a" | "the", _)) => capital(source),
                _ => source.clone(),
            },
            (None, None, Some(image)) => image.clone(),
            (None, None, None) => "Image not known yet".to_owned(),
        },
    }
}

/// The heading of a deployment's page: what is done, and to which app.
pub(crate) fn deployment_title(deployment: &DeploymentSummary) -> String {
    let app = &deployment.app_name;
    match deployment.act.as_str() {
        "scale" => format!("Scale {app} to {}", replicas(deployment.replicas.requested)),
        "restart" => format!("Restart {app}"),
        "stop" => format!("Stop {app}"),
        "sleep" => format!("Put {app} to sleep"),
        "start" => format!("Start {app}"),
        "maintenance" => format!("Maintenance of {app}"),
        "promote" => match &deployment.source {
            Some(source) => format!("Promote {app}: {source}"),
            None => format!("Promote {app}"),
        },
        _ => match (&deployment.rollback_of, &deployment.version) {
            (Some(release), _) => format!("{app} back to release {release}"),
            (None, Some(version)) => format!("{app} {version}"),
            (None, None) => match &deployment.source {
                Some(source) => format!("{app} from {}", shortened(source, 60)),
                None => format!("{app} {}", shortened(&what(deployment), 60)),
            },
        },
    }
}

/// What kind of act a deployment is, in one word.
pub(crate) fn act(act: &str) -> &'static str {
    match act {
        "rollback" => "Rollback",
        "promote" => "Promote",
        "restart" => "Restart",
        "scale" => "Scale",
        "stop" => "Stop",
        "sleep" => "Sleep",
        "start" => "Start",
        "maintenance" => "Maintenance",
        _ => "Deploy",
    }
}

pub(crate) fn mode(mode: RunMode) -> &'static str {
    match mode {
        RunMode::Running => "running",
        RunMode::Stopped => "stopped",
        RunMode::Asleep => "asleep",
        RunMode::Maintenance => "in maintenance",
    }
}

pub(crate) fn replicas(number: u32) -> String {
    count(u64::from(number), "replica", "replicas")
}

/// Where a deployment is or how it ended, as one sentence of facts.
pub(crate) fn story(deployment: &DeploymentSummary) -> String {
    let approval = deployment.approval.as_ref().map(|approval| approval.state);
    if approval == Some(ApprovalState::Waiting) && !deployment.status.is_final() {
        return "Waits for an approval. Nothing of what serves was changed.".to_owned();
    }
    match deployment.status {
        Status::Pending => "Waits to start.".to_owned(),
        Status::Building if deployment.source.is_some() && deployment.act == "deploy" => {
            "Builds the image.".to_owned()
        }
        Status::Building => "Gets the image.".to_owned(),
        Status::Deploying => under_way(deployment),
        Status::Success => done(deployment),
        Status::Failed => {
            let end = match (deployment.act.as_str(), deployment.from_release) {
                ("deploy" | "promote" | "rollback" | "restart", Some(release)) => {
                    format!("Release {release} was not touched.")
                }
                (_, Some(release)) => format!("Release {release} is what it was."),
                (_, None) => "Nothing served before, and nothing does now.".to_owned(),
            };
            format!("{} {end}", ended_without(deployment))
        }
        Status::RolledBack => {
            let end = match deployment.returned_to {
                Some(release) => format!("Release {release} serves all traffic again."),
                None => "What served before serves again.".to_owned(),
            };
            format!("{} {end}", ended_without(deployment))
        }
    }
}

/// What somebody stopped did not fail.
fn ended_without(deployment: &DeploymentSummary) -> &'static str {
    match deployment.diagnosis.as_ref().map(|found| found.code) {
        Some(Cause::Cancelled) => "It was cancelled.",
        Some(Cause::Superseded) => "A newer one took its place.",
        Some(Cause::SourceNotFound) => "Its source could not be had.",
        Some(Cause::SourceRefused) => "Its source was refused.",
        Some(Cause::BuildFailed) => "Its build failed.",
        Some(Cause::ValidationFailed) => "Its checks failed.",
        Some(Cause::TestsFailed) => "Its tests failed.",
        Some(Cause::ReleaseCommandFailed) => "Its release command failed.",
        Some(Cause::HookFailed) => "One of its hooks failed.",
        Some(Cause::ApprovalRejected) => "It was rejected.",
        Some(Cause::ApprovalExpired) => "Nobody approved it in time.",
        Some(Cause::DeniedByPolicy) => "The environment does not allow it.",
        Some(Cause::PlanStale) => "The app changed before it was approved.",
        _ => "It failed.",
    }
}

fn under_way(deployment: &DeploymentSummary) -> String {
    if deployment.diagnosis.is_some() {
        let end = match deployment.from_release {
            Some(release) => format!("It goes back to release {release}."),
            None => "What it started is taken away.".to_owned(),
        };
        return format!("{} {end}", ended_without(deployment));
    }
    let counts = &deployment.replicas;
    let healthy = format!("{} of {} replicas healthy.", counts.ready, counts.requested);
    match &deployment.rollout {
        Some(rollout) if rollout.paused => format!("Paused at {}.", step(rollout)),
        _ => match deployment.act.as_str() {
            "stop" => "Stops its replicas.".to_owned(),
            "sleep" => "Goes to sleep.".to_owned(),
            "maintenance" => "Holds new requests.".to_owned(),
            _ => healthy,
        },
    }
}

/// "step 2 of 4".
pub(crate) fn step(rollout: &RolloutSummary) -> String {
    format!("step {} of {}", rollout.step, rollout.steps)
}

fn done(deployment: &DeploymentSummary) -> String {
    match (deployment.act.as_str(), deployment.release) {
        ("scale", _) => match deployment.replicas.requested {
            1 => "1 replica serves.".to_owned(),
            many => format!("{many} replicas serve."),
        },
        ("stop", _) => "No replica runs. Requests are answered with 503.".to_owned(),
        ("sleep", _) => "No replica runs. The first request starts it.".to_owned(),
        ("start", _) => "It serves.".to_owned(),
        ("maintenance", _) => "Requests are held.".to_owned(),
        (_, Some(release)) => format!("Release {release} took over all traffic."),
        (_, None) => "It took over all traffic.".to_owned(),
    }
}

/// What printed the lines that are kept as proof.
pub(crate) fn printed_by(cause: Cause) -> &'static str {
    match cause {
        Cause::BuildFailed => "The last lines of the build",
        Cause::TestsFailed => "The last lines that the tests printed",
        Cause::ReleaseCommandFailed => "The last lines that the release command printed",
        Cause::HookFailed => "The last lines that the hook printed",
        Cause::SourceNotFound | Cause::SourceRefused => "What fetching the source said",
        _ => "The last lines that the app printed",
    }
}

/// What a job is called where it is listed.
pub(crate) fn job(kind: JobKind) -> &'static str {
    match kind {
        JobKind::PreBuild => "Before the build",
        JobKind::Test => "Tests",
        JobKind::Release => "Release command",
        JobKind::PostDeploy => "After the deployment",
    }
}

/// A planned job, "release: ./manage migrate", with its kind in words.
pub(crate) fn planned_job(planned: &str) -> (&'static str, &str) {
    let known = |kind: &str| JobKind::ALL.into_iter().find(|job| job.as_str() == kind);
    match planned.split_once(": ") {
        Some((kind, command)) => (known(kind).map_or("Job", job), command),
        None => ("Job", planned),
    }
}

pub(crate) fn validation(level: ValidationLevel) -> &'static str {
    match level {
        ValidationLevel::None => "None: nothing is checked",
        ValidationLevel::Basic => "Basic: faults stop it",
        ValidationLevel::Strict => "Strict: warnings stop it, too",
    }
}

pub(crate) fn builder(name: &str) -> &str {
    match name {
        "buildkit" => "BuildKit",
        "classic" => "Docker's classic builder",
        other => other,
    }
}

/// A problem as a sentence of its own: "must be 1 to 500" becomes "Must be 1 to 500.".
pub(crate) fn sentence(text: &str) -> String {
    let end = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{}{end}", capital(text))
}

/// With a capital at its beginning.
pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars
        .next()
        .map(|c| c.to_uppercase().collect::<String>())
        .unwrap_or_default();
    format!("{first}{}", chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_times_read_well() {
        for (ms, words) in [
            (0, "0 ms"),
            (4_260, "4.2 s"),
            (59_999, "59 s"),
            (125_000, "2 min 5 s"),
            (3_780_000, "1 h 3 min"),
        ] {
            assert_eq!(duration(ms), words);
        }
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(10);
        assert_eq!(
            relative(now - time::Duration::seconds(200), now),
            "3 min. ago"
        );
        assert_eq!(relative(now + time::Duration::days(2), now), "in 2 days");
        assert_eq!(exact(now), "1970-01-11 00:00:00 UTC");
        assert_eq!(shortened("sha256:0123456789abcdef", 12), "sha256…abcdef");
        assert_eq!(sentence("must be 1"), "Must be 1.");
    }
}
