//! Nothing is offered that would be refused: every page that somebody is led to, and every button on
//! it, as whoever has a role.

use std::collections::BTreeSet;

use flukedeploy_domain::access::{Actor, Role, Subject, Target};
use flukedeploy_domain::deployment::PhaseName;
use flukedeploy_platform::grants::{self, NewGrant};
use flukedeploy_platform::tokens::{self, CreateToken, Only};
use http::StatusCode;
use time::Duration;

use crate::browser::Browser;
use crate::people::{id_of, joined};
use crate::support::{End, Stand, settings};

/// A form with a button, and what it would send.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Form {
    page: String,
    action: String,
    fields: Vec<(String, String)>,
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&amp;", "&"))
}

fn tags<'a>(html: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let begin = format!("<{name}");
    html.match_indices(&begin)
        .map(|(at, _)| html[at..].split_once('>').map_or("", |(tag, _)| tag))
        .collect::<Vec<_>>()
        .into_iter()
}

/// What can be sent from a page. Where several buttons say different things, each is a form.
fn forms(page: &str, html: &str) -> Vec<Form> {
    let mut found = Vec::new();
    for part in html.split("<form").skip(1) {
        let whole = part.split_once("</form>").map_or(part, |(form, _)| form);
        let (head, body) = whole.split_once('>').unwrap();
        if attribute(head, "method").as_deref() != Some("post") {
            continue;
        }
        let hidden: Vec<_> = tags(body, "input")
            .filter(|tag| tag.contains("type=\"hidden\""))
            .filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?)))
            .collect();
        for button in tags(body, "button").filter(|tag| !tag.contains("type=\"button\"")) {
            let mut fields = hidden.clone();
            let own = attribute(button, "name").zip(attribute(button, "value"));
            fields.extend(own);
            found.push(Form {
                page: page.to_owned(),
                action: attribute(head, "action").unwrap(),
                fields,
            });
        }
    }
    found
}

/// Follows every link from the overview on.
async fn walk(browser: &mut Browser, who: &str) -> (BTreeSet<String>, BTreeSet<Form>) {
    let (mut seen, mut offered) = (BTreeSet::new(), BTreeSet::new());
    let mut waiting = vec!["/".to_owned()];
    while let Some(address) = waiting.pop() {
        if !seen.insert(address.clone()) {
            continue;
        }
        let page = browser.get(&address).await;
        assert!(
            page.status == StatusCode::OK,
            "{who} is led to {address}: {} {}",
            page.status,
            page.html
        );
        offered.extend(forms(&address, &page.html));
        let links = tags(&page.html, "a").filter_map(|tag| attribute(tag, "href"));
        // The explorer of logs leads to itself in ever new ways.
        let is_page = |link: &String| {
            let path = link.split(['?', '#']).next().unwrap_or_default();
            link.starts_with('/')
                && !link.contains("/logs")
                && !path.starts_with("/assets")
                && !path.starts_with("/api")
        };
        let places = links.filter(is_page);
        waiting.extend(places.map(|link| link.split('#').next().unwrap_or_default().to_owned()));
    }
    (seen, offered)
}

async fn furnished(stand: &Stand) {
    let shop = stand.app("shop", settings(2)).await;
    for (image, ago) in [("shop:v1", 5), ("shop:v2", 3)] {
        stand
            .deployment(&shop, image, Duration::hours(ago), End::Success)
            .await;
    }
    let ahead = End::In(PhaseName::Deploy);
    stand
        .deployment(&shop, "shop:v3", Duration::minutes(1), ahead)
        .await;
    stand.app("bank", settings(1)).await;
}

async fn with_role(stand: &Stand, name: &str, role: Role) -> Browser {
    let browser = joined(stand, name, false).await;
    let new = NewGrant {
        subject: Subject::Account(id_of(stand, name).await),
        target: Target::App("shop".parse().unwrap()),
        role,
        environments: None,
    };
    grants::grant(&stand.px, &Actor::system(), new)
        .await
        .unwrap();
    browser
}

#[tokio::test]
async fn nothing_is_offered_that_would_be_refused() {
    for (role, least, told) in [
        (Role::Viewer, 3, &[][..]),
        (
            Role::Deployer,
            8,
            &[
                "/scale",
                "/restart",
                "/mode",
                "/cancel",
                "/deploy",
                "/rollback",
            ],
        ),
        (
            Role::Maintainer,
            10,
            &[
                "/scale",
                "/deploy",
                "/apps/shop#settings",
                "/apps/shop/delete",
                "/environments/new",
            ],
        ),
    ] {
        let stand = Stand::new().await;
        Browser::signed_in(&stand).await;
        furnished(&stand).await;
        let who = role.as_str();
        let mut browser = with_role(&stand, who, role).await;
        let (seen, offered) = walk(&mut browser, who).await;
        assert!(
            seen.iter().any(|page| page == "/apps/shop"),
            "{who}: {seen:?}"
        );
        assert!(
            seen.iter().any(|page| page.starts_with("/deployments/")),
            "{who}: {seen:?}"
        );
        for part in told {
            assert!(
                offered.iter().any(|form| form.action.ends_with(part)),
                "{who} is not offered {part}: {offered:#?}"
            );
        }
        let of_shop = |form: &&Form| form.page.contains("shop") && form.action.starts_with("/apps");
        if role == Role::Viewer {
            assert_eq!(offered.iter().find(of_shop), None);
            assert!(
                !offered
                    .iter()
                    .any(|form| form.action.contains("/deployments/"))
            );
        }
        assert!(offered.len() >= least, "{who}: {offered:#?}");
        // What ends the session comes last, and is not tried.
        for form in offered.iter().filter(|form| form.action != "/sign-out") {
            let fields: Vec<_> = form
                .fields
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect();
            let action = form.action.split('#').next().unwrap();
            let answer = browser.post(action, &fields).await;
            assert!(
                answer.status != StatusCode::FORBIDDEN && answer.status != StatusCode::NOT_FOUND,
                "{who} is offered {form:?}, and refused: {} {}",
                answer.status,
                answer.html
            );
        }
    }
}

