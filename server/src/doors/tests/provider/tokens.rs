//! What the provider says and signs, and how it is.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

use super::issuer::{CLIENT, Key, Mood, message};
use super::{CALLBACK, Stage, base64url};

/// Makes a token of head and claims.
type Forge = Box<dyn Fn(&Value, &Value) -> String + Send>;
/// Changes head and claims before they are signed.
type Change = fn(&mut Value, &mut Value);

#[tokio::test]
async fn a_code_is_worth_nothing_twice_nor_without_its_verifier() {
    let stage = Stage::connected().await;
    // The code of one flow, brought back with the state of another: an injected code.
    let (mut one, mut other) = (stage.browser(), stage.browser());
    let of_one = stage
        .issuer
        .visit(&one.leave("/sign-in/provider", &[]).await, "s-admin");
    let of_other = stage
        .issuer
        .visit(&other.leave("/sign-in/provider", &[]).await, "s-other");
    let part = |query: &str, name: &str| {
        let found = query
            .split('&')
            .find(|pair| pair.starts_with(name))
            .unwrap();
        found.to_owned()
    };
    let iss = part(&of_one, "iss=");
    let injected = format!(
        "{CALLBACK}?{}&{}&{iss}",
        part(&of_one, "code="),
        part(&of_other, "state=")
    );
    other
        .get(&injected)
        .await
        .refused(401, "cannot be believed");
    assert!(!other.is_signed_in().await);
    assert!(
        stage
            .trail()
            .await
            .contains("the provider did not take the code")
    );
}

/// What a token must not say: each sentence stands in the audit trail.
#[tokio::test]
async fn a_token_that_is_not_what_it_should_be_lets_nobody_in() {
    let lies: [(&str, Change); 16] = [
        ("belongs to another sign-in", |_, c| {
            c["nonce"] = json!("another");
        }),
        ("belongs to another sign-in", |_, c| {
            c.as_object_mut().unwrap().remove("nonce");
        }),
        ("is for somebody else", |_, c| c["aud"] = json!("them")),
        ("is for somebody else", |_, c| c["aud"] = json!([])),
        ("does not say for whom", |_, c| {
            c["aud"] = json!([CLIENT, "them"]);
        }),
        ("made for somebody else", |_, c| c["azp"] = json!("them")),
        ("of another issuer", |_, c| {
            c["iss"] = json!("https://accounts.example");
        }),
        ("of another issuer", |_, c| {
            c["iss"] = json!(format!("{}/", c["iss"].as_str().unwrap()));
        }),
        ("has expired", |_, c| {
            c["exp"] = json!(c["iat"].as_i64().unwrap() - 61);
        }),
        ("of the future", |_, c| {
            c["iat"] = json!(c["iat"].as_i64().unwrap() + 120);
        }),
        ("of the future", |_, c| {
            c["nbf"] = json!(c["iat"].as_i64().unwrap() + 120);
        }),
        ("older than this sign-in", |_, c| {
            c["iat"] = json!(c["iat"].as_i64().unwrap() - 120);
        }),
        ("cannot be read", |_, c| {
            c.as_object_mut().unwrap().remove("exp");
        }),
        ("cannot be read", |_, c| c["exp"] = json!("9999999999")),
        ("cannot be read", |_, c| c["sub"] = json!(17)),
        ("needs an extension", |h, _| h["crit"] = json!(["b64"])),
    ];
    let stage = Stage::connected().await;
    for (why, lie) in lies {
        stage.issuer.lie(lie);
        stage.assert_refused(401, "cannot be believed").await;
        let trail = stage.trail().await;
        let first = trail.lines().next().unwrap();
        assert!(
            first.contains(why) && first.starts_with("Denied"),
            "{why}: {first}"
        );
    }
    stage.issuer.change(|inner| inner.lie = None);
    assert_eq!(stage.try_to_enter().await.1.status, 303);
}

#[tokio::test]
async fn no_signature_but_a_real_one_counts() {
    let stage = Stage::connected().await;
    let public = stage.issuer.inner.lock().unwrap().keys[0].1.public();
    let with_alg = |head: &Value, alg: &str| {
        let mut head = head.clone();
        head["alg"] = json!(alg);
        head
    };
    let none = move |head: &Value, claims: &Value| {
        format!("{}.", message(&with_alg(head, "none"), claims))
    };
    let confused = move |head: &Value, claims: &Value| {
        let message = message(&with_alg(head, "HS256"), claims);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public);
        let signature = ring::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", base64url(signature.as_ref()))
    };
    let strange = move |head: &Value, claims: &Value| {
        let message = message(head, claims);
        let Key::Ec(key) = Key::ec() else {
            unreachable!()
        };
        let signed = key
            .sign(&ring::rand::SystemRandom::new(), message.as_bytes())
            .unwrap();
        format!("{message}.{}", base64url(signed.as_ref()))
    };
    let blank = move |head: &Value, claims: &Value| {
        format!("{}.{}", message(head, claims), base64url(&[0; 64]))
    };
    let cut = move |head: &Value, claims: &Value| message(head, claims);
    let huge = move |head: &Value, _: &Value| format!("{}.{}.x", head, "x".repeat(20_000));
    let forged: [(&str, Forge); 6] = [
        ("not signed with RS256, ES256 or EdDSA", Box::new(none)),
        ("not signed with RS256, ES256 or EdDSA", Box::new(confused)),
        ("signature of the token is wrong", Box::new(strange)),
        ("signature of the token is wrong", Box::new(blank)),
        ("cannot be read", Box::new(cut)),
        ("cannot be read", Box::new(huge)),
    ];
    for (why, forge) in forged {
        stage.issuer.change(|inner| inner.forge = Some(forge));
        stage.assert_refused(401, "cannot be believed").await;
        let trail = stage.trail().await;
        assert!(
            trail.lines().next().unwrap().contains(why),
            "{why}: {trail}"
        );
    }
}

