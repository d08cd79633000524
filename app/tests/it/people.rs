//! Invitations, the second step, one's own account, and proofs, without a script.

use flukedeploy_domain::access::Actor;
use flukedeploy_platform::people::{self, Invite};
use flukedeploy_platform::ports::SystemClock;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::StatusCode;
use sha1::Sha1;
use std::sync::Arc;
use tower_sessions::SessionStore as _;
use tower_sessions::session::Id;

use crate::browser::{Browser, PASSWORD, Page};
use crate::support::{Stand, settings};

const OTHER: &str = "violet kettle orbit";

/// The text between two others.
fn between<'a>(html: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = html
        .split_once(from)
        .unwrap_or_else(|| panic!("{from} in {html}"));
    rest.split_once(to).unwrap().0
}

async fn link(stand: &Stand, name: Option<&str>, is_administrator: bool) -> String {
    let cmd = Invite {
        name: name.map(ToOwned::to_owned),
        is_administrator,
        ..Invite::default()
    };
    let new = people::invite(&stand.px, &Actor::system(), cmd)
        .await
        .unwrap();
    let (_, path) = new.link.expose().split_once(":3000").unwrap();
    path.to_owned()
}

pub(crate) async fn joined(stand: &Stand, name: &str, is_administrator: bool) -> Browser {
    let link = link(stand, Some(name), is_administrator).await;
    let mut browser = Browser::new(stand);
    let fields = [("password", OTHER), ("password_again", OTHER)];
    let page = browser.post(&link, &fields).await;
    assert_eq!(page.location(), "/", "{}", page.html);
    browser
}

fn session_cookie(browser: &Browser) -> String {
    let cookies = browser.cookies().iter();
    let (_, value) = cookies
        .clone()
        .find(|(name, _)| name == "flukedeploy_main")
        .unwrap();
    value.clone()
}

/// Lets the session's last proof be of an hour ago.
async fn age_proof(stand: &Stand, browser: &Browser) {
    let sessions = stand.store.sessions(Arc::new(SystemClock));
    let id: Id = session_cookie(browser).parse().unwrap();
    let mut record = sessions.load(&id).await.unwrap().unwrap();
    let data = record.data.get_mut("signed_in").unwrap();
    let proved = &mut data["signed_in"]["proved_at_ms"];
    *proved = (proved.as_i64().unwrap() - 3_600_000).into();
    sessions.save(&record).await.unwrap();
}

pub(crate) async fn id_of(stand: &Stand, name: &str) -> String {
    let people = people::list_people(&stand.px, &Actor::system())
        .await
        .unwrap();
    people
        .into_iter()
        .find(|person| person.name == name)
        .unwrap()
        .id
}

/// Turns the second factor on; the recovery codes.
async fn second_factor(stand: &Stand, browser: &mut Browser) -> Vec<String> {
    let page = browser.get("/account/second-factor").await;
    page.has("class=\"qr\"").has("<path d=\"M");
    let secret = between(
        &page.html,
        "<pre id=\"factor-secret\" tabindex=\"0\">",
        "</pre>",
    )
    .to_owned();
    let code = code_of(&secret, stand.px.now().unix_timestamp());
    let page = browser
        .post("/account/second-factor", &[("code", &code)])
        .await;
    assert_eq!(page.status, StatusCode::CREATED, "{}", page.html);
    assert_eq!(page.headers["cache-control"], "no-store");
    between(
        &page.html,
        "<pre id=\"recovery-codes\" tabindex=\"0\">",
        "</pre>",
    )
    .lines()
    .map(ToOwned::to_owned)
    .collect()
}

