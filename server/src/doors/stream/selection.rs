//! Which entries a client wants: from the address first, then from its messages.

use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_domain::log_query::TextQuery;
use flukedeploy_domain::names::{Invalid, quoted};
use flukedeploy_platform::follow::{Since, Start};
use serde_json::{Map, Value};

use crate::doors::fields::Fields;
use crate::doors::query::Params;

/// Most stored entries sent before the live ones.
pub(super) const MAX_TAIL: u32 = 1_000;
/// Longest value of a filter, in bytes.
const MAX_VALUE: usize = 128;

/// A filter, and with which stored entries to begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) filter: LogFilter,
    /// `q`, the rule by which stored entries are searched; an addition to the contract.
    pub(super) text: Option<TextQuery>,
    pub(super) start: Start,
}

impl Selection {
    /// # Errors
    /// Parameters that are unknown or cannot be read.
    pub(super) fn of_query(mut query: Params) -> Result<Self, Vec<Invalid>> {
        let mut object: Map<String, Value> = NAMES
            .iter()
            .filter_map(|&name| Some((name.to_owned(), Value::String(query.text(name)?))))
            .collect();
        if let Some(release) = query.number::<u32>("release") {
            object.insert("release".to_owned(), release.into());
        }
        let tail = query.number::<u32>("tail").unwrap_or(0);
        let since = query.parsed::<Since>("since");
        let others: Vec<String> = query.others().map(ToOwned::to_owned).collect();
        for name in others {
            query.fault(unknown(&name));
        }
        let mut faults = query.into_faults();
        faults.extend(tail_fault(tail));
        let start = start(tail, since, &mut faults);
        match read_filter(object) {
            Ok((filter, text)) if faults.is_empty() => Ok(Self {
                filter,
                text,
                start,
            }),
            Ok(_) => Err(faults),
            Err(more) => {
                faults.extend(more);
                Err(faults)
            }
        }
    }

    /// The filter as clients are told of it.
    pub(super) fn told(&self) -> Value {
        let mut told = serde_json::to_value(&self.filter).unwrap_or_default();
        if let (Some(text), Value::Object(told)) = (&self.text, &mut told) {
            told.insert("q".to_owned(), text.as_str().into());
        }
        told
    }

    /// Of a `subscribe` message; no filter at all means every entry.
    ///
    /// # Errors
    /// Keys that are unknown or values that cannot be read.
    pub(super) fn of_message(mut message: Map<String, Value>) -> Result<Self, Vec<Invalid>> {
        let (filter, text) = match message.remove("filter") {
            None | Some(Value::Null) => Default::default(),
            Some(Value::Object(object)) => read_filter(object)?,
            Some(_) => return Err(vec![Invalid::new("filter", "must be an object")]),
        };
        let mut rest = Fields::new(message);
        let tail = rest.number("tail", 0..=MAX_TAIL).unwrap_or(0);
        let since = rest.parsed::<Since>("since");
        let mut faults = rest.into_faults();
        let start = start(tail, since, &mut faults);
        if faults.is_empty() {
            Ok(Self {
                filter,
                text,
                start,
            })
        } else {
            Err(faults)
        }
    }
}

fn start(tail: u32, since: Option<Since>, faults: &mut Vec<Invalid>) -> Start {
    match since {
        Some(_) if tail > 0 => {
            faults.push(Invalid::new("tail", "does not go with 'since'"));
            Start::Now
        }
        Some(since) => Start::Since(since),
        None => Start::Tail(tail),
    }
}

/// What a filter can ask for, beside `release`, which is a number.
const NAMES: [&str; 11] = [
    "app_name",
    "deployment_id",
    "level",
    "event_type",
    "min_level",
    "environment",
    "task_id",
    "node_id",
    "stream",
    "source_type",
    "q",
];

/// An empty value means no filter, as the contract has it.
fn read_filter(
    mut object: Map<String, Value>,
) -> Result<(LogFilter, Option<TextQuery>), Vec<Invalid>> {
    object.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    // A query has a limit of its own.
    let is_long = |name: &str, value: &Value| {
        name != "q" && value.as_str().is_some_and(|text| text.len() > MAX_VALUE)
    };
    if object.iter().any(|(name, value)| is_long(name, value)) {
        let problem = format!("has a value of more than {MAX_VALUE} bytes");
        return Err(vec![Invalid::new("filter", problem)]);
    }
    let mut fields = Fields::inner(object, "");
    let filter = LogFilter {
        app_name: fields.text("app_name"),
        deployment_id: fields.text("deployment_id"),
        level: fields.parsed("level"),
        event_type: fields.parsed("event_type"),
        min_level: fields.parsed("min_level"),
        environment: fields.text("environment"),
        release: fields.number("release", 0..=u32::MAX),
        task_id: fields.text("task_id"),
        node_id: fields.text("node_id"),
        stream: fields.text("stream"),
        source_type: fields.parsed("source_type"),
    };
    let text = fields.parsed("q");
    let faults = fields.into_faults();
    if faults.is_empty() {
        Ok((filter, text))
    } else {
        Err(faults)
    }
}

