//! The address of every page, in one place.

use std::fmt::Write as _;

use flukedeploy_domain::approval::ApprovalId;
use flukedeploy_domain::build::UploadId;
use flukedeploy_domain::credential::CredentialKind;
use flukedeploy_domain::deployment::DeploymentId;
use flukedeploy_domain::forwarder::ForwarderId;
use flukedeploy_domain::names::{AppName, EnvironmentName, ProjectName};
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_domain::repair::RepairAction;
use flukedeploy_domain::timestamp::to_wire;
use flukedeploy_domain::webhook::{DeliveryId, WebhookId};
use time::OffsetDateTime;

pub(crate) const OVERVIEW: &str = "/";
pub(crate) const APPS: &str = "/apps";
pub(crate) const NEW_APP: &str = "/apps/new";
pub(crate) const DEPLOYMENTS: &str = "/deployments";
pub(crate) const APPROVALS: &str = "/approvals";
pub(crate) const LOGS: &str = "/logs";
pub(crate) const TOKENS: &str = "/tokens";
pub(crate) const CREDENTIALS: &str = "/credentials";
pub(crate) const WEBHOOKS: &str = "/webhooks";
pub(crate) const LOG_FORWARDERS: &str = "/log-forwarders";
pub(crate) const SYSTEM: &str = "/system";
pub(crate) const CONNECT: &str = "/connect";
pub(crate) const SIGN_IN: &str = "/sign-in";
pub(crate) const SIGN_OUT: &str = "/sign-out";
pub(crate) const SIGN_IN_CODE: &str = "/sign-in/code";
pub(crate) const PROVIDER: &str = "/sign-in/provider";
pub(crate) const PROVIDER_CALLBACK: &str = "/sign-in/provider/callback";
pub(crate) const CONNECT_PROVIDER: &str = "/account/provider";
pub(crate) const DISCONNECT_PROVIDER: &str = "/account/provider/disconnect";
pub(crate) const CONFIRM_PROVIDER: &str = "/account/confirm/provider";
pub(crate) const SET_UP: &str = "/setup";
pub(crate) const INVITATIONS: &str = "/invitations";
pub(crate) const PERMISSIONS: &str = "/permissions";
pub(crate) const PROJECTS: &str = "/projects";
pub(crate) const PEOPLE: &str = "/people";
pub(crate) const AUDIT: &str = "/audit";
pub(crate) const ACCOUNT: &str = "/account";
pub(crate) const CONFIRM: &str = "/account/confirm";
pub(crate) const PASSWORD: &str = "/account/password";
pub(crate) const SECOND_FACTOR: &str = "/account/second-factor";
pub(crate) const SECOND_FACTOR_OFF: &str = "/account/second-factor/off";
pub(crate) const RECOVERY_CODES: &str = "/account/second-factor/codes";
pub(crate) const OTHER_SESSIONS: &str = "/account/sessions/others";
pub(crate) const THEME: &str = "/theme";

pub(crate) fn app(name: &AppName) -> String {
    format!("/apps/{name}")
}

pub(crate) fn project(name: &ProjectName) -> String {
    format!("{PROJECTS}/{name}")
}

pub(crate) fn app_permissions(name: &AppName) -> String {
    format!("/apps/{name}/permissions")
}

pub(crate) fn withdraw_in(name: &AppName, grant: &str) -> String {
    format!("/apps/{name}/permissions/{}/withdraw", encoded(grant))
}

pub(crate) fn withdraw(grant: &str) -> String {
    format!("{PERMISSIONS}/{}/withdraw", encoded(grant))
}

pub(crate) fn audit_entry(sequence: i64) -> String {
    format!("{AUDIT}/{sequence}")
}

/// What somebody did.
pub(crate) fn audit_of(actor: &str) -> String {
    format!("{AUDIT}?actor={}", encoded(actor))
}

/// The same page of another environment of the app.
pub(crate) fn within(path: &str, environment: &EnvironmentName) -> String {
    if environment.is_production() {
        return path.to_owned();
    }
    let (path, place) = path.split_once('#').unwrap_or((path, ""));
    let sign = if path.contains('?') { '&' } else { '?' };
    let hash = if place.is_empty() { "" } else { "#" };
    format!("{path}{sign}environment={environment}{hash}{place}")
}

pub(crate) fn new_environment(name: &AppName) -> String {
    format!("/apps/{name}/environments/new")
}

pub(crate) fn ttl(name: &AppName) -> String {
    format!("/apps/{name}/ttl")
}

pub(crate) fn promote(name: &AppName) -> String {
    format!("/apps/{name}/promote")
}

pub(crate) fn deploy(name: &AppName) -> String {
    format!("/apps/{name}/deploy")
}

pub(crate) fn upload(name: &AppName) -> String {
    format!("/apps/{name}/deploy/upload")
}

/// The deployment form with an archive that was sent.
pub(crate) fn deploy_upload(name: &AppName, id: &UploadId) -> String {
    format!("/apps/{name}/deploy?upload={id}")
}

pub(crate) fn rollback(name: &AppName) -> String {
    format!("/apps/{name}/rollback")
}

