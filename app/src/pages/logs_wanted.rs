//! What the address of a log page asks for, and addresses that ask for a little more or less.

use std::time::Duration;

use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::log_entry::{Level, LogFilter};
use flukedeploy_domain::log_query::TextQuery;
use flukedeploy_domain::names::{AppName, EnvironmentName, Invalid, quoted};
use flukedeploy_domain::timestamp;
use flukedeploy_platform::Error;
use flukedeploy_platform::logs::{ReadLogs, parse_cursor};
use flukedeploy_platform::ports::{Cursor, Order};
use time::OffsetDateTime;
use time::macros::format_description;

use super::query;
use crate::forms::Typed;
use crate::paths;

/// Lines of one page.
pub(super) const LINES: u32 = 200;
/// Neighbours on each side of a line that is linked to, unless the address says otherwise.
pub(super) const NEIGHBOURS: usize = 20;
/// Most of them.
const MOST_NEIGHBOURS: usize = 100;
/// How long the search for a page's lines may take. What it has found by then is shown.
const BUDGET: Duration = Duration::from_secs(4);

/// In the order in which addresses have them.
const NAMES: [&str; 11] = [
    "app",
    "q",
    "level",
    "environment",
    "release",
    "replica",
    "stream",
    "deployment",
    "range",
    "since",
    "until",
];

/// A stretch of time that ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recent {
    pub(super) value: &'static str,
    pub(super) word: &'static str,
    /// In a sentence: "in the last hour".
    pub(super) said: &'static str,
    /// Seconds; `None`: everything.
    pub(super) seconds: Option<i64>,
}

pub(super) const RECENT: [Recent; 5] = [
    Recent {
        value: "15m",
        word: "15 min",
        said: "in the last 15 minutes",
        seconds: Some(900),
    },
    Recent {
        value: "1h",
        word: "1 h",
        said: "in the last hour",
        seconds: Some(3_600),
    },
    Recent {
        value: "24h",
        word: "24 h",
        said: "in the last 24 hours",
        seconds: Some(86_400),
    },
    Recent {
        value: "7d",
        word: "7 days",
        said: "in the last 7 days",
        seconds: Some(604_800),
    },
    EVERYTHING,
];
const EVERYTHING: Recent = Recent {
    value: "all",
    word: "All",
    said: "",
    seconds: None,
};

/// Where the page stands among the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Newest,
    Before(Cursor),
    After(Cursor),
}

/// Everything that the address says, each value read, and what could not be read.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    path: String,
    params: Vec<(&'static str, String)>,
    /// The page is of this app alone.
    pub(super) is_of_app: bool,
    pub(super) app: Option<AppName>,
    pub(super) text: Option<TextQuery>,
    pub(super) level: Option<Level>,
    pub(super) environment: Option<EnvironmentName>,
    pub(super) release: Option<u32>,
    pub(super) replica: Option<String>,
    pub(super) stream: Option<String>,
    pub(super) deployment: Option<DeploymentId>,
    pub(super) recent: Recent,
    pub(super) since: Option<OffsetDateTime>,
    pub(super) until: Option<OffsetDateTime>,
    pub(super) place: Place,
    /// The line that is linked to, and how many neighbours.
    pub(super) around: Option<(String, usize)>,
    faults: Vec<Invalid>,
}

impl Wanted {
    /// Of the page that is rendered: of one app, or of all. Before the page's first `await`.
    pub(super) fn take(app: Option<&AppName>) -> Self {
        Self::read(app, query)
    }

