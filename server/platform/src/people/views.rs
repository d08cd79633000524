//! People as the doors show them: no secret, no hash.

use flukedeploy_domain::access::Tier;
use flukedeploy_domain::timestamp::{self, from_unix_ms};
use serde::Serialize;
use time::OffsetDateTime;

use crate::ports::{Account, Identity, Invitation, StoredSession};

/// A person, as administrators see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersonView {
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    pub is_administrator: bool,
    pub has_second_factor: bool,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    #[serde(skip_serializing_if = "Option::is_none", with = "timestamp::option")]
    pub disabled_at: Option<OffsetDateTime>,
    /// It is whoever looks.
    pub is_you: bool,
}

impl PersonView {
    pub(super) fn new(account: &Account, is_you: bool) -> Self {
        Self {
            id: account.id.clone(),
            name: account.name.clone(),
            display_name: account.display_name.clone(),
            is_administrator: account.tier == Tier::Admin,
            has_second_factor: account.has_second_factor,
            created_at: account.created_at,
            disabled_at: account.disabled_at,
            is_you,
        }
    }
}

/// One's own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountView {
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    pub is_administrator: bool,
    pub has_second_factor: bool,
    pub recovery_codes_left: u32,
    /// Without one, the sign-in provider is the only way in.
    pub has_password: bool,
    #[serde(with = "timestamp")]
    pub password_changed_at: OffsetDateTime,
}

impl AccountView {
    pub(super) fn new(account: &Account, recovery_codes_left: u32) -> Self {
        Self {
            id: account.id.clone(),
            name: account.name.clone(),
            display_name: account.display_name.clone(),
            is_administrator: account.tier == Tier::Admin,
            has_second_factor: account.has_second_factor,
            recovery_codes_left,
            has_password: account.has_password(),
            password_changed_at: account.password_changed_at,
        }
    }
}

/// What an account is connected with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdentityView {
    /// The provider's name.
    pub provider: String,
    pub issuer: String,
    pub subject: String,
    /// As the provider called the person when it was connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    #[serde(with = "timestamp")]
    pub bound_at: OffsetDateTime,
}

impl IdentityView {
    pub(super) fn new(identity: Identity, provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            issuer: identity.issuer,
            subject: identity.subject,
            shown: identity.shown,
            bound_at: identity.bound_at,
        }
    }
}

/// How an invitation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InvitationState {
    Open,
    Accepted,
    Revoked,
    Expired,
}

/// An invitation without its link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvitationView {
    pub id: String,
    pub state: InvitationState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    pub is_administrator: bool,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    pub created_by: String,
    #[serde(with = "timestamp")]
    pub expires_at: OffsetDateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_as: Option<String>,
}

impl InvitationView {
    pub(super) fn new(invitation: &Invitation, now: OffsetDateTime) -> Self {
        let state = if invitation.accepted_at.is_some() {
            InvitationState::Accepted
        } else if invitation.revoked_at.is_some() {
            InvitationState::Revoked
        } else if invitation.is_open(now) {
            InvitationState::Open
        } else {
            InvitationState::Expired
        };
        Self {
            id: invitation.id.clone(),
            state,
            name: invitation.name.clone(),
            display_name: invitation.display_name.clone(),
            is_administrator: invitation.is_administrator,
            created_at: invitation.created_at,
            created_by: invitation.created_by.clone(),
            expires_at: invitation.expires_at,
            accepted_as: invitation.accepted_as.clone(),
        }
    }
}

/// Where somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionView {
    pub id: String,
    #[serde(with = "timestamp")]
    pub began_at: OffsetDateTime,
    /// To within minutes.
    #[serde(with = "timestamp")]
    pub seen_at: OffsetDateTime,
    /// Where it began.
    pub address: String,
    /// The browser in few words.
    pub browser: String,
    /// It is the one that asks.
    pub is_current: bool,
}

impl SessionView {
    pub(super) fn new(session: StoredSession, current: &str) -> Self {
        let of = session.signed_in;
        Self {
            is_current: of.session == current,
            began_at: from_unix_ms(of.began_at_ms),
            seen_at: session.seen_at,
            address: of.address,
            browser: in_few_words(&of.browser),
            id: of.session,
        }
    }
}

/// Browsers call themselves many things at once; the first of these that is named is what it is.
fn in_few_words(user_agent: &str) -> String {
    const BROWSERS: [(&str, &str); 8] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chromium/", "Chromium"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
        ("Wget/", "Wget"),
    ];
    const SYSTEMS: [(&str, &str); 7] = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let named = |table: &[(&str, &'static str)]| {
        table
            .iter()
            .find(|(sign, _)| user_agent.contains(sign))
            .map(|(_, word)| *word)
    };
    match (named(&BROWSERS), named(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(word), None) | (None, Some(word)) => word.to_owned(),
        (None, None) => match user_agent.split_whitespace().next() {
            Some(first) => first.chars().take(40).collect(),
            None => "unknown".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_told_in_few_words() {
        for (long, short) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
                "Chrome on Linux",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            ("curl/8.5.0", "curl"),
            ("my-script 1.0", "my-script"),
            ("", "unknown"),
        ] {
            assert_eq!(in_few_words(long), short);
        }
    }
}
