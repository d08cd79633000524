//! Tokens and grants as callers send them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flukedeploy_domain::access::{Limits, Role, Subject, Target, Tier};
use flukedeploy_domain::names::{AppName, EnvironmentName, Invalid, ProjectName, quoted};
use flukedeploy_domain::timestamp;
use flukedeploy_platform::Error;
use flukedeploy_platform::grants::NewGrant;
use flukedeploy_platform::tokens::{CreateToken, Only};
use ipnet::IpNet;

use super::fields::Fields;
use super::requests::strings;

const ROLES: &str = "viewer, deployer or maintainer";

/// `apps`, `projects` and `environments` narrow it; without the first two it may act wherever its
/// maker may. The smallest tier unless more is asked for.
pub(crate) fn create_token(mut fields: Fields) -> Result<CreateToken, Error> {
    let name = fields.text("name");
    if name.is_none() {
        fields.fault("name", "must be given");
    }
    let persona = fields.text("persona");
    let tier = fields.chosen::<Tier>("tier", "extended, advanced or admin");
    let expires_at = fields.text("expires_at").and_then(|text| {
        let at = timestamp::from_wire(&text).ok();
        if at.is_none() {
            fields.fault("expires_at", "must be a time like '2030-01-31T12:00:00Z'");
        }
        at
    });
    let apps = names::<AppName>(&mut fields, "apps");
    let projects = names::<ProjectName>(&mut fields, "projects");
    let environments = environments(&mut fields);
    let role = fields.chosen::<Role>("role", ROLES);
    let limits = Limits {
        addresses: addresses(&mut fields),
        requests_per_minute: fields.number("requests_per_minute", 1..=1_000_000),
        deploys_per_hour: fields.number("deploys_per_hour", 1..=1_000_000),
        deploys_per_day: fields.number("deploys_per_day", 1..=1_000_000),
    };
    let is_narrowed = apps.is_some() || projects.is_some();
    if !is_narrowed {
        for (name, is_given) in [
            ("environments", environments.is_some()),
            ("role", role.is_some()),
        ] {
            if is_given {
                fields.fault(name, "needs 'apps' or 'projects' beside it");
            }
        }
    }
    let Some(name) = name else {
        return Err(fields.into_error());
    };
    fields.finish()?;
    let apps = apps.unwrap_or_default().into_iter().map(Target::App);
    let projects = projects.unwrap_or_default().into_iter();
    let only = is_narrowed.then(|| Only {
        targets: apps.chain(projects.map(Target::Project)).collect(),
        role: role.unwrap_or(Role::Maintainer),
        environments,
    });
    Ok(CreateToken {
        name,
        persona,
        tier: tier.unwrap_or(Tier::Extended),
        expires_at,
        only,
        limits,
    })
}

/// How long the old token stays good, in seconds; not at all by default.
pub(crate) fn rotate_token(mut fields: Fields) -> Result<u64, Error> {
    let overlap = fields.number("overlap_seconds", 0..=u64::MAX);
    fields.finish()?;
    Ok(overlap.unwrap_or(0))
}

/// One of `account` and `token`, and one of `app` and `project`.
pub(crate) fn new_grant(mut fields: Fields) -> Result<NewGrant, Error> {
    let account = fields.text("account").map(Subject::Account);
    let token = fields.text("token").map(Subject::Token);
    let app = fields.parsed::<AppName>("app").map(Target::App);
    let project = fields.parsed::<ProjectName>("project").map(Target::Project);
    let role = fields.chosen::<Role>("role", ROLES);
    let environments = environments(&mut fields);
    if account.is_some() == token.is_some() && !fields.has_faults() {
        fields.fault("account", "or 'token' must be given, and not both");
    }
    if app.is_some() == project.is_some() && !fields.has_faults() {
        fields.fault("app", "or 'project' must be given, and not both");
    }
    if role.is_none() && !fields.has_faults() {
        fields.fault("role", format!("must be given: {ROLES}"));
    }
    match (account.or(token), app.or(project), role) {
        (Some(subject), Some(target), Some(role)) => {
            fields.finish()?;
            Ok(NewGrant {
                subject,
                target,
                role,
                environments,
            })
        }
        _ => Err(fields.into_error()),
    }
}