#[tokio::test]
async fn new_keys_are_found_and_unknown_ones_are_not_asked_for_each_time() {
    let stage = Stage::connected().await;
    assert_eq!(stage.issuer.asked("keys"), 1);
    // The provider signs with its next key, of another kind, which it publishes.
    stage.issuer.change(|inner| {
        inner.signs = 1;
        inner.published = vec![0, 1];
    });
    // What was read a moment ago is not read again: somebody may be making names up.
    stage.assert_refused(401, "cannot be believed").await;
    let begun = Instant::now();
    let mut browser = loop {
        let (browser, page) = stage.try_to_enter().await;
        if page.status == 303 {
            break browser;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", page.html);
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(browser.is_signed_in().await);
    assert_eq!(stage.issuer.asked("keys"), 2);
    for _ in 0..5 {
        stage.issuer.lie(|head, _| head["kid"] = json!("made-up"));
        stage.assert_refused(401, "cannot be believed").await;
    }
    assert!(
        stage
            .trail()
            .await
            .contains("a key that the provider does not publish")
    );
    assert_eq!(stage.issuer.asked("keys"), 2);
}

#[tokio::test]
async fn a_provider_that_is_away_slow_or_odd_lets_nobody_in_and_is_said_to_be() {
    let stage = Stage::connected().await;
    for (mood, why) in [
        (Mood::Broken, "did not answer with what it should"),
        (Mood::Huge, "answered more than 262144 bytes"),
        (Mood::Away, "did not answer with what it should"),
        (Mood::Slow, "did not answer within 10 s"),
    ] {
        let mut browser = stage.browser();
        let address = browser.leave("/sign-in/provider", &[]).await;
        let query = stage.issuer.visit(&address, "s-admin");
        stage.issuer.change(|inner| inner.mood = mood);
        let page = browser.get(&format!("{CALLBACK}?{query}")).await;
        page.refused(503, why);
        assert!(
            page.html.contains("Sign in with Example ID"),
            "the way back is shown"
        );
        stage.issuer.change(|inner| inner.mood = Mood::Well);
    }
    // With a password one comes in all the while.
    stage.browser().sign_in().await;
}

#[tokio::test]
async fn a_provider_that_is_another_than_the_settings_say_is_not_gone_to() {
    for (name, value, why) in [
        ("issuer", json!("https://accounts.example"), "another name"),
        (
            "token_endpoint",
            json!("file:///etc/passwd"),
            "cannot be used",
        ),
        ("jwks_uri", json!("http://x\ny/"), "cannot be used"),
        ("code_challenge_methods_supported", json!(["plain"]), "S256"),
        (
            "id_token_signing_alg_values_supported",
            json!(["HS256", "none"]),
            "signs with none of",
        ),
        ("authorization_endpoint", json!(null), "cannot be read"),
    ] {
        let stage = Stage::set().await;
        stage.issuer.change(|inner| inner.metadata[name] = value);
        let page = stage.browser().post("/sign-in/provider", &[]).await;
        page.refused(503, why);
        assert!(!page.headers.contains_key("refresh"));
    }
}

#[tokio::test]
async fn addresses_inside_that_the_provider_names_are_not_reached() {
    let stage = Stage::set().await;
    stage
        .issuer
        .change(|inner| inner.metadata["token_endpoint"] = json!("http://169.254.169.254/latest"));
    let mut browser = stage.browser();
    let address = browser.leave("/sign-in/provider", &[]).await;
    let query = stage.issuer.visit(&address, "s-admin");
    let page = browser.get(&format!("{CALLBACK}?{query}")).await;
    page.refused(503, "this address may not be reached");
}

#[tokio::test]
async fn an_answer_of_another_provider_is_not_taken_for_ours() {
    let stage = Stage::connected().await;
    for change in ["&iss=https%3A%2F%2Faccounts.example", ""] {
        let mut browser = stage.browser();
        let address = browser.leave("/sign-in/provider", &[]).await;
        let query = stage.issuer.visit(&address, "s-admin");
        let (ours, _) = query.split_once("&iss=").unwrap();
        let asked = stage.issuer.asked("token");
        let page = browser.get(&format!("{CALLBACK}?{ours}{change}")).await;
        page.refused(401, "cannot be believed");
        assert_eq!(
            stage.issuer.asked("token"),
            asked,
            "the code was handed over"
        );
    }
}
