//! `/flukebase`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flukedeploy_domain::flukebase::{Binding, FlukebaseUrl, ProjectId};
use flukedeploy_domain::names::{AppName, Invalid};
use flukedeploy_platform::flukebase::{
    BindingChange, ChangeFlukebase, FlukebaseView, change_flukebase, view_flukebase,
};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Platform};
use serde_json::Value;

use crate::doors::auth::Caller;
use crate::doors::body::JsonBody;
use crate::doors::fields::Fields;
use crate::doors::problem::Problem;

/// Longest `owner/repo`, in bytes.
const MAX_REPOSITORY: usize = 300;

pub(super) async fn show(
    State(px): State<Platform>,
    Caller(actor): Caller,
) -> Result<Json<FlukebaseView>, Problem> {
    Ok(Json(view_flukebase(&px, &actor).await?))
}

pub(super) async fn put(
    State(px): State<Platform>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<FlukebaseView>, Problem> {
    let cmd = change(body)?;
    Ok(Json(change_flukebase(&px, &actor, cmd).await?))
}

fn change(mut fields: Fields) -> Result<ChangeFlukebase, Error> {
    let cmd = ChangeFlukebase {
        active: fields.optional_flag("active"),
        url: nullable(&mut fields, "url", |value| {
            text_of(value)?.parse::<FlukebaseUrl>()
        }),
        token: nullable(&mut fields, "token", |value| {
            text_of(value).map(Secret::new)
        }),
        default_project: nullable(&mut fields, "default_project", project_of),
        bindings: bindings(&mut fields),
    };
    fields.finish()?;
    Ok(cmd)
}

/// `null` goes back to what is configured.
#[expect(
    clippy::option_option,
    reason = "absent, null and a value are three things"
)]
fn nullable<T>(
    fields: &mut Fields,
    name: &'static str,
    read: impl FnOnce(&Value) -> Result<T, Invalid>,
) -> Option<Option<T>> {
    let value = fields.take_nullable(name)?;
    if value.is_null() {
        return Some(None);
    }
    match read(&value) {
        Ok(value) => Some(Some(value)),
        Err(fault) => {
            fields.fault(name, fault.problem);
            None
        }
    }
}

/// Never quotes what was sent: it may be a token.
fn text_of(value: &Value) -> Result<&str, Invalid> {
    value
        .as_str()
        .ok_or_else(|| Invalid::new("", "must be a string or null"))
}

fn project_of(value: &Value) -> Result<ProjectId, Invalid> {
    let number = value.as_i64();
    number.map_or_else(
        || Err(Invalid::new("", "must be a number from 1 on")),
        ProjectId::new,
    )
}

fn bindings(fields: &mut Fields) -> BTreeMap<AppName, BindingChange> {
    let mut found = BTreeMap::new();
    let Some(value) = fields.take("bindings") else {
        return found;
    };
    let Value::Object(object) = value else {
        fields.fault("bindings", "must be an object with a field for each app");
        return found;
    };
    for (app, value) in object {
        let read = || Ok((app.parse::<AppName>()?, binding(value)?));
        match read() {
            Ok((app, binding)) => {
                found.insert(app, binding);
            }
            Err(Invalid { problem, .. }) => fields.fault("bindings", problem),
        }
    }
    found
}

/// `null`, a project's number, or an object.
fn binding(value: Value) -> Result<BindingChange, Invalid> {
    let mut object = match value {
        Value::Null => return Ok(BindingChange::Untie),
        Value::Object(object) => object,
        number => {
            return Ok(BindingChange::Project(Binding {
                project_id: project_of(&number)?,
                variables: false,
            }));
        }
    };
    let fault = |problem: &str| Err(Invalid::new("", problem));
    let variables = match object.remove("variables") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(variables)) => variables,
        Some(_) => return fault("'variables' must be true or false"),
    };
    let (project, repository) = (object.remove("project_id"), object.remove("repository"));
    if !object.is_empty() {
        return fault("may hold project_id or repository, and variables");
    }
    match (project, repository) {
        (Some(project), None) => Ok(BindingChange::Project(Binding {
            project_id: project_of(&project)?,
            variables,
        })),
        (None, Some(Value::String(repository)))
            if (3..=MAX_REPOSITORY).contains(&repository.len())
                && repository.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            Ok(BindingChange::Repository {
                repository,
                variables,
            })
        }
        _ => fault("must hold either project_id, a number, or repository, as in 'owner/repo'"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<ChangeFlukebase, Error> {
        match body {
            Value::Object(object) => change(Fields::new(object)),
            _ => unreachable!("an object"),
        }
    }

    #[test]
    fn absent_null_and_a_value_are_three_things() {
        let cmd = read(json!({"url": null, "token": "fbk_12345678", "default_project": 7}));
        let cmd = cmd.unwrap();
        assert_eq!((cmd.active, cmd.url), (None, Some(None)));
        assert_eq!(cmd.token.unwrap().unwrap().expose(), "fbk_12345678");
        assert_eq!(cmd.default_project.unwrap().unwrap().number(), 7);
    }

    #[test]
    fn an_app_is_bound_by_number_by_repository_or_not_at_all() {
        let cmd = read(json!({"bindings": {
            "shop": 7, "blog": {"repository": "acme/blog", "variables": true}, "old": null,
        }}));
        let bindings = cmd.unwrap().bindings;
        let number = ProjectId::new(7).unwrap();
        assert_eq!(
            bindings[&"shop".parse().unwrap()],
            BindingChange::Project(Binding {
                project_id: number,
                variables: false
            })
        );
        assert_eq!(bindings[&"old".parse().unwrap()], BindingChange::Untie);
        assert!(matches!(
            &bindings[&"blog".parse().unwrap()],
            BindingChange::Repository { repository, variables: true } if repository == "acme/blog"
        ));
    }

    #[test]
    fn faults_are_named_and_no_token_is_quoted() {
        for (body, field) in [
            (json!({"token": ["fbk_canary"]}), "token"),
            (json!({"url": "http://flukebase.me"}), "url"),
            (json!({"default_project": 0}), "default_project"),
            (json!({"bindings": {"shop": "seven"}}), "bindings"),
            (
                json!({"bindings": {"shop": {"project_id": 1, "repository": "a/b"}}}),
                "bindings",
            ),
            (
                json!({"bindings": {"shop": {"project_id": 1, "more": 1}}}),
                "bindings",
            ),
            (json!({"bindings": ["shop"]}), "bindings"),
        ] {
            let Err(Error::Invalid(faults)) = read(body.clone()) else {
                panic!("{body}")
            };
            assert!(
                faults.iter().any(|fault| fault.field == field),
                "{faults:?}"
            );
            assert!(!format!("{faults:?}").contains("canary"));
        }
    }
}