/// The project an app is to be in; null takes it out.
pub(crate) fn project(mut fields: Fields) -> Result<Option<ProjectName>, Error> {
    let wanted = match fields.take_nullable("project") {
        None => {
            fields.fault("project", "must be given: a name, or null for none");
            None
        }
        Some(value) if value.is_null() => None,
        Some(value) => match value.as_str().map(str::parse::<ProjectName>) {
            Some(Ok(name)) => Some(name),
            Some(Err(fault)) => {
                fields.fault("project", fault.problem);
                None
            }
            None => {
                fields.fault("project", "must be a name, or null for none");
                None
            }
        },
    };
    fields.finish()?;
    Ok(wanted)
}

fn names<T: std::str::FromStr<Err = Invalid>>(
    fields: &mut Fields,
    name: &'static str,
) -> Option<Vec<T>> {
    let texts = strings(fields, name)?;
    let mut parsed = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse::<T>() {
            Ok(one) => parsed.push(one),
            Err(fault) => fields.fault(name, fault.problem),
        }
    }
    Some(parsed)
}

fn environments(fields: &mut Fields) -> Option<BTreeSet<EnvironmentName>> {
    let names = names::<EnvironmentName>(fields, "environments")?;
    Some(names.into_iter().collect())
}

/// Single addresses or networks.
fn addresses(fields: &mut Fields) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for text in strings(fields, "addresses").unwrap_or_default() {
        let network = text.parse::<IpNet>();
        match network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => fields.fault(
                "addresses",
                format!(
                    "must hold addresses or networks such as 10.0.0.0/8, not {}",
                    quoted(&text)
                ),
            ),
        }
    }
    networks
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fields(value: Value) -> Fields {
        match value {
            Value::Object(object) => Fields::new(object),
            _ => panic!("an object"),
        }
    }

    fn faults<T: std::fmt::Debug>(result: Result<T, Error>) -> Vec<String> {
        let error = result.unwrap_err();
        error.faults().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_token_is_a_reading_one_unless_more_is_asked_for() {
        let token = create_token(fields(json!({"name": "ci"}))).unwrap();
        assert_eq!(token.tier, Tier::Extended);
        assert!(token.only.is_none());
        let bad = json!({"tier": "root", "expires_at": "tomorrow"});
        assert_eq!(faults(create_token(fields(bad))).len(), 3);
    }

    #[test]
    fn a_token_is_narrowed_to_what_is_named() {
        let body = json!({
            "name": "ci", "tier": "advanced", "apps": ["shop"], "projects": ["office"],
            "environments": ["staging"], "role": "deployer",
            "addresses": ["10.1.2.3/8", "::1"], "deploys_per_hour": 3,
        });
        let token = create_token(fields(body)).unwrap();
        let only = token.only.unwrap();
        let targets: Vec<String> = only.targets.iter().map(ToString::to_string).collect();
        assert_eq!(targets, ["app shop", "project office"]);
        assert_eq!(
            (only.role, only.environments.unwrap().len()),
            (Role::Deployer, 1)
        );
        assert_eq!(token.limits.addresses[0].to_string(), "10.0.0.0/8");
        for bad in [
            json!({"name": "ci", "environments": ["staging"]}),
            json!({"name": "ci", "apps": ["No"]}),
            json!({"name": "ci", "apps": "shop"}),
            json!({"name": "ci", "addresses": ["here"]}),
            json!({"name": "ci", "deploys_per_hour": 0}),
        ] {
            assert_eq!(faults(create_token(fields(bad.clone()))).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_grant_is_somebodys_and_somewhere() {
        let good = json!({"account": "a1", "app": "shop", "role": "viewer"});
        assert!(new_grant(fields(good)).is_ok());
        for bad in [
            json!({"account": "a1", "token": "t1", "app": "shop", "role": "viewer"}),
            json!({"account": "a1", "role": "viewer"}),
            json!({"account": "a1", "app": "shop", "role": "king"}),
            json!({"account": "a1", "app": "shop"}),
        ] {
            assert_eq!(faults(new_grant(fields(bad.clone()))).len(), 1, "{bad}");
        }
    }
}
