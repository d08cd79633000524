//! What callers send, turned into the commands of the platform; the same for REST and MCP.

use flukedeploy_domain::app::{MAX_REPLICAS, MERGED_PARTS, RunMode, Settings};
use flukedeploy_domain::credential::CredentialKind;
use flukedeploy_domain::deployment::{Queue, Strategy, ValidationLevel};
use flukedeploy_domain::health::{HealthGate, HealthProbe};
use flukedeploy_domain::image::ImageRef;
use flukedeploy_domain::names::{AppName, EnvironmentName, Hostname, Invalid, quoted};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::{ChangeApp, NewApp};
use flukedeploy_platform::credentials::PutCredential;
use flukedeploy_platform::deployments::{
    Deploy, Everyday, Promote, Rollback, RollbackTarget, What,
};
use flukedeploy_platform::environments::NewEnvironment;
use flukedeploy_platform::projects::ShareVariables;
use flukedeploy_platform::validate::Validate;
use serde_json::{Map, Value};

use super::fields::Fields;
use super::query::Params;
use super::sources;
use super::variables::{Nulls, variables};

/// Longest time a call may wait for the end of a deployment: clients and proxies give up at 60 s.
pub(crate) const MAX_WAIT_SECONDS: u64 = 50;

pub(crate) fn deploy(mut fields: Fields) -> Result<Deploy, Error> {
    let app = fields.required::<AppName>("app_name");
    let environment = environment(&mut fields);
    let what = sources::wanted(&mut fields);
    let version = fields.text("version");
    let variables = variables(&mut fields, Nulls::Refused);
    let replicas = fields.number("replicas", 1..=MAX_REPLICAS);
    let strategy = fields.parsed::<Strategy>("strategy");
    let validation_level = validation_level(&mut fields);
    let auto_rollback = fields.flag("auto_rollback", true);
    let queue = queue(&mut fields);
    let create = fields.flag("create", false);
    let container_port = fields.number("container_port", 1..=u16::MAX);
    let reason = fields.text("reason");
    let idempotency_key = fields.text("idempotency_key");
    let (Some(app), Some(what)) = (app, what) else {
        return Err(fields.into_error());
    };
    fields.finish()?;
    Ok(Deploy {
        app,
        environment,
        what,
        version,
        env_vars: variables.set,
        marks: variables.marks,
        replicas,
        strategy,
        validation_level,
        auto_rollback,
        queue,
        create,
        container_port,
        reason,
        idempotency_key,
    })
}

/// `app` is known already where it is part of the address.
pub(crate) fn rollback(mut fields: Fields, app: Option<AppName>) -> Result<Rollback, Error> {
    let app = app.or_else(|| fields.required("app_name"));
    let environment = environment(&mut fields);
    let version = fields.text("version");
    let release = fields.number("release", 1..=u32::MAX);
    if version.is_some() && release.is_some() {
        fields.fault("release", "cannot be given together with version");
    }
    let queue = queue(&mut fields);
    let reason = fields.text("reason");
    let idempotency_key = fields.text("idempotency_key");
    let Some(app) = app else {
        return Err(fields.into_error());
    };
    fields.finish()?;
    let to = match (release, version) {
        (Some(release), _) => RollbackTarget::Release(ReleaseNo(release)),
        (None, Some(version)) => RollbackTarget::Version(version),
        (None, None) => RollbackTarget::Previous,
    };
    Ok(Rollback {
        app,
        environment,
        to,
        queue,
        reason,
        idempotency_key,
    })
}

/// `app` is known already where it is part of the address.
fn everyday(mut fields: Fields, app: Option<AppName>, what: What) -> Result<Everyday, Error> {
    let app = app.or_else(|| fields.required("app_name"));
    let environment = environment(&mut fields);
    let queue = queue(&mut fields);
    let reason = fields.text("reason");
    let idempotency_key = fields.text("idempotency_key");
    let Some(app) = app else {
        return Err(fields.into_error());
    };
    fields.finish()?;
    Ok(Everyday {
        app,
        environment,
        what,
        queue,
        reason,
        idempotency_key,
    })
}

pub(crate) fn scale(mut fields: Fields, app: Option<AppName>) -> Result<Everyday, Error> {
    let replicas = fields.number("replicas", 1..=MAX_REPLICAS);
    if replicas.is_none() {
        fields.fault("replicas", "must be given");
    }
    everyday(fields, app, What::Scale(replicas.unwrap_or(1)))
}

