//! Every page and every form, as everybody. The addresses come from the router itself: one without a
//! rule here fails.

use std::collections::BTreeSet;

use flukedeploy_app::{FORM_ADDRESSES, page_addresses};
use flukedeploy_domain::access::{Actor, Role, Subject, Target};
use flukedeploy_domain::deployment::{DeploymentId, PhaseName};
use flukedeploy_platform::apps::ChangeApp;
use flukedeploy_platform::environments::{self, NewEnvironment};
use flukedeploy_platform::grants::{self, NewGrant};
use flukedeploy_platform::people;
use http::{Request, StatusCode};

use crate::browser::{Browser, Page};
use crate::people::{id_of, joined};
use crate::support::{End, Stand, settings};

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Whoever comes, known or not.
    Open,
    /// Whoever is signed in; what may not be seen is left out.
    SignedIn,
    /// With a role in production of the app.
    In(Role),
    /// With a role in the app as a whole.
    InAll(Role),
    /// With a role in any part of the app.
    InAny(Role),
    /// Administrators.
    Administrator,
    /// Administrators, on a page of an app as a whole, or of its production.
    AdministratorOfApp,
    AdministratorInApp,
}

use Rule::{
    Administrator, AdministratorInApp, AdministratorOfApp, In, InAll, InAny, Open, SignedIn,
};

const VIEWER: Rule = In(Role::Viewer);
const DEPLOYER: Rule = In(Role::Deployer);
const MAINTAINER: Rule = In(Role::Maintainer);

/// `None`: nobody has thought of it.
#[expect(clippy::match_same_arms, reason = "by what they are about")]
fn rule_of_page(path: &str) -> Option<Rule> {
    Some(match path {
        "/sign-in" | "/sign-in/code" | "/invitations/{secret}" | "/setup" | "/setup/{token}" => {
            Open
        }
        "/"
        | "/approvals"
        // Of projects one may not see there are none; the REST door has the matrix of those there are.
        | "/projects"
        | "/projects/{name}"
        | "/apps"
        | "/deployments"
        | "/logs"
        | "/connect"
        | "/components"
        | "/tokens"
        | "/account"
        | "/account/confirm"
        | "/account/second-factor"
        | "/tokens/{id}/revoke" => SignedIn,
        "/apps/new" | "/system" | "/system/repairs/{action}" => Administrator,
        "/apps/{name}" => InAny(Role::Viewer),
        "/apps/{name}/logs" | "/deployments/{id}" => VIEWER,
        "/apps/{name}/deploy"
        | "/apps/{name}/deploy/upload"
        | "/apps/{name}/rollback"
        | "/apps/{name}/promote" => DEPLOYER,
        "/apps/{name}/environments/new" => MAINTAINER,
        "/apps/{name}/delete" | "/apps/{name}/permissions" => InAll(Role::Maintainer),
        "/credentials"
        | "/credentials/{kind}/{host}/remove"
        | "/webhooks"
        | "/webhooks/{id}"
        | "/webhooks/{id}/delete"
        | "/log-forwarders"
        | "/log-forwarders/{id}"
        | "/log-forwarders/{id}/delete"
        | "/permissions"
        | "/people"
        | "/people/{id}/delete"
        | "/people/{id}/reset"
        | "/audit"
        | "/audit/{sequence}" => Administrator,
        _ => return None,
    })
}

