//! Coming in, connecting, and what a browser brings back.

use axum::body::Body;
use axum::http::Request;
use flukedeploy_domain::access::{Action, Actor};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_platform::identity;
use flukedeploy_platform::people;
use flukedeploy_platform::ports::People as _;
use flukedeploy_platform::secret::Secret;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::super::House;
use super::super::people::whole;
use super::issuer::CLIENT_SECRET;
use super::{Browser, CALLBACK, PASSWORD, Stage};

#[tokio::test]
async fn whoever_connected_their_account_comes_in_with_it() {
    let stage = Stage::connected().await;
    let mut browser = stage.browser();
    let fields = [("next", "/people")];
    let page = stage
        .bring(&mut browser, "/sign-in/provider", &fields, "s-admin")
        .await;
    assert_eq!(
        (page.status.as_u16(), page.location()),
        (303, "/people"),
        "{}",
        page.html
    );
    assert!(browser.is_signed_in().await);
    let account = browser.get("/account").await;
    assert!(
        account
            .html
            .contains("ann.example at Example ID lets you in here"),
        "{}",
        account.html
    );
    let trail = stage.trail().await;
    assert!(
        trail.contains("admin signed in with Example ID from 203."),
        "{trail}"
    );
    assert!(
        trail.contains("connected the account with Example ID"),
        "{trail}"
    );
    // What was read of it is kept: four ways there and back asked once.
    assert_eq!(stage.issuer.asked("configuration"), 1);
    assert_eq!(stage.issuer.asked("keys"), 1);
    // Of it nothing shows that lets anybody in.
    for hidden in [CLIENT_SECRET, "id_token"] {
        assert!(!account.html.contains(hidden) && !trail.contains(hidden));
    }
}

#[tokio::test]
async fn a_session_of_before_is_worth_nothing_after_the_sign_in() {
    let stage = Stage::connected().await;
    let mut browser = stage.browser();
    let address = browser.leave("/sign-in/provider", &[]).await;
    let planted = browser.cookies.clone();
    let query = stage.issuer.visit(&address, "s-admin");
    browser.get(&format!("{CALLBACK}?{query}")).await;
    assert!(browser.is_signed_in().await);
    let mut attacker = Browser {
        cookies: planted,
        ..stage.browser()
    };
    assert!(!attacker.is_signed_in().await);
}

#[tokio::test]
async fn signing_in_makes_no_account_and_an_email_address_finds_none() {
    let stage = Stage::connected().await;
    let mut browser = stage.browser();
    // The same address as the administrator's, which the provider vouches for.
    stage
        .issuer
        .lie(|_, claims| claims["email_verified"] = json!(true));
    let page = stage
        .bring(&mut browser, "/sign-in/provider", &[], "s-stranger")
        .await;
    page.refused(401, "No account that may come in is connected with yours");
    assert!(!browser.is_signed_in().await);
    let accounts = people::list_people(&stage.house.px, &Actor::system())
        .await
        .unwrap();
    assert_eq!(accounts.len(), 1);
    assert!(
        stage
            .trail()
            .await
            .contains("Denied FlukeDeploy refused to sign in somebody unknown"),
        "{}",
        stage.trail().await
    );
}

#[tokio::test]
async fn a_state_counts_once_in_the_browser_that_it_was_made_for() {
    const NOT_OURS: &str = "does not belong to a sign-in that was begun in this browser";
    let stage = Stage::connected().await;
    let mut browser = stage.browser();
    let address = browser.leave("/sign-in/provider", &[]).await;
    let query = stage.issuer.visit(&address, "s-admin");
    let callback = format!("{CALLBACK}?{query}");

    // Somebody is led there with the answer that another one got.
    let mut victim = stage.browser();
    victim.get(&callback).await.refused(401, NOT_OURS);
    victim.leave("/sign-in/provider", &[]).await;
    victim.get(&callback).await.refused(401, NOT_OURS);
    assert_eq!(stage.issuer.asked("token"), 1, "a foreign code was sent on");

    // The thief who has the cookies as well comes too late: it was used.
    let mut thief = Browser {
        cookies: browser.cookies.clone(),
        ..stage.browser()
    };
    assert_eq!(browser.get(&callback).await.status, 303);
    browser.get(&callback).await.refused(401, NOT_OURS);
    thief.get(&callback).await.refused(401, NOT_OURS);
    assert_eq!(stage.issuer.asked("token"), 2);

    for query in [
        "",
        "state=",
        "code=x",
        "state=a&state=b&code=c",
        "error=access_denied",
    ] {
        let mut browser = stage.browser();
        browser.leave("/sign-in/provider", &[]).await;
        browser
            .get(&format!("{CALLBACK}?{query}"))
            .await
            .refused(401, NOT_OURS);
    }
    // And nobody takes longer than ten minutes.
    let mut browser = stage.browser();
    let address = browser.leave("/sign-in/provider", &[]).await;
    let query = stage.issuer.visit(&address, "s-admin");
    stage.clock.0.store(601, Ordering::Relaxed);
    browser
        .get(&format!("{CALLBACK}?{query}"))
        .await
        .refused(401, NOT_OURS);
}