pub(crate) fn rollback_to(name: &AppName, release: ReleaseNo) -> String {
    format!("/apps/{name}/rollback?release={release}")
}

pub(crate) fn logs(name: &AppName) -> String {
    format!("/apps/{name}/logs")
}

/// One line among its neighbours.
pub(crate) fn log_line(app: &str, entry: &str) -> String {
    let (app, entry) = (encoded(app), encoded(entry));
    format!("/apps/{app}/logs?id={entry}#e-{entry}")
}

pub(crate) fn logs_of(name: &AppName, deployment: &DeploymentId) -> String {
    format!("/apps/{name}/logs?deployment={deployment}")
}

/// What was logged within a time, of one replica if it is named.
pub(crate) fn logs_between(
    name: &AppName,
    environment: &EnvironmentName,
    ends: Option<(OffsetDateTime, OffsetDateTime)>,
    replica: Option<&str>,
) -> String {
    let mut address = format!("/apps/{name}/logs?environment={environment}");
    if let Some((since, until)) = ends {
        address += "&since=";
        address += &to_wire(since);
        address += "&until=";
        address += &to_wire(until);
    }
    if let Some(task) = replica {
        address += "&replica=";
        address += &encoded(task);
    }
    address
}

pub(crate) fn delete(name: &AppName) -> String {
    format!("/apps/{name}/delete")
}

pub(crate) fn deployment(id: &DeploymentId) -> String {
    format!("/deployments/{id}")
}

pub(crate) fn cancel(id: &DeploymentId) -> String {
    format!("/deployments/{id}/cancel")
}

pub(crate) fn decide(id: &ApprovalId) -> String {
    format!("{APPROVALS}/{id}/decide")
}

pub(crate) fn approval_rules(name: &AppName) -> String {
    format!("/apps/{name}/approvals")
}

pub(crate) fn steer(id: &DeploymentId) -> String {
    format!("/deployments/{id}/steer")
}

pub(crate) fn scale(name: &AppName) -> String {
    format!("/apps/{name}/scale")
}

pub(crate) fn restart(name: &AppName) -> String {
    format!("/apps/{name}/restart")
}

pub(crate) fn mode(name: &AppName) -> String {
    format!("/apps/{name}/mode")
}

pub(crate) fn revoke(token_id: &str) -> String {
    format!("/tokens/{}/revoke", encoded(token_id))
}

pub(crate) fn repair(action: RepairAction) -> String {
    format!("{SYSTEM}/repairs/{action}")
}

pub(crate) fn remove_credential(kind: CredentialKind, host: &str) -> String {
    format!("/credentials/{}/{}/remove", kind.as_str(), encoded(host))
}

pub(crate) fn invitation(secret: &str) -> String {
    format!("{INVITATIONS}/{}", encoded(secret))
}

pub(crate) fn accept_elsewhere(secret: &str) -> String {
    format!("{INVITATIONS}/{}/provider", encoded(secret))
}

pub(crate) fn revoke_invitation(id: &str) -> String {
    format!("{PEOPLE}/invitations/{}/revoke", encoded(id))
}

pub(crate) fn switch_person(id: &str) -> String {
    format!("{PEOPLE}/{}/switch", encoded(id))
}

pub(crate) fn role_of_person(id: &str) -> String {
    format!("{PEOPLE}/{}/role", encoded(id))
}

pub(crate) fn reset_person(id: &str) -> String {
    format!("{PEOPLE}/{}/reset", encoded(id))
}

pub(crate) fn delete_person(id: &str) -> String {
    format!("{PEOPLE}/{}/delete", encoded(id))
}

pub(crate) fn end_session(id: &str) -> String {
    format!("{ACCOUNT}/sessions/{}/end", encoded(id))
}

pub(crate) fn confirm_then(next: &str) -> String {
    format!("{CONFIRM}?next={}", encoded(next))
}

pub(crate) fn webhook(id: &WebhookId) -> String {
    format!("/webhooks/{id}")
}

pub(crate) fn test_webhook(id: &WebhookId) -> String {
    format!("/webhooks/{id}/test")
}

pub(crate) fn switch_webhook(id: &WebhookId) -> String {
    format!("/webhooks/{id}/switch")
}

pub(crate) fn delete_webhook(id: &WebhookId) -> String {
    format!("/webhooks/{id}/delete")
}

pub(crate) fn log_forwarder(id: &ForwarderId) -> String {
    format!("{LOG_FORWARDERS}/{id}")
}

pub(crate) fn test_log_forwarder(id: &ForwarderId) -> String {
    format!("{LOG_FORWARDERS}/{id}/test")
}

pub(crate) fn switch_log_forwarder(id: &ForwarderId) -> String {
    format!("{LOG_FORWARDERS}/{id}/switch")
}

pub(crate) fn delete_log_forwarder(id: &ForwarderId) -> String {
    format!("{LOG_FORWARDERS}/{id}/delete")
}

pub(crate) fn resend_delivery(id: &DeliveryId) -> String {
    format!("/webhooks/deliveries/{id}/resend")
}

