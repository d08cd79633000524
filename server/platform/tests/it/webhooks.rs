use flukedeploy_domain::access::{Actor, Tier};
use flukedeploy_domain::webhook::{Delivery, DeliveryStatus, Events, WebhookView};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::webhooks::{
    self, ChangeWebhook, CreateWebhook, list_deliveries, list_webhooks,
};
use flukedeploy_platform::{Error, Kind};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use time::Duration;

use crate::bench::{Life, World, deploy_of, name, settings, until};
use crate::receiver::{Heard, Mood};
use crate::tap::Counting;

const SECRET: &str = "a-secret-of-the-tests";
const HOUR: Duration = Duration::HOUR;

fn listen(life: &Life<'_>, address: &str) -> WebhookView {
    let cmd = CreateWebhook {
        url: format!("https://{address}/in").parse().unwrap(),
        secret: Some(Secret::new(SECRET)),
        events: Events::All,
        app: None,
    };
    life.run(webhooks::create_webhook(&life.px, &Actor::system(), cmd))
        .unwrap()
        .view
}

/// Oldest place first.
fn queue(life: &Life<'_>, webhook: &WebhookView) -> Vec<Delivery> {
    let system = Actor::system();
    let mut deliveries = life
        .run(list_deliveries(&life.px, &system, &webhook.id, 500))
        .unwrap();
    deliveries.reverse();
    deliveries
}

/// Waits until nothing waits any more, with time passing.
#[track_caller]
fn all_over(world: &World, life: &Life<'_>, webhook: &WebhookView) -> Vec<Delivery> {
    until("an end of all deliveries", || {
        world.clock.forward(Duration::minutes(5));
        queue(life, webhook)
            .iter()
            .all(|delivery| delivery.status != DeliveryStatus::Pending)
    });
    queue(life, webhook)
}

#[test]
fn everything_is_told_in_order_and_signed() {
    let world = World::new();
    let life = world.boot();
    let webhook = listen(&life, "good");
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    all_over(&world, &life, &webhook);
    let heard = world.receiver.heard("good");
    let events: Vec<&str> = heard.iter().map(Heard::event).collect();
    assert_eq!(
        events,
        ["app.created", "deployment.started", "deployment.succeeded"]
    );
    for one in &heard {
        let body: Value = serde_json::from_str(&one.body).unwrap();
        assert_eq!(body["event"], one.event());
        assert_eq!(body["delivery_id"], one.id());
        assert_eq!(body["data"]["app_name"], "shop");
        assert!(one.header("User-Agent").starts_with("FlukeDeploy-Webhook/"));
        assert!(one.header("X-FlukeDeploy-Timestamp").ends_with('Z'));
        let hex = one
            .header("X-FlukeDeploy-Signature")
            .strip_prefix("sha256=");
        let hex = hex.unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(one.body.as_bytes());
        mac.verify_slice(&bytes).unwrap();
        assert!(!one.body.contains(SECRET));
    }
    life.shut_down();
}

#[test]
fn who_comes_back_after_an_hour_hears_everything_in_order_and_others_never_waited() {
    let world = World::new();
    let life = world.boot();
    let (away, good) = (listen(&life, "away"), listen(&life, "good"));
    world.receiver.is("away", Mood::Down);
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.ship("shop", "shop:v2");
    let all = [
        "app.created",
        "deployment.started",
        "deployment.succeeded",
        "deployment.started",
        "deployment.succeeded",
    ];
    until("the other's events", || {
        world.receiver.accepted("good") == all
    });
    let begun = life.px.now();
    while life.px.now() - begun < HOUR {
        let before = world.receiver.heard("away").len();
        world.clock.forward(Duration::minutes(16));
        until("another attempt", || {
            world.receiver.heard("away").len() > before
        });
    }
    // Only the first was tried, again and again; what is behind it waits.
    let first = queue(&life, &away)[0].clone();
    assert_eq!(first.status, DeliveryStatus::Pending);
    assert!(first.attempts >= 4, "{first:?}");
    assert_eq!(
        first.last_error.as_deref(),
        Some("it could not be connected to")
    );
    assert!(
        world
            .receiver
            .heard("away")
            .iter()
            .all(|one| one.id() == first.id.as_str()),
        "another was tried before the first arrived"
    );
    world.receiver.is("away", Mood::Well);
    let over = all_over(&world, &life, &away);
    assert!(
        over.iter()
            .all(|one| one.status == DeliveryStatus::Delivered),
        "{over:#?}"
    );
    assert_eq!(world.receiver.accepted("away"), all);
    assert_eq!(world.receiver.heard("good").len(), all.len());
    assert_eq!(queue(&life, &good).len(), all.len());
    life.shut_down();
}

#[test]
fn each_kind_of_failure_says_what_it_was() {
    let world = World::new();
    let life = world.boot();
    let kinds = [
        ("slow", Mood::Slow, None, "did not answer within 10 s"),
        ("ill", Mood::Answers(500), Some(500), "answered 500"),
        (
            "moved",
            Mood::Answers(302),
            Some(302),
            "redirects are not followed",
        ),
        (
            "inside",
            Mood::Inside,
            None,
            "this address may not be reached",
        ),
    ];
    let listening = kinds.map(|(address, mood, status, text)| {
        world.receiver.is(address, mood);
        (address, listen(&life, address), status, text)
    });
    life.create_app("shop", settings(1));
    for (address, webhook, status, text) in &listening {
        until("an attempt", || queue(&life, webhook)[0].attempts == 1);
        let one = queue(&life, webhook)[0].clone();
        assert_eq!(
            (one.status, one.last_status),
            (DeliveryStatus::Pending, *status)
        );
        assert!(one.last_error.as_deref().unwrap().contains(text), "{one:?}");
        let pause = one.next_attempt_at.unwrap() - life.px.now();
        if *address == "inside" {
            assert!(pause > Duration::minutes(14), "{pause}");
        } else {
            assert!(pause <= Duration::seconds(7), "{pause}");
        }
    }
    for (address, ..) in &listening {
        world.receiver.is(address, Mood::Well);
    }
    for (address, webhook, ..) in &listening {
        let over = all_over(&world, &life, webhook);
        assert_eq!(over[0].status, DeliveryStatus::Delivered, "{address}");
        assert_eq!(world.receiver.accepted(address), ["app.created"]);
    }
    life.shut_down();
}