pub(crate) fn restart(fields: Fields, app: Option<AppName>) -> Result<Everyday, Error> {
    everyday(fields, app, What::Restart)
}

/// `mode` is known already where the address says it.
pub(crate) fn set_mode(
    mut fields: Fields,
    app: Option<AppName>,
    mode: Option<RunMode>,
) -> Result<Everyday, Error> {
    let mode = mode.or_else(|| match fields.text("mode").as_deref() {
        Some("running") => Some(RunMode::Running),
        Some("stopped") => Some(RunMode::Stopped),
        Some("asleep") => Some(RunMode::Asleep),
        Some("maintenance") => Some(RunMode::Maintenance),
        _ => {
            fields.fault("mode", "must be running, stopped, asleep or maintenance");
            None
        }
    });
    everyday(fields, app, What::Mode(mode.unwrap_or_default()))
}

fn queue(fields: &mut Fields) -> Queue {
    fields
        .chosen("queue", "wait or supersede")
        .unwrap_or_default()
}

/// Whether only the plan is wanted. Read before the rest: it is no part of the command.
pub(crate) fn dry_run(fields: &mut Fields) -> bool {
    fields.flag("dry_run", false)
}

/// `app` is known already where it is part of the address.
pub(crate) fn validate(mut fields: Fields, app: Option<AppName>) -> Result<Validate, Error> {
    let app = app.or_else(|| fields.required("app_name"));
    let environment = environment(&mut fields);
    let image = fields.parsed::<ImageRef>("image");
    let run_tests = fields.flag("run_tests", true);
    let run_security_scan = fields.flag("run_security_scan", true);
    let Some(app) = app else {
        return Err(fields.into_error());
    };
    fields.finish()?;
    Ok(Validate {
        app,
        environment,
        image,
        run_tests,
        run_security_scan,
    })
}

pub(crate) fn new_app(mut fields: Fields) -> Result<NewApp, Error> {
    let name = fields.required::<AppName>("app_name");
    let defaults = Settings::default();
    let parts = parts(&mut fields);
    let variables = variables(&mut fields, Nulls::Refused);
    let mut settings = Settings {
        container_port: fields
            .number("container_port", 1..=u16::MAX)
            .unwrap_or(defaults.container_port),
        replicas: fields
            .number("replicas", 1..=MAX_REPLICAS)
            .unwrap_or(defaults.replicas),
        health: health(&mut fields).unwrap_or_default(),
        domains: domains(&mut fields).unwrap_or_default(),
        strategy: fields.parsed("strategy").unwrap_or_default(),
        ..defaults
    };
    match settings.check_marks(&variables.set, &variables.marks) {
        Ok(()) => settings.set_variables(&variables.set, &variables.marks),
        Err(faults) => fields.faults(faults),
    }
    let settings = match settings.merged(&parts) {
        Ok(merged) => merged,
        Err(faults) => {
            fields.faults(faults);
            settings
        }
    };
    let Some(name) = name else {
        return Err(fields.into_error());
    };
    fields.finish()?;
    Ok(NewApp { name, settings })
}

pub(crate) fn change_app(mut fields: Fields) -> Result<ChangeApp, Error> {
    let variables = variables(&mut fields, Nulls::Remove);
    let mut remove_env_vars = strings(&mut fields, "remove_env_vars").unwrap_or_default();
    remove_env_vars.extend(variables.remove);
    let change = ChangeApp {
        container_port: fields.number("container_port", 1..=u16::MAX),
        replicas: fields.number("replicas", 1..=MAX_REPLICAS),
        health: health(&mut fields),
        set_env_vars: variables.set,
        marks: variables.marks,
        remove_env_vars,
        domains: domains(&mut fields),
        strategy: fields.parsed("strategy"),
        parts: parts(&mut fields),
        if_version: fields.number("if_version", 1..=u64::MAX),
    };
    fields.finish()?;
    Ok(change)
}

/// `replace`: variables that are not named go.
pub(crate) fn share_variables(mut fields: Fields, replace: bool) -> Result<ShareVariables, Error> {
    let nulls = if replace {
        Nulls::Refused
    } else {
        Nulls::Remove
    };
    let variables = variables(&mut fields, nulls);
    let mut remove = strings(&mut fields, "remove_env_vars").unwrap_or_default();
    remove.extend(variables.remove);
    let change = ShareVariables {
        set: variables.set,
        marks: variables.marks,
        remove,
        replace,
        if_version: fields.number("if_version", 1..=u64::MAX),
    };
    fields.finish()?;
    Ok(change)
}