#[tokio::test]
async fn an_invitation_is_made_on_the_page_and_used_once() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    browser
        .get("/people")
        .await
        .has("Invite somebody")
        .has("admin");
    let fields = [("name", "bad name"), ("expires_in_hours", "72")];
    let page = browser.post("/people", &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("value=\"bad name\"").has("letters, digits");

    let page = browser.post("/people", &[("expires_in_hours", "72")]).await;
    assert_eq!(page.status, StatusCode::CREATED);
    assert_eq!(page.headers["cache-control"], "no-store");
    let link = between(&page.html, "<pre id=\"new-link\" tabindex=\"0\">", "</pre>").to_owned();
    let (_, path) = link.split_once(":3000").unwrap();
    browser.get("/people").await.lacks(path).has("Open");

    let mut guest = Browser::new(&stand);
    let page = guest.get(path).await;
    page.has("Join FlukeDeploy").has("admin invited you");
    // The address is a secret: it goes nowhere, and stays in no memory.
    assert_eq!(page.headers["referrer-policy"], "strict-origin");
    assert_eq!(page.headers["cache-control"], "no-store");
    assert!(!page.html.contains("http://") || page.html.contains("http://www.w3.org"));

    let common = [
        ("name", "ann"),
        ("password", "password1234"),
        ("password_again", "password1234"),
    ];
    let page = guest.post(path, &common).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("among the first that are tried")
        .has("value=\"ann\"")
        .lacks("password1234");
    let fields = [
        ("name", "ann"),
        ("password", OTHER),
        ("password_again", OTHER),
    ];
    let page = guest.post(path, &fields).await;
    assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/"));
    assert_eq!(guest.get("/").await.status, StatusCode::OK);
    guest.get("/").await.lacks("href=\"/people\"");
    assert_eq!(guest.get("/people").await.status, StatusCode::FORBIDDEN);

    let page = Browser::new(&stand).get(path).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    page.has("This link does not work");
    let page = Browser::new(&stand).post(path, &fields).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn signing_in_takes_two_steps_and_half_of_it_opens_nothing() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let codes = second_factor(&stand, &mut browser).await;
    assert_eq!(codes.len(), 10);

    let mut again = Browser::new(&stand);
    let fields = [("name", "admin"), ("password", PASSWORD), ("next", "/apps")];
    let page = again.post("/sign-in", &fields).await;
    assert_eq!(page.location(), "/sign-in/code?next=/apps");
    let planted = session_cookie(&again);
    again.get(page.location()).await.has("Enter your code");
    for path in [
        "/",
        "/people",
        "/account",
        "/tokens",
        "/account/second-factor",
    ] {
        let page = again.get(path).await;
        assert!(
            page.location().starts_with("/sign-in"),
            "{path}: {}",
            page.location()
        );
    }
    let page = again.post("/account/second-factor/off", &[]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    let page = again.post("/sign-in/code", &[("code", "000000")]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    page.has("The code is wrong").lacks("value=\"000000\"");
    let fields = [("code", codes[0].as_str()), ("next", "/apps")];
    let page = again.post("/sign-in/code", &fields).await;
    assert_eq!(page.location(), "/apps");
    assert_ne!(
        session_cookie(&again),
        planted,
        "the id changes with the second step"
    );
    again.get("/account").await.has("9 recovery codes are left");

    // Somebody without the first step, and a next that leads away.
    let page = Browser::new(&stand).post("/sign-in/code", &fields).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    let mut last = Browser::new(&stand);
    let fields = [
        ("name", "admin"),
        ("password", PASSWORD),
        ("next", "//evil.example"),
    ];
    assert_eq!(
        last.post("/sign-in", &fields).await.location(),
        "/sign-in/code"
    );
    let fields = [
        ("code", codes[1].as_str()),
        ("next", "https://evil.example/"),
    ];
    assert_eq!(last.post("/sign-in/code", &fields).await.location(), "/");
}

#[tokio::test]
async fn a_planted_session_is_worth_nothing_after_any_step() {
    let stand = Stand::new().await;
    let mut victim = Browser::signed_in(&stand).await;
    let codes = second_factor(&stand, &mut victim).await;
    // Before the first step: the session of half a sign-in that somebody else began.
    let mut attacker = Browser::new(&stand);
    let fields = [("name", "admin"), ("password", PASSWORD)];
    attacker.post("/sign-in", &fields).await;
    let mut victim = attacker.twin();
    victim.post("/sign-in", &fields).await;
    let mut between = victim.twin();
    let page = victim.post("/sign-in/code", &[("code", &codes[0])]).await;
    assert_eq!(page.location(), "/", "{}", page.html);
    let mut before_proof = victim.twin();
    let page = victim
        .post("/account/confirm", &[("password", PASSWORD)])
        .await;
    assert_eq!(page.location(), "/account");
    assert_eq!(victim.get("/").await.status, StatusCode::OK);
    for (when, planted) in [
        ("before the password", &mut attacker),
        ("before the code", &mut between),
        ("before the proof", &mut before_proof),
    ] {
        assert_eq!(
            planted.get("/").await.status,
            StatusCode::SEE_OTHER,
            "{when}"
        );
    }
}

#[tokio::test]
async fn a_session_of_an_earlier_build_is_over_and_no_fault() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let sessions = stand.store.sessions(Arc::new(SystemClock));
    let id: Id = session_cookie(&browser).parse().unwrap();
    let mut record = sessions.load(&id).await.unwrap().unwrap();
    let signed_in = &mut record.data.get_mut("signed_in").unwrap()["signed_in"];
    let known = ["account_id", "name", "password_changed_at_ms"];
    signed_in
        .as_object_mut()
        .unwrap()
        .retain(|field, _| known.contains(&field.as_str()));
    sessions.save(&record).await.unwrap();
    let page = browser.get("/apps").await;
    assert_eq!(page.location(), "/sign-in?next=/apps");
}

#[tokio::test]
async fn what_was_typed_outlives_the_session_over_both_steps() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    let codes = second_factor(&stand, &mut browser).await;
    let fields = [
        ("name", "admin"),
        ("password", PASSWORD),
        ("next", "/apps/shop/deploy"),
        ("carried_to", "/apps/shop/deploy"),
        ("carried.image", "shop:v9"),
    ];
    let mut again = Browser::new(&stand);
    let page = again.post("/sign-in", &fields).await;
    page.has("Enter your code")
        .has("name=\"carried.image\" value=\"shop:v9\"")
        .lacks(PASSWORD);
    let mut fields = fields[2..].to_vec();
    fields.push(("code", codes[0].as_str()));
    again
        .post("/sign-in/code", &fields)
        .await
        .has("You are signed in again")
        .has("value=\"shop:v9\"");
}