#[test]
fn after_three_days_it_is_given_up_and_can_be_sent_again() {
    let world = World::new();
    let life = world.boot();
    let webhook = listen(&life, "gone");
    world.receiver.is("gone", Mood::Answers(410));
    life.create_app("one", settings(1));
    until("an attempt", || queue(&life, &webhook)[0].attempts == 1);
    world.clock.forward(Duration::days(3));
    until("the end", || {
        queue(&life, &webhook)[0].status == DeliveryStatus::Failed
    });
    // What comes after it is tried at once.
    world.receiver.is("gone", Mood::Well);
    life.create_app("two", settings(1));
    until("the next", || {
        world.receiver.accepted("gone") == ["app.created"]
    });
    let failed = queue(&life, &webhook)[0].clone();
    assert_eq!(failed.last_status, Some(410));
    let system = Actor::system();
    let again = webhooks::resend(&life.px, &system, &failed.id);
    assert_eq!(life.run(again).unwrap().id, failed.id);
    let over = all_over(&world, &life, &webhook);
    assert!(
        over.iter()
            .all(|one| one.status == DeliveryStatus::Delivered),
        "{over:#?}"
    );
    let heard = world.receiver.heard("gone");
    let (first, last) = (heard.first().unwrap(), heard.last().unwrap());
    assert_eq!((first.id(), &first.body), (last.id(), &last.body));
    life.shut_down();
}

#[test]
fn an_answer_lost_in_a_crash_means_a_second_delivery_and_none_lost() {
    let world = World::new();
    let life = world.boot();
    let webhook = listen(&life, "silent");
    world.receiver.is("silent", Mood::Silent);
    life.create_app("shop", settings(1));
    until("the request", || world.receiver.heard("silent").len() == 1);
    life.create_app("other", settings(1));
    life.crash();
    world.receiver.is("silent", Mood::Well);
    let life = world.boot();
    all_over(&world, &life, &webhook);
    let heard = world.receiver.heard("silent");
    assert_eq!(heard.len(), 3, "{heard:#?}");
    assert_eq!(
        (heard[0].id(), &heard[0].body),
        (heard[1].id(), &heard[1].body)
    );
    assert_eq!(world.receiver.accepted("silent"), ["app.created"; 2]);
    life.shut_down();
}

#[test]
fn a_crash_at_any_moment_loses_no_event() {
    for count in (1..40).step_by(3) {
        let world = World::new();
        let life = world.boot();
        let webhook = listen(&life, "good");
        life.create_app("shop", settings(1));
        life.deploy_and_die(deploy_of("shop", "shop:v1"), count, Counting::Changes);
        life.crash();
        let life = world.boot();
        let opened = life.run(async {
            use flukedeploy_platform::ports::Store as _;
            life.store.deployments_of(&name("shop"), None, 10).await
        });
        let mut expected = vec!["app.created"];
        for deployment in opened.unwrap() {
            life.end(&deployment.id);
            expected.extend(["deployment.started", "deployment.succeeded"]);
        }
        all_over(&world, &life, &webhook);
        assert_eq!(world.receiver.accepted("good"), expected, "at {count}");
        life.shut_down();
    }
}

#[test]
fn webhooks_belong_to_administrators_and_are_checked() {
    let world = World::new();
    let life = world.boot();
    let webhook = listen(&life, "good");
    let agent = Actor {
        tier: Tier::Advanced,
        ..Actor::system()
    };
    let refused = life.run(list_webhooks(&life.px, &agent)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
    let refused = life.run(webhooks::test_webhook(&life.px, &agent, &webhook.id));
    assert_eq!(refused.unwrap_err().kind(), Kind::Forbidden);

    let try_create = |secret: Option<&str>, app: Option<&str>| {
        let cmd = CreateWebhook {
            url: "https://good/in".parse().unwrap(),
            secret: secret.map(Secret::new),
            events: Events::All,
            app: app.map(name),
        };
        life.run(webhooks::create_webhook(&life.px, &Actor::system(), cmd))
    };
    let made = try_create(None, None).unwrap();
    assert_eq!(made.secret.expose().len(), 64);
    for (secret, app) in [
        (Some("short"), None),
        (Some("ünicode-ünicode-ü"), None),
        (None, Some("nobody")),
    ] {
        assert!(
            matches!(try_create(secret, app), Err(Error::Invalid(_))),
            "{secret:?} {app:?}"
        );
    }

    let off = ChangeWebhook {
        active: Some(false),
        events: None,
    };
    let system = Actor::system();
    let changed = webhooks::change_webhook(&life.px, &system, &webhook.id, off);
    assert!(!life.run(changed).unwrap().active);
    let refused = life.run(webhooks::test_webhook(
        &life.px,
        &Actor::system(),
        &webhook.id,
    ));
    assert_eq!(refused.unwrap_err().kind(), Kind::Conflict);
    life.create_app("shop", settings(1));
    assert_eq!(queue(&life, &webhook), []);
    life.shut_down();
}