pub(crate) fn put_credential(mut fields: Fields) -> Result<PutCredential, Error> {
    let kind = fields.required::<CredentialKind>("kind");
    let host = fields.text("host");
    let secret = fields.text("secret");
    for (name, value) in [("host", &host), ("secret", &secret)] {
        if value.is_none() && !fields.has_faults() {
            fields.fault(name, "must be given");
        }
    }
    let username = fields.text("username").unwrap_or_default();
    let known_hosts = fields.text("known_hosts");
    let (Some(kind), Some(host), Some(secret)) = (kind, host, secret) else {
        return Err(fields.into_error());
    };
    fields.finish()?;
    Ok(PutCredential {
        kind,
        host,
        username,
        secret,
        known_hosts,
    })
}

/// `wait_seconds` of the tools and `wait` of the REST addresses.
pub(crate) fn wait_fault(name: &str, seconds: u64) -> Option<Invalid> {
    (seconds > MAX_WAIT_SECONDS).then(|| {
        Invalid::new(
            name,
            format!("must be 0 to {MAX_WAIT_SECONDS}, not {seconds}"),
        )
    })
}

/// Parts of the settings that are changed field by field; see [`Settings::merged`].
fn parts(fields: &mut Fields) -> Map<String, Value> {
    MERGED_PARTS
        .into_iter()
        .filter_map(|part| Some((part.to_owned(), fields.take_nullable(part)?)))
        .collect()
}

/// Production unless another is named; `development` is the long form of `dev`.
fn environment(fields: &mut Fields) -> EnvironmentName {
    environment_at(fields, "environment").unwrap_or_else(EnvironmentName::production)
}

/// `development` is the long form of `dev`.
pub(crate) fn environment_named(text: &str) -> Result<EnvironmentName, Invalid> {
    match text {
        "development" => "dev".parse(),
        text => text.parse(),
    }
}

/// `?environment=`; production unless another is named.
pub(crate) fn environment_or_production(query: &mut Params) -> EnvironmentName {
    environment_of(query).unwrap_or_else(EnvironmentName::production)
}

/// `?environment=`; a fault is noted in `query`.
pub(crate) fn environment_of(query: &mut Params) -> Option<EnvironmentName> {
    let text = query.text("environment")?;
    named_or_fault(&text, |fault| {
        query.fault(Invalid::new("environment", fault.problem));
    })
}

fn named_or_fault(text: &str, on_fault: impl FnOnce(Invalid)) -> Option<EnvironmentName> {
    environment_named(text).map_err(on_fault).ok()
}

/// An environment under another name than `environment`.
pub(crate) fn environment_at(fields: &mut Fields, name: &'static str) -> Option<EnvironmentName> {
    let text = fields.text(name)?;
    named_or_fault(&text, |fault| fields.fault(name, fault.problem))
}

/// `ttl_seconds`: absent leaves it as it is (outer `None`), `null` means for ever.
#[expect(
    clippy::option_option,
    reason = "three things can be wanted: no change, no end, this end"
)]
pub(crate) fn new_ttl(fields: &mut Fields) -> Option<Option<u64>> {
    let value = fields.take_nullable("ttl_seconds")?;
    if value.is_null() {
        return Some(None);
    }
    // Its limits are the platform's to tell.
    let seconds = value.as_u64();
    if seconds.is_none() {
        fields.fault("ttl_seconds", "must be a whole number of seconds, or null");
    }
    seconds.map(Some)
}

/// The rest of the body is what is different from the settings it begins with.
pub(crate) fn new_environment(mut fields: Fields, app: AppName) -> Result<NewEnvironment, Error> {
    let name = environment_at(&mut fields, "name");
    if name.is_none() && !fields.has_fault("name") {
        fields.fault("name", "must be given");
    }
    let from = environment_at(&mut fields, "from");
    let ttl_seconds = new_ttl(&mut fields).flatten();
    let Some(name) = name else {
        return Err(fields.into_error());
    };
    let change = change_app(fields)?;
    Ok(NewEnvironment {
        app,
        name,
        from: from.unwrap_or_else(EnvironmentName::production),
        ttl_seconds,
        change,
    })
}

