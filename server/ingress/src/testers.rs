//! Requests that meet a release under test whatever its weight.

use flukedeploy_domain::app::{TesterMark, TesterRule};
use http::header::{COOKIE, HeaderName};
use http::{HeaderMap, HeaderValue};

/// A rule, made ready for quick answers.
#[derive(Debug)]
pub(crate) struct Testers {
    mark: Mark,
    value: Option<Box<str>>,
}

#[derive(Debug)]
enum Mark {
    Header(HeaderName),
    Cookie(Box<str>),
}

impl Testers {
    /// `None` for a rule that no request can meet: its header name is not a valid one.
    pub(crate) fn new(rule: &TesterRule) -> Option<Self> {
        let mark = match rule.kind {
            TesterMark::Header => Mark::Header(HeaderName::from_bytes(rule.name.as_bytes()).ok()?),
            TesterMark::Cookie => Mark::Cookie(rule.name.as_str().into()),
        };
        let value = rule.value.as_deref().map(Into::into);
        Some(Self { mark, value })
    }

    pub(crate) fn include(&self, headers: &HeaderMap) -> bool {
        match &self.mark {
            Mark::Header(name) => headers
                .get_all(name)
                .iter()
                .any(|value| self.accepts(value.as_bytes())),
            Mark::Cookie(name) => headers
                .get_all(COOKIE)
                .iter()
                .flat_map(cookies)
                .any(|(found, value)| found == name.as_bytes() && self.accepts(value)),
        }
    }

    fn accepts(&self, value: &[u8]) -> bool {
        let wanted = self.value.as_deref();
        wanted.is_none_or(|wanted| value.trim_ascii() == wanted.as_bytes())
    }
}

/// Names and values of `a=1; b="2"` (RFC 6265, 4.2.1 and 5.4); a value may stand in quotes.
fn cookies(header: &HeaderValue) -> impl Iterator<Item = (&[u8], &[u8])> {
    header.as_bytes().split(|b| *b == b';').filter_map(|pair| {
        let equals = pair.iter().position(|b| *b == b'=')?;
        let (name, value) = pair.split_at(equals);
        let value = value[1..].trim_ascii();
        let quoted = value
            .strip_prefix(b"\"")
            .and_then(|v| v.strip_suffix(b"\""));
        Some((name.trim_ascii(), quoted.unwrap_or(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: TesterMark, name: &str, value: Option<&str>) -> Testers {
        Testers::new(&TesterRule {
            kind,
            name: name.into(),
            value: value.map(Into::into),
        })
        .unwrap()
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_header_is_found_in_any_spelling() {
        let any = rule(TesterMark::Header, "X-Beta", None);
        assert!(any.include(&headers(&[("x-bETA", "")])));
        assert!(!any.include(&headers(&[("x-betas", "1")])));
        let one = rule(TesterMark::Header, "x-beta", Some("yes"));
        assert!(one.include(&headers(&[("x-beta", "no"), ("x-beta", "yes")])));
        assert!(!one.include(&headers(&[("x-beta", "YES")])));
    }

    #[test]
    fn a_cookie_is_found_among_several() {
        let one = rule(TesterMark::Cookie, "beta", Some("1"));
        for (lines, included) in [
            (&[("cookie", "a=b; beta=1; c=d")][..], true),
            (&[("cookie", "a=b"), ("cookie", "beta=1")], true),
            (&[("cookie", "beta=\"1\"")], true),
            (&[("cookie", "a=x;beta=1")], true),
            (&[("cookie", "beta=2; beta=1")], true),
            (&[("cookie", "beta=2")], false),
            (&[("cookie", "Beta=1")], false),
            (&[("cookie", "alpha=beta=1")], false),
            (&[("cookie", "xbeta=1; beta")], false),
            (&[("beta", "1")], false),
            (&[], false),
        ] {
            assert_eq!(one.include(&headers(lines)), included, "{lines:?}");
        }
        let any = rule(TesterMark::Cookie, "beta", None);
        assert!(any.include(&headers(&[("cookie", "beta=")])));
        assert!(!any.include(&headers(&[("cookie", "beta")])));
    }
}
