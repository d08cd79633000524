//! What the fields of forms are called, for faults that name them as the settings do.

/// As the settings call it, as the form calls it, and its label. The deadline of the health check
/// comes in both spellings.
const FIELDS: [(&str, &str, &str); 43] = [
    ("app_name", "app_name", "Name"),
    ("image", "image", "Image"),
    ("container_port", "container_port", "Container port"),
    ("replicas", "replicas", "Replicas"),
    ("scale_to", "scale_to", "Number of replicas"),
    ("strategy", "strategy", "Strategy"),
    ("host", "domains", "Domains"),
    ("domains", "domains", "Domains"),
    ("health.path", "health_path", "Health path"),
    ("health.command", "health_command", "Health command"),
    (
        "health.deadline_seconds",
        "deadline_seconds",
        "Deadline in seconds",
    ),
    (
        "deadline_seconds",
        "deadline_seconds",
        "Deadline in seconds",
    ),
    (
        "health.min_healthy_seconds",
        "min_healthy_seconds",
        "Healthy for, in seconds",
    ),
    (
        "health.start_grace_seconds",
        "start_grace_seconds",
        "Grace after the start, in seconds",
    ),
    (
        "health.progress_deadline_seconds",
        "progress_deadline_seconds",
        "Give up after, in seconds",
    ),
    ("health.max_restarts", "max_restarts", "Restarts at most"),
    ("rollout.max_surge", "max_surge", "Replicas on top"),
    (
        "rollout.max_unavailable",
        "max_unavailable",
        "Replicas that may be missing",
    ),
    (
        "rollout.warm_seconds",
        "warm_seconds",
        "Stand-by in seconds",
    ),
    ("rollout.drain_seconds", "drain_seconds", "Drain in seconds"),
    ("rollout.hold_seconds", "hold_seconds", "Hold in seconds"),
    ("rollout.canary.steps", "canary_steps", "Steps in percent"),
    (
        "rollout.canary.step_seconds",
        "canary_step_seconds",
        "Seconds per step",
    ),
    (
        "rollout.canary.min_requests",
        "canary_min_requests",
        "Requests to judge by",
    ),
    (
        "rollout.canary.max_extra_errors_permille",
        "canary_extra_errors",
        "More errors in 1000 requests",
    ),
    (
        "rollout.canary.max_latency_percent",
        "canary_latency",
        "Latency in percent",
    ),
    ("rollout.canary.testers.name", "tester_name", "Its name"),
    ("rollout.canary.testers.value", "tester_value", "Its value"),
    (
        "objective.max_errors_permille",
        "objective_errors",
        "Errors in 1000 requests",
    ),
    (
        "objective.max_p95_ms",
        "objective_p95",
        "95 of 100 within, in milliseconds",
    ),
    (
        "objective.probation_seconds",
        "probation_seconds",
        "Watched for, in seconds",
    ),
    (
        "objective.min_requests",
        "objective_min_requests",
        "Requests to go by",
    ),
    ("resources.cpu_limit_milli", "cpu_limit", "CPU limit"),
    (
        "resources.cpu_reservation_milli",
        "cpu_reservation",
        "CPU kept free",
    ),
    (
        "resources.memory_limit_mb",
        "memory_limit",
        "Memory limit in MiB",
    ),
    (
        "resources.memory_reservation_mb",
        "memory_reservation",
        "Memory kept free in MiB",
    ),
    ("placement", "placement", "Placement rules"),
    ("volumes", "volumes", "Volumes"),
    ("volumes.name", "volumes", "Volumes"),
    ("volumes.path", "volumes", "Volumes"),
    ("published_ports", "published_ports", "Published ports"),
    ("queue", "queue", "If one is running"),
    ("release", "release", "Release"),
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

/// Whether a fault of `fault_field` is shown at the form's field.
pub(super) fn belongs(fault_field: &str, field: &str) -> bool {
    let inside = |name: &str| {
        fault_field
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    FIELDS
        .iter()
        .find(|(domain, ..)| *domain == fault_field)
        .map_or_else(|| inside(field), |(_, form, _)| *form == field)
}

/// The label of the field that a fault is about, where a form has one.
pub(super) fn label(fault_field: &str) -> Option<&'static str> {
    FIELDS
        .iter()
        .find(|(domain, form, _)| *domain == fault_field || *form == fault_field)
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