/// `from` and `to` are what the door calls the two environments.
pub(crate) fn promote(
    mut fields: Fields,
    app: AppName,
    [from, to]: [&'static str; 2],
) -> Result<Promote, Error> {
    let name_of_from = from;
    let from = environment_at(&mut fields, from);
    if from.is_none() && !fields.has_fault(name_of_from) {
        fields.fault(name_of_from, "must be given, such as 'staging'");
    }
    let to = environment_at(&mut fields, to);
    let release = fields.number("release", 1..=u32::MAX);
    let strategy = fields.parsed::<Strategy>("strategy");
    let validation_level = validation_level(&mut fields);
    let auto_rollback = fields.flag("auto_rollback", true);
    let queue = queue(&mut fields);
    let reason = fields.text("reason");
    let idempotency_key = fields.text("idempotency_key");
    let Some(from) = from else {
        return Err(fields.into_error());
    };
    fields.finish()?;
    Ok(Promote {
        app,
        from,
        to: to.unwrap_or_else(EnvironmentName::production),
        release: release.map(ReleaseNo),
        strategy,
        validation_level,
        auto_rollback,
        queue,
        reason,
        idempotency_key,
    })
}

fn validation_level(fields: &mut Fields) -> ValidationLevel {
    fields
        .chosen("validation_level", "none, basic or strict")
        .unwrap_or_default()
}

pub(crate) fn strings(fields: &mut Fields, name: &'static str) -> Option<Vec<String>> {
    let Some(items) = fields.take(name)?.as_array().cloned() else {
        fields.fault(name, "must be a list of strings");
        return None;
    };
    let texts: Option<Vec<String>> = items
        .into_iter()
        .map(|item| item.as_str().map(ToOwned::to_owned))
        .collect();
    if texts.is_none() {
        fields.fault(name, "must be a list of strings");
    }
    texts
}

fn domains(fields: &mut Fields) -> Option<Vec<Hostname>> {
    let mut hosts: Vec<Hostname> = Vec::new();
    for text in strings(fields, "domains")? {
        match text.to_ascii_lowercase().parse() {
            Ok(host) if hosts.contains(&host) => {
                fields.fault("domains", format!("must not name {} twice", quoted(&text)));
            }
            Ok(host) => hosts.push(host),
            Err(Invalid { problem, .. }) => fields.fault("domains", problem),
        }
    }
    Some(hosts)
}

/// `{path, expect_status?}`, `{kind: "tcp"}`, `{kind: "docker"}`, `{kind: "command", command: […]}`,
/// each with `timeout_ms` and
/// `deadline_seconds`; `null` means the default gate. The form that answers show is taken too.
fn health(fields: &mut Fields) -> Option<HealthGate> {
    let object = match fields.take_nullable("health")? {
        Value::Null => return Some(HealthGate::default()),
        Value::Object(object) => flattened(object),
        _ => {
            fields.fault(
                "health",
                "must be an object such as {\"path\": \"/health\"}",
            );
            return None;
        }
    };
    let mut inner = Fields::inner(object, "health.");
    let gate = health_gate(&mut inner);
    fields.faults(inner.into_faults());
    Some(gate)
}

fn flattened(mut object: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(probe)) = object.get("probe").cloned() {
        object.remove("probe");
        object.extend(probe);
    }
    object
}

fn health_gate(fields: &mut Fields) -> HealthGate {
    let defaults = HealthGate::default();
    let path = fields.text("path");
    let expect_status = fields.number("expect_status", 100..=599);
    let kind = fields.text("kind");
    let probe = match (kind.as_deref(), path) {
        (None | Some("http"), Some(path)) => HealthProbe::Http {
            path,
            expect_status,
        },
        (Some("http"), None) => {
            fields.fault("path", "must be given, such as '/health'");
            HealthProbe::Tcp
        }
        (Some("command"), None) => HealthProbe::Command {
            command: strings(fields, "command").unwrap_or_default(),
        },
        (None | Some("tcp"), None) => HealthProbe::Tcp,
        (Some("docker"), None) => HealthProbe::Docker,
        (Some("tcp" | "docker" | "command"), Some(_)) => {
            fields.fault("path", "can only be given for the kind http");
            HealthProbe::Tcp
        }
        (Some(other), _) => {
            fields.fault(
                "kind",
                format!(
                    "must be http, tcp, docker or command, not {}",
                    quoted(other)
                ),
            );
            HealthProbe::Tcp
        }
    };
    if expect_status.is_some() && !matches!(probe, HealthProbe::Http { .. }) {
        fields.fault("expect_status", "can only be given together with path");
    }
    HealthGate {
        probe,
        deadline_seconds: fields
            .number("deadline_seconds", 1..=3_600)
            .unwrap_or(defaults.deadline_seconds),
        timeout_ms: fields
            .number("timeout_ms", 100..=60_000)
            .unwrap_or(defaults.timeout_ms),
        min_healthy_seconds: fields
            .number("min_healthy_seconds", 0..=3_600)
            .unwrap_or(defaults.min_healthy_seconds),
        progress_deadline_seconds: fields.number("progress_deadline_seconds", 1..=86_400),
        start_grace_seconds: fields
            .number("start_grace_seconds", 0..=3_600)
            .unwrap_or(defaults.start_grace_seconds),
        max_restarts: fields
            .number("max_restarts", 0..=100)
            .unwrap_or(defaults.max_restarts),
    }
}

