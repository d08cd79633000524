//! What the fields of forms are called, for faults that name them as the settings do.

/// As the settings call it, as the form calls it, and its label. The deadline of the health check
/// comes in both spellings. A table is read by its rows, so each has one line.
#[rustfmt::skip]
const FIELDS: [(&str, &str, &str); 102] = [
    ("app_name", "app_name", "App name"),
    ("image", "image", "Image"),
    ("container_port", "container_port", "Container port"),
    ("replicas", "replicas", "Replicas"),
    ("scale_to", "scale_to", "Number of replicas"),
    ("strategy", "strategy", "Strategy"),
    ("host", "domains", "Domains"),
    ("domains", "domains", "Domains"),
    ("health.path", "health_path", "Health path"),
    ("health.command", "health_command", "Health command"),
    ("health.deadline_seconds", "deadline_seconds", "Deadline in seconds"),
    ("deadline_seconds", "deadline_seconds", "Deadline in seconds"),
    ("health.min_healthy_seconds", "min_healthy_seconds", "Healthy for, in seconds"),
    ("health.start_grace_seconds", "start_grace_seconds", "Grace after the start, in seconds"),
    ("health.progress_deadline_seconds", "progress_deadline_seconds", "Give up after, in seconds"),
    ("health.max_restarts", "max_restarts", "Restarts at most"),
    ("rollout.max_surge", "max_surge", "Replicas on top"),
    ("rollout.max_unavailable", "max_unavailable", "Replicas that may be missing"),
    ("rollout.warm_seconds", "warm_seconds", "Stand-by in seconds"),
    ("rollout.drain_seconds", "drain_seconds", "Drain in seconds"),
    ("rollout.hold_seconds", "hold_seconds", "Hold in seconds"),
    ("rollout.canary.steps", "canary_steps", "Steps in percent"),
    ("rollout.canary.step_seconds", "canary_step_seconds", "Seconds per step"),
    ("rollout.canary.min_requests", "canary_min_requests", "Requests to judge by"),
    ("rollout.canary.max_extra_errors_permille", "canary_extra_errors", "More errors in 1000 requests"),
    ("rollout.canary.max_latency_percent", "canary_latency", "Latency in percent"),
    ("rollout.canary.testers.name", "tester_name", "Its name"),
    ("rollout.canary.testers.value", "tester_value", "Its value"),
    ("objective.max_errors_permille", "objective_errors", "Errors in 1000 requests"),
    ("objective.max_p95_ms", "objective_p95", "95 of 100 within, in milliseconds"),
    ("objective.probation_seconds", "probation_seconds", "Watched for, in seconds"),
    ("objective.min_requests", "objective_min_requests", "Requests to go by"),
    ("resources.cpu_limit_milli", "cpu_limit", "CPU limit"),
    ("resources.cpu_reservation_milli", "cpu_reservation", "CPU kept free"),
    ("resources.memory_limit_mb", "memory_limit", "Memory limit in MiB"),
    ("resources.memory_reservation_mb", "memory_reservation", "Memory kept free in MiB"),
    ("placement", "placement", "Placement rules"),
    ("volumes", "volumes", "Volumes"),
    ("volumes.name", "volumes", "Volumes"),
    ("volumes.path", "volumes", "Volumes"),
    ("published_ports", "published_ports", "Published ports"),
    ("queue", "queue", "If one is running"),
    ("release", "release", "Release"),
    ("source", "source", "What to deploy"),
    ("source.upload", "upload", "Archive"),
    ("source.git.repository", "repository", "Repository"),
    ("source.git.reference", "reference", "Branch, tag or commit"),
    ("source.git.subfolder", "subfolder", "Subfolder"),
    ("git_recipe_path", "git_recipe_path", "Path in the repository"),
    ("upload_recipe_path", "upload_recipe_path", "Path in the archive"),
    ("dockerfile", "dockerfile", "Dockerfile"),
    ("validation_level", "validation_level", "Checks"),
    ("archive", "archive", "Archive"),
    ("secret_env_vars", "secret_env_vars", "Secret variables"),
    ("file_variable", "file_variable", "Its name"),
    ("file_content", "file_content", "What it holds"),
    ("file_uid", "file_uid", "Its owner"),
    ("project", "project", "Project"),
    ("build.args", "build_args", "Build arguments"),
    ("build.secrets", "build_secrets", "Build secrets"),
    ("build.cpu_limit_milli", "build_cpu", "Processors of a build"),
    ("build.memory_limit_mb", "build_memory", "MiB of a build"),
    ("build.timeout_seconds", "build_timeout", "Time limit of a build"),
    ("jobs.pre_build.command", "job_pre_build_command", "Before the build: command"),
    ("jobs.pre_build.image", "job_pre_build_image", "Before the build: image"),
    ("jobs.pre_build.timeout_seconds", "job_pre_build_timeout", "Before the build: time limit"),
    ("jobs.test.command", "job_test_command", "Tests: command"),
    ("jobs.test.image", "job_test_image", "Tests: image"),
    ("jobs.test.timeout_seconds", "job_test_timeout", "Tests: time limit"),
    ("jobs.release.command", "job_release_command", "Release command"),
    ("jobs.release.image", "job_release_image", "Release command: image"),
    ("jobs.release.timeout_seconds", "job_release_timeout", "Release command: time limit"),
    ("jobs.post_deploy.command", "job_post_deploy_command", "After the deployment: command"),
    ("jobs.post_deploy.image", "job_post_deploy_image", "After the deployment: image"),
    ("jobs.post_deploy.timeout_seconds", "job_post_deploy_timeout", "After the deployment: time limit"),
    ("checks.signature_key", "signature_key", "Signature key"),
    ("checks.ignore", "checks_ignore", "Checks to ignore"),
    ("logs.retain_days", "log_retain_days", "Keep for, in days"),
    ("logs.retain_mb", "log_retain_mb", "Keep at most, in MiB"),
    ("logs.access.enabled", "access_log", "Requests in the log"),
    ("logs.access.sample_permille", "access_sample", "Others in 1000"),
    ("logs.access.slow_ms", "access_slow_ms", "Slow from, in milliseconds"),
    ("kind", "kind", "What it opens"),
    ("credential_host", "credential_host", "Host"),
    ("username", "username", "User"),
    ("secret", "secret", "Password or token"),
    ("secret_key", "secret_key", "Private key"),
    ("known_hosts", "known_hosts", "Known hosts"),
    ("ttl_seconds", "ttl_hours", "Remove it after"),
    ("url", "url", "Address"),
    ("events", "events", "Events"),
    ("webhook_password", "webhook_password", "Secret"),
    ("authorization_password", "authorization_password", "Authorization"),
    ("forward_kind", "forward_kind", "Form"),
    ("tier", "tier", "It may"),
    ("expires_in_days", "expires_in_days", "It expires"),
    ("expires_in_hours", "expires_in_hours", "The link works for"),
    ("display_name", "display_name", "Name to show"),
    ("present_password", "present_password", "Present password"),
    ("password_again", "password_again", "Password again"),
    ("password", "password", "Password"),
    ("code", "code", "Code"),
];