#[expect(clippy::match_same_arms, reason = "by what they are about")]
fn rule_of_form(path: &str) -> Option<Rule> {
    Some(match path {
        "/sign-in"
        | "/sign-in/code"
        | "/invitations/{secret}"
        | "/setup/{token}"
        | "/theme"
        | "/sign-in/provider"
        | "/invitations/{secret}/provider"
        | "/sign-out" => Open,
        "/account"
        | "/account/provider"
        | "/account/provider/disconnect"
        | "/account/confirm/provider"
        | "/account/password"
        | "/account/confirm"
        | "/account/second-factor"
        | "/account/second-factor/off"
        | "/account/second-factor/codes"
        | "/account/sessions/others"
        | "/account/sessions/{id}/end"
        | "/tokens"
        | "/tokens/{id}/revoke" => SignedIn,
        // Of what one may not know there is none; who may answer is told at the REST door's matrix.
        "/approvals/{id}/decide" | "/projects/{name}" => SignedIn,
        "/apps/{name}/approvals" => AdministratorInApp,
        "/apps/{name}/permissions" | "/apps/{name}/permissions/{id}/withdraw" => AdministratorOfApp,
        "/apps/new" | "/projects" | "/system/repairs/{action}" => Administrator,
        "/apps/{name}" | "/apps/{name}/environments/new" | "/apps/{name}/ttl" => MAINTAINER,
        "/apps/{name}/delete" => InAll(Role::Maintainer),
        "/apps/{name}/deploy"
        | "/apps/{name}/rollback"
        | "/apps/{name}/promote"
        | "/apps/{name}/scale"
        | "/apps/{name}/restart"
        | "/apps/{name}/mode"
        | "/deployments/{id}/cancel"
        | "/deployments/{id}/steer" => DEPLOYER,
        "/apps/{name}/deploy/upload" => DEPLOYER,
        path if [
            "/credentials",
            "/webhooks",
            "/log-forwarders",
            "/permissions",
            "/people",
        ]
        .iter()
        .any(|part| path.starts_with(part)) =>
        {
            Administrator
        }
        _ => return None,
    })
}

