//! Names that were checked once, at the door, and are trusted afterwards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// A value that is not allowed, and what would be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// The field as it is named on the wire, e.g. `health.path`.
    pub field: String,
    /// Reads after the field's name: "must be 1 to 100, not 0".
    pub problem: String,
}

impl Invalid {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// Quotes a value that a caller sent: cut to 60 characters, control characters escaped.
pub fn quoted(value: &str) -> String {
    let mut short: String = value
        .chars()
        .take(60)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().nth(60).is_some() {
        short.push('…');
    }
    format!("'{short}'")
}

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $field:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(value: &str) -> Result<Self, Invalid> {
                match $check(value) {
                    Ok(()) => Ok(Self(value.to_owned())),
                    Err(problem) => Err(Invalid::new($field, format!("{problem}, not {}", quoted(value)))),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

checked_name!(
    /// A named application: 1–49 of `[a-z0-9-]`, starts and ends alphanumeric, no `--`, and not
    /// one of the reserved names `captain` and `registry`.
    AppName, "app_name", check_app_name
);
checked_name!(
    /// A deployable instance of an app. `production` always exists.
    EnvironmentName, "environment", check_environment_name
);
checked_name!(
    /// A group of apps; the same rules as for an app's name.
    ProjectName, "project", check_app_name
);
checked_name!(
    /// A DNS host name in lower case, without port or trailing dot (RFC 1123).
    Hostname, "host", check_hostname
);
checked_name!(
    /// Prefix of everything made in Docker, so that several instances share one engine.
    InstanceName, "instance", check_instance_name
);

fn check_app_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 49 {
        return Err("must have 1 to 49 characters");
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Err("may hold only a-z, 0-9 and '-'");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err("must start and end with a letter or digit");
    }
    if name.contains("--") {
        return Err("must not hold '--'");
    }
    if matches!(name, "captain" | "registry") {
        return Err("must not be a reserved name (captain, registry)");
    }
    Ok(())
}

fn check_environment_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 20 {
        return Err("must have 1 to 20 characters");
    }
    check_app_name(name)
}

fn check_instance_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 20 {
        return Err("must have 1 to 20 characters");
    }
    // `fd-<instance>-<app>-…` must tell where the instance ends: with a dash in it, instance `a-b`
    // with app `c` would meet instance `a` with app `b-c`.
    if name.contains('-') {
        return Err("may hold only a-z and 0-9");
    }
    check_app_name(name)
}

fn check_hostname(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 253 {
        return Err("must have 1 to 253 characters");
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("must be labels of 1 to 63 characters joined by '.'");
        }
        if !label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return Err("may hold only a-z, 0-9, '-' and '.'");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("must not start or end a label with '-'");
        }
    }
    Ok(())
}

impl EnvironmentName {
    /// The environment that every app has.
    pub fn production() -> Self {
        Self("production".to_owned())
    }

    pub fn is_production(&self) -> bool {
        self.0 == "production"
    }
}

/// Names of `known` that look like `wanted`, nearest first, at most three.
pub fn near_names<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let limit = (wanted.len() / 3).clamp(1, 4);
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|name| {
            let distance = edit_distance(wanted, name);
            let related = distance <= limit
                || (wanted.len() >= 3 && (name.contains(wanted) || wanted.contains(name)));
            related.then_some((distance, name))
        })
        .collect();
    near.sort_unstable();
    near.into_iter()
        .take(3)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Damerau–Levenshtein distance (optimal string alignment): a swapped pair counts as one.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitute = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitute.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn app_names_follow_the_contract() {
        for good in ["a", "shop-web", "1", "a1-b2-c3", &"x".repeat(49)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a--b",
            "Shop",
            "shop_web",
            "captain",
            "registry",
            "a.b",
            "ä",
            &"x".repeat(50),
        ] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_invalid_name_says_which_field_and_shows_the_value() {
        let error = "Shop Web\n".parse::<AppName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "app_name may hold only a-z, 0-9 and '-', not 'Shop Web\\n'"
        );
    }

    #[test]
    fn two_instances_never_share_a_service_name() {
        assert!("main2".parse::<InstanceName>().is_ok());
        assert!("a-b".parse::<InstanceName>().is_err());
    }

    #[test]
    fn near_names_find_the_typo() {
        let known = ["shop-web", "shop-api", "blog"];
        assert_eq!(near_names("shop-wbe", known), ["shop-web"]);
        assert_eq!(near_names("shop", known), ["shop-api", "shop-web"]);
        assert!(near_names("zzzz", known).is_empty());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_round_trips(text in ".{0,60}") {
            if let Ok(name) = text.parse::<AppName>() {
                prop_assert_eq!(name.as_str(), text.as_str());
            }
            let _ = text.parse::<Hostname>();
        }
    }
}