/// Buttons that stand on a page: their addresses are one step below its own.
const BUTTONS: [&str; 9] = [
    "ttl",
    "approvals",
    "scale",
    "restart",
    "mode",
    "cancel",
    "steer",
    "test",
    "switch",
];

/// Where the answer to a form shows: a button's address has no page, but the one it stands on.
pub(crate) fn page_of(address: &str) -> String {
    let (path, query) = address.split_at(address.find('?').unwrap_or(address.len()));
    let steps: Vec<&str> = path.split('/').collect();
    match steps[..] {
        ["", "webhooks", "deliveries", delivery, "resend"] => {
            let webhook = delivery.rsplit_once('-').map_or("", |(webhook, _)| webhook);
            format!("{WEBHOOKS}/{webhook}")
        }
        ["", "people", _, "switch" | "role"] | ["", "people", "invitations", _, "revoke"] => {
            PEOPLE.to_owned()
        }
        ["", "approvals", _, "decide"] => APPROVALS.to_owned(),
        ["", "apps", name, "permissions", _, "withdraw"] => format!("/apps/{name}/permissions"),
        ["", "permissions", _, "withdraw"] => PERMISSIONS.to_owned(),
        ["", "account", "password"] | ["", "account", "sessions" | "provider", ..] => {
            ACCOUNT.to_owned()
        }
        ["", "account", "confirm", _] => CONFIRM.to_owned(),
        ["", "sign-in", "provider", ..] => SIGN_IN.to_owned(),
        ["", "invitations", secret, "provider"] => invitation(secret),
        ["", "account", "second-factor", _] => SECOND_FACTOR.to_owned(),
        ["", section, name, button] if BUTTONS.contains(&button) => {
            format!("/{section}/{name}{query}")
        }
        _ => address.to_owned(),
    }
}

pub(crate) fn sign_in_then(next: &str) -> String {
    match local(next) {
        Some(next) if next != OVERVIEW => format!("{SIGN_IN}?next={}", encoded(next)),
        _ => SIGN_IN.to_owned(),
    }
}

/// `next` if it is an address on this site and nothing else: one slash, no second one, no
/// backslash (which browsers read as a slash) and no control characters (which they drop).
pub(crate) fn local(next: &str) -> Option<&str> {
    let mut bytes = next.bytes();
    let fits = bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/'))
        && next.len() <= 2048
        && !next.bytes().any(|b| b == b'\\' || b.is_ascii_control())
        && !next.starts_with(SIGN_IN)
        && !next.starts_with(SIGN_OUT)
        && !next.starts_with(CONFIRM);
    fits.then_some(next)
}

/// Percent-encodes all but the unreserved characters and `/` (RFC 3986).
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
                encoded.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
            encoded
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_site_are_gone_to() {
        for good in ["/", "/apps", "/apps/shop?x=1&y=//z", "/deployments/dep-1-a"] {
            assert_eq!(local(good), Some(good));
        }
        for bad in [
            "",
            "apps",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nLocation: x",
            "/\t/evil.example",
            "javascript:alert(1)",
            "/sign-in?next=/",
            "/sign-out",
            "/account/confirm?next=/",
        ] {
            assert_eq!(local(bad), None, "{bad:?}");
        }
        assert_eq!(
            sign_in_then("/apps?a=b&c"),
            "/sign-in?next=/apps%3Fa%3Db%26c"
        );
        assert_eq!(sign_in_then("//evil"), "/sign-in");
    }

    #[test]
    fn a_button_answers_on_the_page_it_stands_on() {
        for (address, page) in [
            (
                "/apps/ttl-x/ttl?environment=qa",
                "/apps/ttl-x?environment=qa",
            ),
            ("/apps/scale", "/apps/scale"),
            ("/apps/scale/scale", "/apps/scale"),
            (
                "/apps/shop/deploy?upload=up-1",
                "/apps/shop/deploy?upload=up-1",
            ),
            ("/approvals/apr-1/decide", "/approvals"),
            ("/apps/shop/approvals", "/apps/shop"),
            ("/deployments/dep-1/cancel", "/deployments/dep-1"),
            ("/webhooks/wh-1/test", "/webhooks/wh-1"),
            ("/webhooks/deliveries/wh-1-7/resend", "/webhooks/wh-1"),
            ("/webhooks/wh-1/delete", "/webhooks/wh-1/delete"),
            ("/people/p1/switch", "/people"),
            ("/people/p1/delete", "/people/p1/delete"),
            ("/people/invitations/i1/revoke", "/people"),
            ("/account/password", "/account"),
            ("/account/provider/disconnect", "/account"),
            ("/account/confirm/provider", "/account/confirm"),
            ("/sign-in/provider", "/sign-in"),
            ("/invitations/s3cret/provider", "/invitations/s3cret"),
            ("/account/sessions/s1/end", "/account"),
            ("/account/second-factor/off", "/account/second-factor"),
            ("/account/second-factor", "/account/second-factor"),
        ] {
            assert_eq!(page_of(address), page);
        }
    }
}