#[cfg(test)]
mod tests {
    use flukedeploy_domain::app::EnvVars;
    use flukedeploy_platform::deployments::Wanted;
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    fn pairs(env_vars: &EnvVars) -> BTreeMap<&str, &str> {
        env_vars
            .0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect()
    }

    fn fields(value: &Value) -> Fields {
        Fields::new(value.as_object().unwrap().clone())
    }

    fn faults<T: std::fmt::Debug>(result: Result<T, Error>) -> Vec<String> {
        result
            .unwrap_err()
            .faults()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_deployment_has_safe_defaults() {
        let cmd = deploy(fields(&json!({"app_name": "shop", "image": "shop:1"}))).unwrap();
        assert_eq!(cmd.environment, EnvironmentName::production());
        assert_eq!(cmd.validation_level, ValidationLevel::Basic);
        assert!(cmd.auto_rollback && !cmd.create);
        assert_eq!(
            (cmd.replicas, cmd.strategy, cmd.container_port),
            (None, None, None)
        );
    }

    #[test]
    fn commands_that_are_printed_show_no_values() {
        let body = json!({"app_name": "shop", "image": "shop:1", "env_vars": {"A": "hunter2"},
            "secret_env_vars": {"B": "hunter2"}, "build": {"secrets": {"C": "hunter2"}}});
        let shown = [
            format!("{:?}", change_app(fields(&body)).unwrap()),
            format!("{:?}", new_app(fields(&body)).unwrap()),
            format!("{:?}", deploy(fields(&body)).unwrap()),
        ];
        for shown in shown {
            assert!(shown.contains("\"B\""), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn all_that_is_wrong_with_a_deployment_is_told_at_once() {
        let body = json!({
            "app_name": "Shop", "replicas": 10_000, "strategy": "yolo", "queue": "jump",
            "validation_level": "extreme", "container_port": 70_000, "env_vars": {"A": 1}
        });
        let found = faults(deploy(fields(&body)));
        for start in [
            "app_name ",
            "image must be given",
            "replicas ",
            "strategy ",
            "queue ",
            "validation_level ",
            "container_port ",
            "env_vars.'A' ",
        ] {
            assert!(
                found.iter().any(|fault| fault.starts_with(start)),
                "{start}: {found:#?}"
            );
        }
        assert_eq!(found.len(), 8, "{found:#?}");
    }

    #[test]
    fn something_to_build_takes_the_place_of_an_image() {
        let git = json!({"repository": "https://git.example.com/shop.git", "reference": "main"});
        for body in [
            json!({"app_name": "shop", "source": {"git": git}, "dockerfile_path": "web/Dockerfile"}),
            json!({"app_name": "shop", "source": {"upload": "up-1770200000000-9f3c1a7e"}}),
            json!({"app_name": "shop", "dockerfile": "FROM scratch"}),
            json!({"app_name": "shop", "definition": {"schemaVersion": 2, "imageName": "a:1"}}),
        ] {
            let cmd = deploy(fields(&body)).unwrap();
            assert!(matches!(cmd.what, Wanted::Build(_)), "{body}");
        }
        let inside = "must be given with a path inside it";
        let both = "cannot be given together";
        for (body, says) in [
            (json!({"dockerfile_path": "Dockerfile"}), inside),
            (json!({"image": "a:1", "dockerfile": "FROM a"}), both),
            (json!({"source": {"git": git, "upload": "up-1-1"}}), both),
            (json!({"source": {}}), "source.git must be given"),
            (
                json!({"source": {"git": {"repository": "--upload-pack=x"}}}),
                "source.git.repository",
            ),
            (
                json!({"source": {"git": git}, "dockerfile_path": "../Dockerfile"}),
                "stay inside",
            ),
        ] {
            let mut body = body;
            body["app_name"] = json!("shop");
            let found = faults(deploy(fields(&body)));
            assert!(
                found.iter().any(|fault| fault.contains(says)),
                "{body}: {found:?}"
            );
        }
    }

    #[test]
    fn variables_come_as_an_object_or_as_a_list_and_are_never_quoted() {
        let list = json!({"app_name": "a", "env_vars": [{"key": "A", "value": "1"}]});
        let object = json!({"app_name": "a", "env_vars": {"A": "1"}});
        for body in [list, object] {
            let new = new_app(fields(&body)).unwrap();
            assert_eq!(pairs(&new.settings.env_vars), BTreeMap::from([("A", "1")]));
        }
        let bad = json!({"app_name": "a", "env_vars": [
            {"key": "A", "value": "hunter2"}, {"key": "A", "value": "hunter2"},
            {"key": "B", "value": ["hunter2"]}, "hunter2"
        ]});
        let found = faults(new_app(fields(&bad)));
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(!found.concat().contains("hunter2"));
    }

    #[test]
    fn a_change_can_remove_variables_by_null_or_by_name() {
        let body = json!({"env_vars": {"A": "1", "B": null}, "remove_env_vars": ["C"]});
        let change = change_app(fields(&body)).unwrap();
        assert_eq!(pairs(&change.set_env_vars), BTreeMap::from([("A", "1")]));
        assert_eq!(change.remove_env_vars, ["C", "B"]);
        assert!(change.health.is_none() && change.domains.is_none());
    }

    #[test]
    fn health_gates_come_in_all_forms() {
        let gate = |value: Value| {
            new_app(fields(&json!({"app_name": "a", "health": value})))
                .map(|new| new.settings.health)
        };
        let http = gate(json!({"path": "/up", "expect_status": 204, "timeout_ms": 500})).unwrap();
        assert_eq!(
            http.probe,
            HealthProbe::Http {
                path: "/up".to_owned(),
                expect_status: Some(204)
            }
        );
        assert_eq!((http.timeout_ms, http.deadline_seconds), (500, 60));
        assert_eq!(
            gate(json!({"kind": "tcp"})).unwrap().probe,
            HealthProbe::Tcp
        );
        assert_eq!(
            gate(json!({"kind": "docker"})).unwrap().probe,
            HealthProbe::Docker
        );
        assert_eq!(gate(Value::Null).unwrap(), HealthGate::default());
        let shown = serde_json::to_value(&http).unwrap();
        assert_eq!(gate(shown).unwrap(), http);

        assert_eq!(
            faults(gate(json!({"kind": "http"}))),
            ["health.path must be given, such as '/health'"]
        );
        assert_eq!(
            faults(gate(json!({"pth": "/up"}))),
            ["health.pth is not known here; did you mean 'path'?"]
        );
        assert_eq!(faults(gate(json!("/up"))).len(), 1);
    }

    #[test]
    fn a_rollback_goes_to_the_previous_release_unless_told_otherwise() {
        let to =
            |body: Value| rollback(fields(&body), Some("shop".parse().unwrap())).map(|cmd| cmd.to);
        assert_eq!(to(json!({})).unwrap(), RollbackTarget::Previous);
        assert_eq!(
            to(json!({"release": 3})).unwrap(),
            RollbackTarget::Release(ReleaseNo(3))
        );
        assert_eq!(
            to(json!({"version": "v1"})).unwrap(),
            RollbackTarget::Version("v1".to_owned())
        );
        assert_eq!(faults(to(json!({"release": 3, "version": "v1"}))).len(), 1);
    }

    #[test]
    fn domains_are_lower_case_and_named_once() {
        let body = json!({"app_name": "a", "domains": ["Shop.Example.com"]});
        assert_eq!(
            new_app(fields(&body)).unwrap().settings.domains[0].as_str(),
            "shop.example.com"
        );
        let bad = json!({"app_name": "a", "domains": ["a.b", "A.b", "-x", ""]});
        assert_eq!(faults(new_app(fields(&bad))).len(), 3);
    }
}