fn unknown(name: &str) -> Invalid {
    if matches!(name, "token" | "access_token" | "auth") {
        // Addresses end up in logs and histories.
        return Invalid::new(
            name,
            "must not be part of the address; send the header 'Authorization: Bearer <token>' or \
             the message {\"action\":\"auth\",\"token\":\"…\"}",
        );
    }
    Invalid::new(quoted(name), "is not known here")
}

fn tail_fault(tail: u32) -> Option<Invalid> {
    (tail > MAX_TAIL).then(|| Invalid::new("tail", format!("must be 0 to {MAX_TAIL}, not {tail}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flukedeploy_domain::log_entry::Level;
    use serde_json::json;

    fn query(text: &str) -> Result<Selection, Vec<Invalid>> {
        Selection::of_query(Params::of(&format!("/?{text}").parse().unwrap()).unwrap())
    }

    fn message(value: &Value) -> Result<Selection, Vec<Invalid>> {
        Selection::of_message(value.as_object().unwrap().clone())
    }

    #[test]
    fn the_address_sets_the_first_filter() {
        let selection = query("app_name=shop&level=&min_level=warn&tail=50").unwrap();
        assert_eq!(selection.filter.app_name.as_deref(), Some("shop"));
        assert_eq!(selection.filter.level, None);
        assert_eq!(selection.filter.min_level, Some(Level::Warn));
        assert_eq!(selection.start, Start::Tail(50));
        assert_eq!(query("").unwrap().filter, LogFilter::default());
        let since = query("since=2026-02-04T10%3A13%3A20Z&release=7&stream=stderr").unwrap();
        assert!(matches!(since.start, Start::Since(Since::Time(_))));
        assert_eq!(since.filter.release, Some(7));
        assert_eq!(since.filter.stream.as_deref(), Some("stderr"));

        let searched = query("environment=staging&release=7&q=%22a+b%22+-c").unwrap();
        let text = searched.text.as_ref().unwrap();
        assert!(text.matches("a b") && !text.matches("a b c"));
        let told = json!({"environment": "staging", "release": 7, "q": "\"a b\" -c"});
        assert_eq!(searched.told(), told);
        assert_eq!(message(&json!({"filter": told})).unwrap(), searched);
        assert_eq!(query("q=/(/").unwrap_err().len(), 1);
    }

    #[test]
    fn what_is_unknown_is_refused_and_a_token_in_the_address_is_not_repeated() {
        assert_eq!(query("app=shop&level=loud&tail=5000").unwrap_err().len(), 3);
        for bad in [
            "since=yesterday",
            "since=2026-02-04T10:13:20Z&tail=5",
            "release=x",
        ] {
            assert_eq!(query(bad).unwrap_err().len(), 1, "{bad}");
        }
        let long = format!("app_name={}", "x".repeat(MAX_VALUE + 1));
        assert_eq!(query(&long).unwrap_err().len(), 1);
        let faults = query("token=fd_secret_secret").unwrap_err();
        assert!(
            !faults[0].to_string().contains("fd_secret"),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn a_message_replaces_the_whole_filter() {
        let set = message(&json!({"filter": {"app_name": "shop", "level": "error"}, "tail": 5}));
        assert_eq!(set.unwrap().start, Start::Tail(5));
        let id = "dep-1770200000123-k3v9x2qpa";
        let since = message(&json!({"since": id})).unwrap();
        assert_eq!(since.start, Start::Since(Since::Entry(id.to_owned())));
        assert!(message(&json!({"since": 5})).is_err());
        for empty in [json!({}), json!({"filter": {"level": ""}})] {
            assert_eq!(message(&empty).unwrap().filter, LogFilter::default());
        }
        let typo = message(&json!({"filter": {"app": "shop", "levl": "info"}})).unwrap_err();
        assert_eq!(typo.len(), 2, "{typo:?}");
        assert!(message(&json!({"filter": "shop"})).is_err());
        assert!(message(&json!({"filter": {"level": 5}})).is_err());
    }
}
