//! Reads what the other side says, field by field. What is missing or of another kind is left out.

use std::collections::BTreeSet;

use flukedeploy_domain::diagnosis::tame;
use flukedeploy_domain::flukebase::{ProjectId, RemoteTask, RemoteVariable, TaskStatus};
use flukedeploy_platform::ports::{RemoteProject, TokenFacts};
use serde_json::Value;

/// Entries of any list that are read.
const MAX_LIST: usize = 1_000;

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str()
}

fn strings(value: &Value, field: &str) -> BTreeSet<String> {
    let list = value.get(field).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|text| text.len() <= 256)
        .take(MAX_LIST)
        .map(str::to_owned)
        .collect()
}

/// `None`: this is no task.
pub(crate) fn task(value: &Value) -> Option<RemoteTask> {
    let task_id = text(value, "task_id")?.to_owned();
    let status = match text(value, "status")? {
        "pending" => Some(TaskStatus::Pending),
        "in_progress" => Some(TaskStatus::InProgress),
        "completed" => Some(TaskStatus::Completed),
        "blocked" => Some(TaskStatus::Blocked),
        _ => None,
    };
    Some(RemoteTask {
        task_id,
        status,
        version: value.get("version").and_then(Value::as_i64).unwrap_or(0),
        tags: strings(value, "tags"),
        report: text(value, "synthesis_report")
            .unwrap_or_default()
            .to_owned(),
        artifact_path: text(value, "artifact_path").map(str::to_owned),
        remote_url: text(value, "remote_url").map(str::to_owned),
    })
}

/// In today's form, where the facts are nested, or in the documented flat one. `None`: the token is
/// not said to be valid.
pub(crate) fn token(value: &Value) -> Option<TokenFacts> {
    if value.get("valid") != Some(&Value::Bool(true)) {
        return None;
    }
    let facts = value.get("token").filter(|token| token.is_object());
    let facts = facts.unwrap_or(value);
    let shown = |field| text(facts, field).map(|text| tame(text, 100));
    Some(TokenFacts {
        prefix: shown("prefix").unwrap_or_default(),
        name: shown("name").unwrap_or_default(),
        scopes: strings(facts, "scopes"),
        expires_at: shown("expires_at"),
    })
}

pub(crate) fn project(value: &Value) -> Option<RemoteProject> {
    Some(RemoteProject {
        id: ProjectId::new(value.get("id")?.as_i64()?).ok()?,
        name: tame(text(value, "name").unwrap_or_default(), 100),
    })
}

/// `None`: there is no list. What in it is no variable is left out.
pub(crate) fn variables(value: &Value) -> Option<Vec<RemoteVariable>> {
    let list = value.get("variables")?.as_array()?;
    let read = |one: &Value| {
        let key = text(one, "key").filter(|key| key.len() <= 256)?;
        let flag = |field: &str| one.get(field).and_then(Value::as_bool);
        Some(RemoteVariable {
            key: key.to_owned(),
            value: text(one, "value").map(str::to_owned),
            // What does not say that it is open is a secret.
            is_secret: flag("is_secret").unwrap_or(true),
            is_required: flag("is_required").unwrap_or(false),
        })
    };
    Some(list.iter().filter_map(read).take(MAX_LIST).collect())
}

/// The id under which an agent's heart beats; ours if it names none that fits into an address.
pub(crate) fn agent_id(value: &Value) -> Option<String> {
    let agent = value.get("agent")?;
    let id = match agent.get("id")? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (!id.is_empty() && id.len() <= 64 && id.bytes().all(plain)).then_some(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_of_a_token_are_read() {
        let nested = json!({"valid": true, "token": {"prefix": "fbk_abcd", "scopes": ["*"]}});
        let flat = json!({"valid": true, "prefix": "fbk_abcd", "scopes": ["*"]});
        assert_eq!(token(&nested), token(&flat));
        assert_eq!(token(&nested).unwrap().prefix, "fbk_abcd");
        for not in [json!({}), json!({"valid": "yes"}), json!([true])] {
            assert_eq!(token(&not), None);
        }
    }

    #[test]
    fn nonsense_is_left_out() {
        let value = json!({"variables": [
            {"key": "A", "value": "1", "is_secret": false},
            {"key": 7, "value": "1"}, "B", null, {"key": "C", "value": {"x": 1}},
        ]});
        let found = variables(&value).unwrap();
        assert_eq!(found.len(), 2);
        assert!(!found[0].is_secret && found[1].is_secret);
        assert_eq!(found[1].value, None);
        assert_eq!(variables(&json!({"variables": "none"})), None);
        assert_eq!(task(&json!({"task_id": 7, "status": "pending"})), None);
        assert_eq!(
            task(&json!({"task_id": "x", "status": "odd"}))
                .unwrap()
                .status,
            None
        );
        assert_eq!(agent_id(&json!({"agent": {"id": "../../users"}})), None);
        assert_eq!(agent_id(&json!({"agent": {"id": 12}})).unwrap(), "12");
    }
}