/// Good for every form at once; what it does not ask for is not read.
const FIELDS: [(&str, &str); 20] = [
    ("approval_person", "allow"),
    ("approval_agent", "allow"),
    ("app_name", "fresh"),
    ("scale_to", "2"),
    ("name", "fresh"),
    ("confirm", "shop"),
    ("image", "shop:v2"),
    ("from", "staging"),
    ("to", "production"),
    ("replicas", "2"),
    ("mode", "stopped"),
    ("how", "pause"),
    ("release", "1"),
    ("url", "https://hooks.example.com/in"),
    ("kind", "webhook"),
    ("subject", "account:nobody"),
    ("app", "shop"),
    ("role", "viewer"),
    ("tier", "extended"),
    ("ttl_hours", "5"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Not signed in, or not any more.
    Nobody,
    OtherApp,
    InShop(Role),
    /// A maintainer there.
    InStaging,
    Everywhere,
}

struct Somebody {
    what: &'static str,
    browser: Browser,
    reach: Reach,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// Whoever one is.
    Open,
    Allowed,
    /// Led to the sign-in.
    Asked,
    Forbidden,
    /// As if it did not exist.
    Hidden,
}

impl Somebody {
    fn expects(&self, rule: Rule) -> Expected {
        use Expected::{Allowed, Asked, Forbidden, Hidden};
        let if_so = |allowed| if allowed { Allowed } else { Forbidden };
        match (self.reach, rule) {
            (_, Open) => Expected::Open,
            (Reach::Nobody, _) => Asked,
            (Reach::Everywhere, _) | (_, SignedIn) | (Reach::InStaging, InAny(_)) => Allowed,
            (_, Administrator)
            | (Reach::InStaging, InAll(_) | AdministratorOfApp)
            | (Reach::InShop(_), AdministratorInApp | AdministratorOfApp) => Forbidden,
            (Reach::OtherApp, _) | (Reach::InStaging, In(_) | AdministratorInApp) => Hidden,
            (Reach::InShop(own), In(least) | InAll(least) | InAny(least)) => if_so(own >= least),
        }
    }
}

async fn granted(
    stand: &Stand,
    name: &'static str,
    app: &str,
    role: Role,
    environment: Option<&str>,
) -> Browser {
    let browser = joined(stand, name, false).await;
    let new = NewGrant {
        subject: Subject::Account(id_of(stand, name).await),
        target: Target::App(app.parse().unwrap()),
        role,
        environments: environment.map(|name| BTreeSet::from([name.parse().unwrap()])),
    };
    grants::grant(&stand.px, &Actor::system(), new)
        .await
        .unwrap();
    browser
}

async fn everybody(stand: &Stand) -> Vec<Somebody> {
    let mut all = Vec::new();
    let mut add = |what, browser, reach| {
        all.push(Somebody {
            what,
            browser,
            reach,
        });
    };
    add("nobody", Browser::new(stand), Reach::Nobody);
    let admin = Browser::signed_in(stand).await;
    let ended = granted(stand, "ended", "shop", Role::Maintainer, None).await;
    people::switch_person(
        &stand.px,
        &Actor::system(),
        &id_of(stand, "ended").await,
        true,
    )
    .await
    .unwrap();
    add("whose account was turned off", ended, Reach::Nobody);
    let other = granted(stand, "other", "bank", Role::Viewer, None).await;
    add("viewer of another app", other, Reach::OtherApp);
    let boss = granted(stand, "boss", "bank", Role::Maintainer, None).await;
    add("maintainer of another app", boss, Reach::OtherApp);
    let staging = granted(stand, "stage", "shop", Role::Maintainer, Some("staging")).await;
    add("narrowed to staging", staging, Reach::InStaging);
    for role in Role::ALL {
        let its = granted(stand, role.as_str(), "shop", role, None).await;
        add(role.as_str(), its, Reach::InShop(role));
    }
    add("administrator", admin, Reach::Everywhere);
    all
}

/// Two apps, one with two environments and a deployment under way, whose id it returns.
async fn furnished() -> (Stand, DeploymentId) {
    let stand = Stand::new().await;
    stand.app("bank", settings(1)).await;
    let shop = stand.app("shop", settings(1)).await;
    let new = NewEnvironment {
        app: shop.app.clone(),
        name: "staging".parse().unwrap(),
        from: shop.name.clone(),
        ttl_seconds: None,
        change: ChangeApp::default(),
    };
    environments::create_environment(&stand.px, &Actor::system(), new)
        .await
        .unwrap();
    let deployment = stand
        .deployment(
            &shop,
            "shop:v1",
            time::Duration::ZERO,
            End::In(PhaseName::PreBuild),
        )
        .await;
    (stand, deployment.id)
}

fn address(path: &str, app: &str, deployment: &str) -> String {
    let id = match path.split('/').nth(1) {
        Some("deployments") => deployment,
        Some("log-forwarders") => "lf-0000000000000000",
        Some("webhooks") if path.contains("deliveries") => "wh-0000000000000000-1",
        Some("webhooks") => "wh-0000000000000000",
        _ => "000000000000",
    };
    path.replace("{name}", app)
        .replace("{action}", "push_routes")
        .replace("{kind}", "git_token")
        .replace("{host}", "git.example.com")
        .replace("{sequence}", "1")
        .replace("{secret}", "000000000000")
        .replace("{token}", "000000000000")
        .replace("{id}", id)
}

/// Whether the page is what is expected of it; a refusal of what is hidden must not differ from what
/// one gets where there is nothing.
fn is_as_expected(page: &Page, expected: &Expected, is_form: bool) -> bool {
    match expected {
        Expected::Asked if is_form => page.status == StatusCode::UNAUTHORIZED,
        Expected::Asked => {
            page.status == StatusCode::SEE_OTHER && page.location().starts_with("/sign-in")
        }
        Expected::Forbidden => page.status == StatusCode::FORBIDDEN,
        Expected::Hidden => page.status == StatusCode::NOT_FOUND,
        // A link that is used up is refused in its own way.
        Expected::Open => !page.status.is_server_error(),
        Expected::Allowed => {
            !page.status.is_server_error()
                && page.status != StatusCode::FORBIDDEN
                && page.status != StatusCode::UNAUTHORIZED
        }
    }
}

/// As the form at this address is sent.
async fn send(browser: &mut Browser, to: &str, fields: &[(&str, &str)]) -> Page {
    if !to.ends_with("/upload") {
        return browser.post(to, fields).await;
    }
    let body = "--b0undary\r\nContent-Disposition: form-data; name=\"archive\"; filename=\"a.tar\"\r\n\r\n\
                no archive\r\n--b0undary--\r\n";
    let request = Request::post(to)
        .header("content-type", "multipart/form-data; boundary=b0undary")
        .body(body.into())
        .unwrap();
    browser.send(request).await
}

const NOWHERE: &str = "dep-1770200000123-00000001";

#[tokio::test]
async fn every_page_is_shown_to_those_it_is_for_and_to_nobody_else() {
    let (stand, deployment) = furnished().await;
    let mut everybody = everybody(&stand).await;
    let pages = page_addresses();
    assert!(pages.len() > 30, "{pages:?}");
    let mut wrong = Vec::new();
    for path in &pages {
        let Some(rule) = rule_of_page(path) else {
            panic!("the page {path} has no rule: who may see it?");
        };
        for who in &mut everybody {
            let expected = who.expects(rule);
            let to = address(path, "shop", deployment.as_str());
            let page = who.browser.get(&to).await;
            if !is_as_expected(&page, &expected, false) {
                wrong.push(format!(
                    "{} at {path}: {} {expected:?}",
                    who.what, page.status
                ));
            }
            // Who may act in staging knows of the app.
            if expected == Expected::Hidden && who.reach == Reach::OtherApp {
                let other = who.browser.get(&address(path, "nowhere", NOWHERE)).await;
                let plain = |page: &Page, app: &str, id: &str| {
                    page.html.replace(id, "ID").replace(app, "APP")
                };
                let (one, other) = (
                    plain(&page, "shop", deployment.as_str()),
                    plain(&other, "nowhere", NOWHERE),
                );
                // Beside the time of its drawing it is the same page, near names and all.
                if one.len() != other.len() {
                    wrong.push(format!("{} at {path} sees a difference", who.what));
                }
            }
            // The id that was asked for stands in the address of the page itself.
            let is_asked = path.contains("{name}") || path.contains("deployments/{id}");
            let is_named =
                page.html.contains("/apps/shop") || page.html.contains(deployment.as_str());
            if who.reach == Reach::OtherApp && !is_asked && is_named {
                wrong.push(format!("{} at {path} reads of an app of others", who.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn every_form_is_taken_from_those_it_is_for_and_from_nobody_else() {
    let (stand, deployment) = furnished().await;
    let mut everybody = everybody(&stand).await;
    let mut wrong = Vec::new();
    for path in FORM_ADDRESSES {
        let Some(rule) = rule_of_form(path) else {
            panic!("the form at {path} has no rule: who may send it?");
        };
        let to = address(path, "shop", deployment.as_str());
        for who in &mut everybody {
            let expected = who.expects(rule);
            // Not filled in by those who may: what one does to the app and to oneself would be felt
            // by those who come later. What is open, and one's own, is tried in journeys.
            let fields: &[(&str, &str)] = match (&expected, rule) {
                (Expected::Open, _) | (Expected::Allowed, SignedIn) => continue,
                (Expected::Allowed, _) => &[],
                _ => &FIELDS,
            };
            let page = send(&mut who.browser, &to, fields).await;
            if !is_as_expected(&page, &expected, true) {
                wrong.push(format!(
                    "{} sends {path}: {} {expected:?}",
                    who.what, page.status
                ));
            }
            if expected == Expected::Hidden {
                let nowhere = address(path, "nowhere", NOWHERE);
                let other = send(&mut who.browser, &nowhere, fields).await;
                if other.status != page.status {
                    wrong.push(format!("{} sends {path}: sees a difference", who.what));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Forms on foreign pages: whoever is signed in, nothing of ours takes them.
#[tokio::test]
async fn no_form_is_taken_from_another_site() {
    let (stand, deployment) = furnished().await;
    let mut browser = Browser::signed_in(&stand).await;
    for site in ["cross-site", "same-site"] {
        browser.from(site);
        for path in FORM_ADDRESSES {
            let to = address(path, "shop", deployment.as_str());
            let page = browser.post(&to, &FIELDS).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{site} {path}");
            page.has("came from another site");
        }
    }
}