#[tokio::test]
async fn a_proof_is_asked_for_and_what_was_typed_comes_back() {
    let stand = Stand::new().await;
    stand.app("shop", settings(1)).await;
    let mut browser = Browser::signed_in(&stand).await;
    age_proof(&stand, &browser).await;
    let before = session_cookie(&browser);

    let fields = [
        ("name", "ann"),
        ("display_name", "Ann Lindqvist"),
        ("expires_in_hours", "24"),
    ];
    let page = browser.post("/people", &fields).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    page.has("Confirm that it is you")
        .has("name=\"carried.display_name\" value=\"Ann Lindqvist\"");
    let carried = [
        ("next", "/people"),
        ("carried_to", "/people"),
        ("carried.name", "ann"),
        ("carried.display_name", "Ann Lindqvist"),
        ("carried.expires_in_hours", "24"),
    ];
    let mut wrong = carried.to_vec();
    wrong.push(("password", "not the password"));
    let page = browser.post("/account/confirm", &wrong).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("value=\"Ann Lindqvist\"")
        .lacks("not the password");
    let mut right = carried.to_vec();
    right.push(("password", PASSWORD));
    let page = browser.post("/account/confirm", &right).await;
    assert_eq!(page.status, StatusCode::OK);
    page.has("value=\"Ann Lindqvist\"")
        .has("It was not sent yet")
        .has("Invite somebody");
    assert_ne!(
        session_cookie(&browser),
        before,
        "the id changes with a proof"
    );
    let page = browser.post("/people", &fields).await;
    assert_eq!(page.status, StatusCode::CREATED);

    // An app is not deleted on the way, and `next` leads nowhere else.
    age_proof(&stand, &browser).await;
    let page = browser
        .post("/apps/shop/delete", &[("confirm", "shop")])
        .await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/apps/shop").await.status, StatusCode::OK);
    for (next, to) in [
        ("/people", "/people"),
        ("//evil.example", "/account"),
        ("https://evil.example", "/account"),
        ("/\\evil.example", "/account"),
        ("javascript:alert(1)", "/account"),
    ] {
        let fields = [("password", PASSWORD), ("next", next)];
        assert_eq!(
            browser.post("/account/confirm", &fields).await.location(),
            to
        );
        browser
            .get(&format!(
                "/account/confirm?next={}",
                crate::browser::encoded(next)
            ))
            .await
            .lacks("evil.example")
            .lacks("alert(1)");
    }
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let mut other = Browser::signed_in(&stand).await;
    let mut third = Browser::signed_in(&stand).await;
    // Somebody else's are none of one's business.
    let mut ann = joined(&stand, "ann", true).await;
    let page = browser.get("/account").await;
    page.has("This one").has("End all others");
    assert_eq!(
        page.html.matches("/account/sessions/").count(),
        3,
        "{}",
        page.html
    );
    let end = between(&page.html, "action=\"/account/sessions/", "\"").to_owned();
    let end = format!("/account/sessions/{end}");
    assert_eq!(browser.post(&end, &[]).await.location(), "/account");
    let left = [other.get("/").await.status, third.get("/").await.status];
    assert_eq!(
        left.iter()
            .filter(|status| **status == StatusCode::OK)
            .count(),
        1,
        "{left:?}"
    );
    assert_eq!(ann.post(&end, &[]).await.status, StatusCode::NOT_FOUND);
    browser.post("/account/sessions/others", &[]).await;
    for ended in [&mut other, &mut third] {
        assert_eq!(ended.get("/").await.status, StatusCode::SEE_OTHER);
    }
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    assert_eq!(ann.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_new_password_keeps_this_session_and_ends_the_others() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let mut other = Browser::signed_in(&stand).await;
    let fields = [
        ("present_password", "not the password"),
        ("password", OTHER),
        ("password_again", OTHER),
    ];
    let page = browser.post("/account/password", &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.has("Is wrong.").lacks(OTHER);
    let fields = [
        ("present_password", PASSWORD),
        ("password", OTHER),
        ("password_again", OTHER),
    ];
    let before = session_cookie(&browser);
    assert_eq!(
        browser.post("/account/password", &fields).await.location(),
        "/account"
    );
    assert_ne!(session_cookie(&browser), before);
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
    assert_eq!(other.get("/account").await.status, StatusCode::SEE_OTHER);

    let page = browser
        .post("/account", &[("display_name", "Ada <b>")])
        .await;
    assert_eq!(page.location(), "/account");
    browser.get("/people").await.has("Ada &lt;b&gt;");
}

#[tokio::test]
async fn administrators_turn_off_reset_and_delete_others() {
    let stand = Stand::new().await;
    let mut browser = Browser::signed_in(&stand).await;
    let mut ann = joined(&stand, "ann", false).await;
    second_factor(&stand, &mut ann).await;
    let id = id_of(&stand, "ann").await;
    browser
        .get("/people")
        .await
        .has("Turn off ann")
        .lacks("Turn off admin");
    let reset = format!("/people/{id}/reset");
    browser
        .get(&reset)
        .await
        .has("Take the second factor of ann away");
    assert_eq!(browser.post(&reset, &[]).await.location(), "/people");
    assert_eq!(
        ann.get("/").await.status,
        StatusCode::SEE_OTHER,
        "signed out with it"
    );
    browser.get("/people").await.lacks("/reset");

    let switch = format!("/people/{id}/switch");
    assert_eq!(
        browser
            .post(&switch, &[("disabled", "true")])
            .await
            .location(),
        "/people"
    );
    let fields = [("name", "ann"), ("password", OTHER)];
    let refused: Page = ann.post("/sign-in", &fields).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    refused.has("The name or the password is wrong");
    browser.get("/people").await.has("Turn on ann");
    browser.post(&switch, &[("disabled", "false")]).await;
    assert_eq!(ann.post("/sign-in", &fields).await.location(), "/");

    let delete = format!("/people/{id}/delete");
    browser.get(&delete).await.has("Type the person");
    let page = browser.post(&delete, &[("confirm", "bob")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        browser
            .post(&delete, &[("confirm", "ann")])
            .await
            .location(),
        "/people"
    );
    assert_eq!(ann.get("/").await.status, StatusCode::SEE_OTHER);

    // Not oneself.
    let own = id_of(&stand, "admin").await;
    let page = browser
        .post(&format!("/people/{own}/delete"), &[("confirm", "admin")])
        .await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    page.has("your own account");
}

/// What an authenticator with this secret shows at a time.
fn code_of(base32: &str, at: i64) -> String {
    let (mut bits, mut buffer, mut key) = (0, 0u32, Vec::new());
    for digit in base32.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            _ => digit - b'2' + 26,
        };
        buffer = (buffer << 5) | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            key.push((buffer >> bits & 255) as u8);
        }
    }
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
    mac.update(&u64::try_from(at / 30).unwrap().to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash[19] & 15);
    let word = hash[offset..offset + 4].try_into().unwrap();
    format!(
        "{:06}",
        (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000
    )
}