#[tokio::test]
async fn of_many_who_bring_the_same_answer_at_once_one_gets_in() {
    let stage = Stage::connected().await;
    let mut browser = stage.browser();
    let address = browser.leave("/sign-in/provider", &[]).await;
    let callback = format!("{CALLBACK}?{}", stage.issuer.visit(&address, "s-admin"));
    let all = (0..6).map(|_| {
        let mut twin = Browser {
            cookies: browser.cookies.clone(),
            ..stage.browser()
        };
        let callback = callback.clone();
        tokio::spawn(async move { twin.get(&callback).await.status.as_u16() })
    });
    let mut answers = Vec::new();
    for one in all.collect::<Vec<_>>() {
        answers.push(one.await.unwrap());
    }
    assert_eq!(
        answers.iter().filter(|status| **status == 303).count(),
        1,
        "{answers:?}"
    );
    assert_eq!(stage.issuer.asked("token"), 2);
}

#[tokio::test]
async fn an_identity_lets_into_one_account_and_is_bound_by_its_owner_only() {
    let stage = Stage::connected().await;
    let link = stage.invitation("bob").await;
    let mut bob = stage.browser();
    let fields = [
        ("password", "violet kettle orbit"),
        ("password_again", "violet kettle orbit"),
    ];
    assert_eq!(bob.post(&link, &fields).await.status, 303);

    // Bound to the administrator's already, whoever asks.
    let page = stage
        .bring(&mut bob, "/account/provider", &[], "s-admin")
        .await;
    page.refused(409, "connected already");
    let page = stage
        .bring(&mut bob, "/account/provider", &[], "s-bob")
        .await;
    assert_eq!(page.location(), "/account", "{}", page.html);
    bob.post("/account/provider", &[])
        .await
        .refused(409, "connected already");

    // Begun in one session, it is not for another: neither a stranger's nor the same person's.
    let mut admin = stage.browser();
    admin.sign_in().await;
    admin.post("/account/provider/disconnect", &[]).await;
    let address = admin.leave("/account/provider", &[]).await;
    let callback = format!("{CALLBACK}?{}", stage.issuer.visit(&address, "s-new"));
    admin.sign_in().await;
    admin
        .get(&callback)
        .await
        .refused(401, "begun in this browser");
    let found = stage
        .house
        .store
        .account_by_identity(&stage.issuer.url, "s-new")
        .await;
    assert!(found.unwrap().is_none());

    // A form from elsewhere binds nothing, and an old proof is none.
    let forged = Request::post("/account/provider")
        .header("sec-fetch-site", "same-site")
        .header("content-type", "application/x-www-form-urlencoded");
    let forged = admin.send(forged.body(Body::empty()).unwrap()).await;
    assert_eq!(forged.status, 403);
    stage.clock.0.store(700, Ordering::Relaxed);
    let page = admin.post("/account/provider", &[]).await;
    page.refused(403, "Confirm that it is you");
}

#[tokio::test]
async fn an_invitation_is_accepted_without_a_password() {
    let stage = Stage::set().await;
    let link = stage.invitation("ann").await;
    let mut ann = stage.browser();
    let page = ann.get(&link).await;
    assert!(
        page.html
            .contains("Without a password: sign in with Example ID"),
        "{}",
        page.html
    );
    let page = stage
        .bring(&mut ann, &format!("{link}/provider"), &[], "s-ann")
        .await;
    assert_eq!(
        (page.status.as_u16(), page.location()),
        (303, "/"),
        "{}",
        page.html
    );
    assert!(stage.trail().await.contains("ann accepted the invitation"));

    // Used up; the same identity makes no second account.
    assert_eq!(
        stage
            .browser()
            .post(&format!("{link}/provider"), &[])
            .await
            .status,
        403
    );
    let other = stage.invitation("ann2").await;
    let mut again = stage.browser();
    let page = stage
        .bring(&mut again, &format!("{other}/provider"), &[], "s-ann")
        .await;
    page.refused(409, "connected with yours there already");

    // There is no password, so none is right; and the only way in cannot be taken away.
    for guess in ["-", "", "violet kettle orbit"] {
        let page = stage
            .browser()
            .post("/sign-in", &[("name", "ann"), ("password", guess)])
            .await;
        page.refused(401, "name or the password is wrong");
    }
    ann.post("/account/provider/disconnect", &[])
        .await
        .refused(409, "only way into your account");

    // A proof is one of the provider's, made anew; then a password may be set.
    stage.clock.0.store(700, Ordering::Relaxed);
    let page = ann
        .post(
            "/account/password",
            &[
                ("password", "lantern under rain"),
                ("password_again", "lantern under rain"),
            ],
        )
        .await;
    page.refused(403, "Confirm with Example ID");
    let liar = stage.issuer.clone();
    liar.lie(|_, claims| {
        claims["auth_time"] = json!(1);
        for time in ["iat", "exp"] {
            claims[time] = json!(claims[time].as_i64().unwrap() + 700);
        }
    });
    let page = stage
        .bring(&mut ann, "/account/confirm/provider", &[], "s-ann")
        .await;
    page.refused(401, "cannot be believed");
    stage.issuer.lie(|_, claims| {
        for time in ["iat", "exp", "auth_time"] {
            claims[time] = json!(claims[time].as_i64().unwrap() + 700);
        }
    });
    let page = stage
        .bring(&mut ann, "/account/confirm/provider", &[], "s-somebody")
        .await;
    page.refused(409, "somebody else");
    let page = stage
        .bring(
            &mut ann,
            "/account/confirm/provider",
            &[("next", "/account")],
            "s-ann",
        )
        .await;
    assert_eq!(
        (page.status.as_u16(), page.location()),
        (303, "/account"),
        "{}",
        page.html
    );
    let page = ann
        .post(
            "/account/password",
            &[
                ("password", "lantern under rain"),
                ("password_again", "lantern under rain"),
            ],
        )
        .await;
    assert_eq!(page.status, 303, "{}", page.html);
    let page = ann.post("/account/provider/disconnect", &[]).await;
    assert_eq!(page.status, 303, "{}", page.html);
    let page = stage
        .browser()
        .post(
            "/sign-in",
            &[("name", "ann"), ("password", "lantern under rain")],
        )
        .await;
    assert_eq!(page.status, 303, "{}", page.html);
}