/// Names of settings inside a problem, and what a form says instead.
const WORDS: [(&str, &str); 7] = [
    (
        "progress_deadline_seconds",
        "the time after which it gives up",
    ),
    ("deadline_seconds", "the deadline"),
    (
        "where max_unavailable is 0",
        "where no replica may be missing",
    ),
    ("cpu_limit_milli", "the CPU limit"),
    ("memory_limit_mb", "the memory limit"),
    ("blue_green", "blue-green"),
    ("max_surge", "the replicas on top"),
];

/// The row of a fault: of its very name, else of what it is a part of (`build.args.'X'`).
fn row(fault_field: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    let exact = FIELDS.iter().find(|(domain, ..)| *domain == fault_field);
    exact.or_else(|| {
        let around = FIELDS
            .iter()
            .filter(|(domain, ..)| inside(fault_field, domain));
        around.max_by_key(|(domain, ..)| domain.len())
    })
}

fn inside(fault_field: &str, name: &str) -> bool {
    fault_field
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether a fault of `fault_field` is shown at the form's field.
pub(super) fn belongs(fault_field: &str, field: &str) -> bool {
    row(fault_field).map_or_else(|| inside(fault_field, field), |(_, form, _)| *form == field)
}

/// The variable that a fault is about, `'X'`, where it names one.
pub(super) fn part(fault_field: &str) -> Option<&str> {
    let at = fault_field.find(".'")?;
    Some(&fault_field[at + 1..])
}

/// The label of the field that a fault is about, where a form has one.
pub(super) fn label(fault_field: &str) -> Option<&'static str> {
    FIELDS
        .iter()
        .find(|(_, form, _)| *form == fault_field)
        .or_else(|| row(fault_field))
        .map(|(.., label)| *label)
}

/// A problem in the words of the form it is shown at.
pub(super) fn in_form_words(problem: &str) -> String {
    WORDS
        .iter()
        .fold(problem.to_owned(), |text, (name, words)| {
            text.replace(name, words)
        })
}
