//! Reading the query part of an address. What cannot be read is `bad_request`.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use flukedeploy_domain::names::{Invalid, quoted};
use flukedeploy_domain::timestamp;
use time::OffsetDateTime;

use super::problem::Problem;

/// The parameters of an address. An empty value counts as absent, and the last of two wins.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    faults: Vec<Invalid>,
}

impl Params {
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        Query::try_from_uri(uri)
            .map(|Query(pairs)| Self {
                pairs,
                faults: Vec::new(),
            })
            .map_err(|_| Problem::bad_request("the query part of the address cannot be read"))
    }

    /// Whether it was sent with a value; it can still be taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs
            .iter()
            .any(|(key, value)| key == name && !value.is_empty())
    }

    /// As if it had been sent so.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.pairs.push((name.to_owned(), value));
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let value = self
            .pairs
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, v)| v.clone());
        self.pairs.retain(|(key, _)| key != name);
        value.filter(|value| !value.is_empty())
    }

    pub(crate) fn parsed<T: FromStr<Err = Invalid>>(&mut self, name: &str) -> Option<T> {
        match self.text(name)?.parse() {
            Ok(value) => Some(value),
            Err(Invalid { problem, .. }) => {
                self.faults.push(Invalid::new(name, problem));
                None
            }
        }
    }

    pub(crate) fn number<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            let problem = format!("must be a whole number, not {}", quoted(&text));
            self.faults.push(Invalid::new(name, problem));
        }
        number
    }

    /// A time as the wire writes it, RFC 3339.
    pub(crate) fn time(&mut self, name: &str) -> Option<OffsetDateTime> {
        let text = self.text(name)?;
        let found = timestamp::from_wire(&text).ok();
        if found.is_none() {
            let problem = format!(
                "must be a time such as 2026-02-04T10:13:20Z, not {}",
                quoted(&text)
            );
            self.faults.push(Invalid::new(name, problem));
        }
        found
    }

    pub(crate) fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.text(name).as_deref() {
            None => default,
            Some("true" | "1") => true,
            Some("false" | "0") => false,
            Some(other) => {
                let problem = format!("must be true or false, not {}", quoted(other));
                self.faults.push(Invalid::new(name, problem));
                default
            }
        }
    }

    pub(crate) fn fault(&mut self, fault: Invalid) {
        self.faults.push(fault);
    }

    /// Parameters that nobody asked for.
    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn into_faults(self) -> Vec<Invalid> {
        self.faults
    }

    /// # Errors
    /// All parameters that could not be read.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(Problem::bad_parameters(self.faults))
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flukedeploy_domain::log_entry::Level;

    fn params(query: &str) -> Params {
        Params::of(&format!("/logs?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn values_are_read_and_bad_ones_reported_together() {
        let mut good = params("app_name=shop%2Dweb&level=&limit=5&flag=true");
        assert_eq!(good.text("app_name").as_deref(), Some("shop-web"));
        assert_eq!(good.parsed::<Level>("level"), None);
        assert_eq!(good.number::<u32>("limit"), Some(5));
        assert!(good.flag("flag", false));
        assert!(good.finish().is_ok());

        let mut bad = params("limit=ten&offset=-1&level=loud");
        bad.number::<u32>("limit");
        bad.number::<u32>("offset");
        bad.parsed::<Level>("level");
        let problem = bad.finish().unwrap_err();
        assert_eq!(problem.code(), "bad_request");
        for name in ["limit", "offset", "level"] {
            assert!(problem.detail().contains(name), "{}", problem.detail());
        }
    }
}