/// The other way round: what is not offered is refused, also to who knows the address.
#[tokio::test]
async fn the_pages_behind_what_is_not_offered_say_no() {
    let stand = Stand::new().await;
    Browser::signed_in(&stand).await;
    furnished(&stand).await;
    let mut viewer = with_role(&stand, "viewer", Role::Viewer).await;
    for page in [
        "deploy",
        "deploy/upload",
        "rollback",
        "environments/new",
        "promote",
        "delete",
        "permissions",
    ] {
        let address = format!("/apps/shop/{page}");
        let refused = viewer.get(&address).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{address}");
        // Of an app that may not be seen there is no such page.
        let hidden = viewer.get(&format!("/apps/bank/{page}")).await;
        assert_eq!(hidden.status, StatusCode::NOT_FOUND, "{page}");
    }
    viewer
        .get("/apps/shop")
        .await
        .has("disabled")
        .lacks("Save settings")
        .lacks("Delete shop");
}

#[tokio::test]
async fn an_apps_permissions_say_who_may_do_what_and_why() {
    let stand = Stand::new().await;
    let mut admin = Browser::signed_in(&stand).await;
    furnished(&stand).await;
    let mut maintainer = with_role(&stand, "mia", Role::Maintainer).await;
    joined(&stand, "office", false).await;
    let project = "web".parse().unwrap();
    let shop = "shop".parse().unwrap();
    grants::set_project(&stand.px, &Actor::system(), &shop, Some(&project))
        .await
        .unwrap();
    let new = NewGrant {
        subject: Subject::Account(id_of(&stand, "office").await),
        target: Target::Project(project),
        role: Role::Deployer,
        environments: None,
    };
    grants::grant(&stand.px, &Actor::system(), new)
        .await
        .unwrap();
    let token = |name: &str, only| CreateToken {
        name: name.to_owned(),
        persona: None,
        tier: flukedeploy_domain::access::Tier::Extended,
        expires_at: None,
        only,
        limits: flukedeploy_domain::access::Limits::default(),
    };
    let only = |app: &str| {
        Some(Only {
            targets: vec![Target::App(app.parse().unwrap())],
            role: Role::Maintainer,
            environments: None,
        })
    };
    for (name, only) in [
        ("reads-shop", only("shop")),
        ("reads-bank", only("bank")),
        ("reads-all", None),
    ] {
        tokens::create_token(&stand.px, &Actor::system(), token(name, only))
            .await
            .unwrap();
    }

    let address = "/apps/shop/permissions";
    maintainer.get("/apps/shop").await.has(address);
    let page = maintainer.get(address).await;
    page.has("Administrator: may do everything")
        .has("Granted in this app")
        .has("Granted in the project web")
        .has("reads-shop")
        .has("reads-all")
        .lacks("reads-bank")
        .lacks("Withdraw")
        .lacks("Grant a role");
    // A token that reads is no maintainer, whatever it was granted.
    let row = page
        .html
        .split("reads-shop")
        .nth(1)
        .unwrap()
        .split("</tr>")
        .next()
        .unwrap();
    assert!(
        row.contains("Viewer") && !row.contains("Maintainer"),
        "{row}"
    );

    let office = format!("account:{}", id_of(&stand, "office").await);
    let fields = [
        ("subject", office.as_str()),
        ("role", "viewer"),
        ("environments", "staging"),
    ];
    let refused = maintainer.post(address, &fields).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let bad = admin
        .post(address, &[("subject", &office), ("role", "owner")])
        .await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    let granted = admin.post(address, &fields).await;
    assert_eq!(granted.location(), address, "{}", granted.html);
    let page = admin.get(address).await;
    page.has("staging")
        .has("Withdraw the role viewer of office");
    // The role is changed by granting another one.
    let more = [("subject", office.as_str()), ("role", "maintainer")];
    admin.post(address, &more).await;
    let page = admin.get(address).await;
    page.lacks("Withdraw the role viewer of office");
    let withdraw = page.html.split("action=\"").find(|part| {
        part.starts_with(address) && part.contains("Withdraw the role maintainer of office")
    });
    let withdraw = withdraw.unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(
        maintainer.post(&withdraw, &[]).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(admin.post(&withdraw, &[]).await.location(), address);
    admin.get(address).await.lacks("of office");
}