    fn read(of: Option<&AppName>, ask: impl Fn(&str) -> Option<String>) -> Self {
        let mut faults = Vec::new();
        let mut params: Vec<_> = NAMES
            .into_iter()
            .filter(|name| of.is_none() || *name != "app")
            .filter_map(|name| Some((name, ask(name)?.trim().to_owned())))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let get = |name: &str| params.iter().find(|(known, _)| *known == name);
        let get = |name: &str| get(name).map(|(_, value)| value.as_str());
        let text = get("q").and_then(|text| note(&mut faults, "q", text.parse()));
        let level = get("level").and_then(|level| note(&mut faults, "level", level.parse()));
        let environment =
            get("environment").and_then(|name| note(&mut faults, "environment", name.parse()));
        let app = get("app").and_then(|name| note(&mut faults, "app", name.parse()));
        let release = get("release").and_then(|number| {
            let read = number
                .parse()
                .map_err(|_| Invalid::new("release", "must be a whole number"));
            note(&mut faults, "release", read)
        });
        let since =
            get("since").and_then(|time| note(&mut faults, "since", instant("since", time)));
        let until =
            get("until").and_then(|time| note(&mut faults, "until", instant("until", time)));
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            faults.push(Invalid::new("until", "must be later than the beginning"));
        }
        let deployment = get("deployment").and_then(|id| id.parse::<DeploymentId>().ok());
        let replica = get("replica").map(ToOwned::to_owned);
        let stream = get("stream").map(ToOwned::to_owned);
        // All lines of a deployment belong to its story, however long ago it was.
        let usual = if deployment.is_some() { "all" } else { "24h" };
        let range = get("range").unwrap_or(usual);
        let recent = RECENT.into_iter().find(|recent| recent.value == range);
        let cursor = |name| ask(name).and_then(|text| parse_cursor(&text).ok());
        let place = match (cursor("before"), cursor("after")) {
            (Some(cursor), _) => Place::Before(cursor),
            (None, Some(cursor)) => Place::After(cursor),
            (None, None) => Place::Newest,
        };
        let around = ask("id").map(|id| {
            let count = ask("context").and_then(|count| count.parse().ok());
            (id, count.unwrap_or(NEIGHBOURS).min(MOST_NEIGHBOURS))
        });
        if deployment.is_none() {
            params.retain(|(name, _)| *name != "deployment");
        }
        Self {
            path: of.map_or_else(|| paths::LOGS.to_owned(), paths::logs),
            is_of_app: of.is_some(),
            app: of.cloned().or(app),
            text,
            level,
            environment,
            release,
            replica,
            stream,
            deployment,
            recent: recent.unwrap_or(EVERYTHING),
            since,
            until,
            place,
            around,
            params,
            faults,
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Nothing was searched: something in the address cannot be read.
    pub(super) fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// The ends of the time are named, not counted from now.
    pub(super) fn has_ends(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Something but the time narrows it.
    pub(super) fn is_narrowed(&self) -> bool {
        let time = ["range", "since", "until", "environment"];
        self.params.iter().any(|(name, _)| !time.contains(name))
    }

    /// Lines that come later can belong to it.
    pub(super) fn is_open(&self) -> bool {
        self.until.is_none() && !self.is_faulty()
    }

    /// The form as it was sent.
    pub(super) fn typed(&self) -> Typed {
        let mut values: Vec<_> = self
            .params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        for (name, time) in [("since", self.since), ("until", self.until)] {
            // As the browser's own field for times wants it.
            if let (Some(time), Some((_, value))) =
                (time, values.iter_mut().find(|(known, _)| known == name))
            {
                *value = for_field(time);
            }
        }
        let typed = Typed::new(values);
        if self.faults.is_empty() {
            return typed;
        }
        typed.with_error(&Error::Invalid(self.faults.clone()))
    }

    /// The same with some values changed or, as `None`, left out; at its newest lines.
    pub(super) fn address(&self, changes: &[(&'static str, Option<&str>)]) -> String {
        let kept = |name: &str| match changes.iter().find(|(changed, _)| *changed == name) {
            Some((_, value)) => *value,
            None => self.get(name),
        };
        let known = NAMES
            .into_iter()
            .filter_map(|name| Some((name, kept(name)?)));
        let more = changes.iter().filter(|(name, _)| !NAMES.contains(name));
        let more = more.filter_map(|(name, value)| Some((*name, (*value)?)));
        let mut address = self.path.clone();
        let mut sign = '?';
        for (name, value) in known.chain(more) {
            address.push(sign);
            address.push_str(name);
            address.push('=');
            address.push_str(&paths::encoded(value));
            sign = '&';
        }
        address
    }

    /// The same app and environment, and nothing else.
    pub(super) fn unfiltered(&self) -> Self {
        let mut bare = self.clone();
        bare.params
            .retain(|(name, _)| matches!(*name, "app" | "environment"));
        bare
    }

    /// Only these times.
    pub(super) fn between(&self, since: OffsetDateTime, until: OffsetDateTime) -> String {
        let (since, until) = (timestamp::to_wire(since), timestamp::to_wire(until));
        let ends = [
            ("range", None),
            ("since", Some(since.as_str())),
            ("until", Some(until.as_str())),
        ];
        self.address(&ends)
    }

    pub(super) fn filter(&self) -> LogFilter {
        LogFilter {
            app_name: self.app.as_ref().map(ToString::to_string),
            deployment_id: self.deployment.as_ref().map(ToString::to_string),
            min_level: self.level,
            environment: self.environment.as_ref().map(ToString::to_string),
            release: self.release,
            task_id: self.replica.clone(),
            stream: self.stream.clone(),
            ..LogFilter::default()
        }
    }

    /// The lines of this page.
    pub(super) fn request(&self, since: Option<OffsetDateTime>) -> ReadLogs {
        let (order, after) = match self.place {
            Place::Newest => (Order::NewestFirst, None),
            Place::Before(cursor) => (Order::NewestFirst, Some(cursor)),
            Place::After(cursor) => (Order::OldestFirst, Some(cursor)),
        };
        ReadLogs {
            filter: self.filter(),
            text: self.text.clone(),
            since,
            until: self.until,
            limit: LINES,
            order,
            after,
            budget: Some(BUDGET),
            ..ReadLogs::default()
        }
    }

    /// What REST, the stream and the export call these filters.
    pub(super) fn api(&self) -> Vec<(&'static str, String)> {
        let filter = self.filter();
        let text = |value: Option<&str>| value.map(ToOwned::to_owned);
        let pairs = [
            ("app_name", filter.app_name),
            ("deployment_id", filter.deployment_id),
            ("min_level", text(filter.min_level.map(Level::as_str))),
            ("environment", filter.environment),
            ("release", filter.release.map(|number| number.to_string())),
            ("task_id", filter.task_id),
            ("stream", filter.stream),
            ("q", text(self.text.as_ref().map(TextQuery::as_str))),
        ];
        let given = pairs.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }

    /// The address of everything that matches, for keeping.
    pub(super) fn export(&self, since: Option<OffsetDateTime>, format: &str) -> String {
        let mut address = format!("/api/v1/logs/export?format={format}");
        let ends = [("since", since), ("until", self.until)];
        let ends = ends.map(|(name, time)| time.map(|time| (name, timestamp::to_wire(time))));
        for (name, value) in self.api().into_iter().chain(ends.into_iter().flatten()) {
            address.push('&');
            address.push_str(name);
            address.push('=');
            address.push_str(&paths::encoded(&value));
        }
        address
    }
}

fn note<T>(faults: &mut Vec<Invalid>, name: &'static str, read: Result<T, Invalid>) -> Option<T> {
    read.map_err(|fault| faults.push(Invalid::new(name, fault.problem)))
        .ok()
}

/// A time as addresses have it (RFC 3339), or as the browser's field for times sends it: in UTC.
pub(super) fn instant(name: &'static str, text: &str) -> Result<OffsetDateTime, Invalid> {
    let with_seconds = |text: &str| match text.len() {
        16 => format!("{text}:00Z"),
        _ => format!("{text}Z"),
    };
    timestamp::from_wire(text)
        .or_else(|_| timestamp::from_wire(&with_seconds(text)))
        .map_err(|_| {
            let problem = format!(
                "must be a time such as 2026-02-04T10:13:20Z, not {}",
                quoted(text)
            );
            Invalid::new(name, problem)
        })
}

fn for_field(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let with_ms =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]");
    let time = time.to_offset(time::UtcOffset::UTC);
    let text = if time.millisecond() == 0 {
        time.format(format)
    } else {
        time.format(with_ms)
    };
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(address: &str) -> Wanted {
        let pairs: Vec<(String, String)> = address
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let app: AppName = "shop".parse().unwrap();
        Wanted::read(Some(&app), |name| {
            let found = pairs.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn an_address_is_read_and_written_again() {
        let read = wanted("q=\"a b\"&level=warn&replica=t1&release=7&range=1h");
        assert!(!read.is_faulty() && read.is_narrowed() && read.is_open());
        assert_eq!(read.filter().min_level, Some(Level::Warn));
        let again = "/apps/shop/logs?q=%22a%20b%22&level=warn&release=7&replica=t1&range=1h";
        assert_eq!(read.address(&[]), again);
        assert_eq!(
            read.address(&[("q", None), ("level", None), ("replica", Some("t2"))]),
            "/apps/shop/logs?release=7&replica=t2&range=1h"
        );
        let export = read.export(None, "text");
        assert_eq!(
            export,
            "/api/v1/logs/export?format=text&app_name=shop&min_level=warn&release=7&task_id=t1&q=%22a%20b%22"
        );
    }

    #[test]
    fn every_fault_is_told_beside_its_field_and_what_was_typed_stays() {
        let read = wanted("q=/(/&level=loud&release=last&since=soon");
        let typed = read.typed();
        for (name, value) in [("q", "/(/"), ("level", "loud"), ("release", "last")] {
            assert!(typed.fault(name).is_some(), "{name}");
            assert_eq!(typed.get(name), Some(value));
        }
        assert!(typed.fault("since").is_some() && read.is_faulty());
        let backwards = wanted("since=2026-02-04T10:00:00Z&until=2026-02-04T09:00");
        assert!(backwards.typed().fault("until").is_some());
    }

    #[test]
    fn times_are_those_of_addresses_and_of_the_browsers_field() {
        let read = wanted("since=2026-02-04T10:13&until=2026-02-04T10:14:15.250Z");
        assert!(!read.is_faulty() && read.has_ends() && !read.is_open());
        assert_eq!(read.typed().get("since"), Some("2026-02-04T10:13:00"));
        assert_eq!(read.typed().get("until"), Some("2026-02-04T10:14:15.250"));
    }

    #[test]
    fn a_deployment_is_shown_whole_and_everything_else_of_a_day() {
        assert_eq!(wanted("").recent.value, "24h");
        assert_eq!(wanted("deployment=dep-1-00000000").recent.value, "all");
        assert_eq!(wanted("range=forever").recent.value, "all");
        assert_eq!(
            wanted("id=dep-1-x").around,
            Some(("dep-1-x".to_owned(), 20))
        );
        assert_eq!(wanted("id=dep-1-x&context=999").around.unwrap().1, 100);
    }
}