#[tokio::test]
async fn an_account_that_is_turned_off_does_not_come_in() {
    let stage = Stage::set().await;
    let link = stage.invitation("ann").await;
    let mut ann = stage.browser();
    stage
        .bring(&mut ann, &format!("{link}/provider"), &[], "s-ann")
        .await;
    let people = people::list_people(&stage.house.px, &Actor::system())
        .await
        .unwrap();
    let id = &people
        .iter()
        .find(|person| person.name == "ann")
        .unwrap()
        .id;
    people::switch_person(&stage.house.px, &Actor::system(), id, true)
        .await
        .unwrap();
    assert!(!ann.is_signed_in().await);
    let page = stage
        .bring(&mut ann, "/sign-in/provider", &[], "s-ann")
        .await;
    page.refused(401, "No account that may come in");
    assert!(stage.trail().await.contains("refused to sign in ann"));
}

#[tokio::test]
async fn who_has_a_second_factor_owes_a_code_all_the_same() {
    let stage = Stage::connected().await;
    let people = people::list_people(&stage.house.px, &Actor::system())
        .await
        .unwrap();
    let (store, id) = (&stage.house.store, &people[0].id);
    let secret = Secret::new("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP");
    assert!(store.offer_second_factor(id, &secret).await.unwrap());
    let audit = AuditEntry::new(
        stage.house.px.now(),
        &Actor::system(),
        Action::ChangeOwnAccount,
        "account:admin",
        "turned the second factor on",
    );
    assert!(
        store
            .confirm_second_factor(id, 1, &[], &audit)
            .await
            .unwrap()
    );
    let mut browser = stage.browser();
    let page = stage
        .bring(
            &mut browser,
            "/sign-in/provider",
            &[("next", "/people")],
            "s-admin",
        )
        .await;
    assert_eq!(
        page.location(),
        "/sign-in/code?next=/people",
        "{}",
        page.html
    );
    assert!(!browser.is_signed_in().await);
    browser
        .post("/sign-in/code", &[("code", "000000")])
        .await
        .refused(401, "code is wrong");
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn there_and_back_is_counted_by_place() {
    let stage = Stage::set().await;
    let mut browser = stage.browser();
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(browser.post("/sign-in/provider", &[]).await.status.as_u16());
    }
    assert_eq!(
        answers.iter().filter(|status| **status == 200).count(),
        30,
        "{answers:?}"
    );
    assert!(answers.ends_with(&[429]), "{answers:?}");
    assert_eq!(
        stage.browser().post("/sign-in/provider", &[]).await.status,
        200
    );
}

#[tokio::test]
async fn without_a_provider_there_is_no_way_to_one() {
    let house = House::new().await;
    identity::ensure_admin(&house.px, Secret::new(PASSWORD))
        .await
        .unwrap();
    let mut browser = Browser {
        router: whole(&house),
        peer: SocketAddr::from(([203, 1, 0, 1], 4711)),
        cookies: BTreeMap::new(),
    };
    assert!(
        !browser
            .get("/sign-in")
            .await
            .html
            .contains("/sign-in/provider")
    );
    assert_eq!(browser.post("/sign-in/provider", &[]).await.status, 404);
    assert_eq!(browser.get(CALLBACK).await.status, 404);
}
