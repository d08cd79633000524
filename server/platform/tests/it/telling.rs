//! What the platform says by itself: how replicas are, what was changed, what came and went, and which
//! requests there were.

use flukedeploy_domain::access::{Actor, Limits, Tier};
use flukedeploy_domain::app::EnvVars;
use flukedeploy_domain::credential::CredentialKind;
use flukedeploy_domain::deployment::{HealthStatus, Queue, State};
use flukedeploy_domain::log_entry::{EventType, Level, LogEntry, LogFilter, SYSTEM};
use flukedeploy_domain::request_record::{AccessRule, LeftOut, RequestRecord};
use flukedeploy_domain::webhook::Events;
use flukedeploy_platform::apps::{self, ChangeApp};
use flukedeploy_platform::credentials::{PutCredential, delete_credential, put_credential};
use flukedeploy_platform::deployments::{Everyday, What, act};
use flukedeploy_platform::logs::{self, ReadLogs};
use flukedeploy_platform::ports::{IngressNews, Order, RequestBatch};
use flukedeploy_platform::tokens::{CreateToken, create_token, revoke_token};
use flukedeploy_platform::webhooks::{
    ChangeWebhook, CreateWebhook, change_webhook, create_webhook, delete_webhook,
};
use serde_json::json;
use tokio::sync::oneshot;

use crate::bench::{Life, World, name, production, service, settings, until};
use crate::swarm::Behaviour;
use crate::tap::Trouble;

impl Life<'_> {
    /// Everything told of an app, oldest first.
    fn told_of(&self, app: &str) -> Vec<LogEntry> {
        let request = ReadLogs {
            filter: LogFilter {
                app_name: Some(app.to_owned()),
                ..LogFilter::default()
            },
            limit: 5_000,
            order: Order::OldestFirst,
            ..ReadLogs::default()
        };
        let page = self.run(logs::read_logs(&self.px, &Actor::system(), request));
        page.unwrap().entries
    }

    /// How often exactly this was told of an app.
    fn times(&self, app: &str, message: &str) -> usize {
        let entries = self.told_of(app);
        entries.iter().filter(|one| one.message == message).count()
    }

    /// The health entries outside of deployments.
    fn health_outside(&self, app: &str) -> Vec<LogEntry> {
        let mut entries = self.told_of(app);
        entries.retain(|one| {
            one.flukedeploy_metadata.event_type == EventType::HealthCheck
                && one.flukedeploy_metadata.deployment_id.is_none()
        });
        entries
    }

    #[track_caller]
    fn change(&self, app: &str, change: ChangeApp) {
        let (admin, app, environment) = (Actor::system(), name(app), production());
        let changed = apps::change_app(&self.px, &admin, &app, &environment, change);
        self.run(changed).unwrap();
    }

    fn change_logs(&self, app: &str, access: &serde_json::Value) {
        let parts = json!({"logs": {"access": access}});
        let serde_json::Value::Object(parts) = parts else {
            unreachable!()
        };
        let change = ChangeApp {
            parts,
            ..ChangeApp::default()
        };
        self.change(app, change);
    }
}

fn record(path: &str) -> RequestRecord {
    serde_json::from_value(json!({
        "ended_at_ms": 1_770_200_000_000_i64, "app": "shop", "environment": "production",
        "service": service("shop", 1), "release": 1, "method": "GET", "path": path, "status": 502,
        "duration_ms": 12, "first_byte_ms": 12, "bytes_out": 0, "client": "203.0.113.9",
        "request_id": "abc", "error_code": "bad_answer",
    }))
    .unwrap()
}

#[test]
fn a_replica_that_dies_is_told_once_and_so_is_the_one_that_takes_its_place() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(2));
    let done = life.ship("shop", "shop:v1");
    life.assert_serves("shop", 1);
    assert!(
        life.health_outside("shop").is_empty(),
        "nothing has changed yet"
    );

    world.swarm.kill_one(&service("shop", 1));
    until("it is well again", || {
        life.health_outside("shop").len() >= 2
    });
    let told = life.health_outside("shop");
    let [unwell, well] = &told[..] else {
        panic!("{told:#?}");
    };
    assert_eq!(
        (unwell.message.as_str(), unwell.level),
        ("Health check: unhealthy", Level::Warn)
    );
    assert_eq!(
        (well.message.as_str(), well.level),
        ("Health check: healthy", Level::Info)
    );
    let of = |entry: &LogEntry| {
        let metadata = &entry.flukedeploy_metadata;
        (metadata.health_status, metadata.replicas, metadata.release)
    };
    assert_eq!(
        of(unwell),
        (Some(HealthStatus::Unhealthy), Some(1), Some(1))
    );
    assert_eq!(of(well), (Some(HealthStatus::Healthy), Some(2), Some(1)));
    assert_ne!(unwell.source.task_id, well.source.task_id);
    assert_eq!(
        unwell.flukedeploy_metadata.environment.as_deref(),
        Some("production")
    );
    let reason = &unwell.flukedeploy_metadata.fields["reason"];
    assert!(reason.as_str().unwrap().contains("137"), "{reason}");
    assert!(life.told("shop", "of release 1 ended by itself: exit code 137"));

    // The deployment's own stays its own.
    let inside = life.entries(&done.id);
    let of_health = inside
        .iter()
        .filter(|one| one.flukedeploy_metadata.event_type == EventType::HealthCheck);
    assert!(of_health.clone().count() >= 1);
    assert!(
        of_health
            .into_iter()
            .all(|one| one.flukedeploy_metadata.phase.is_some())
    );
    world.assert_sound();
}

#[test]
fn replicas_that_are_told_to_stop_are_not_called_unwell() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(3));
    life.ship("shop", "shop:v1");
    for replicas in [1, 3] {
        let scale = Everyday {
            app: name("shop"),
            environment: production(),
            what: What::Scale(replicas),
            queue: Queue::Wait,
            reason: None,
            idempotency_key: None,
        };
        let accepted = life.run(act(&life.px, &Actor::system(), scale)).unwrap();
        let done = life.end(&accepted.deployment.deployment_id);
        assert_eq!(done.state, State::Success);
    }
    life.ship("shop", "shop:v2");
    life.assert_serves("shop", 2);
    let mut entries = life.told_of("shop");
    entries.retain(|one| one.flukedeploy_metadata.health_status == Some(HealthStatus::Unhealthy));
    assert!(entries.is_empty(), "{entries:#?}");
    assert!(!life.told("shop", "ended by itself"));

    let scaled: Vec<_> = life
        .told_of("shop")
        .into_iter()
        .filter(|one| one.flukedeploy_metadata.event_type == EventType::ScaleEvent)
        .map(|one| (one.message, one.flukedeploy_metadata.replicas))
        .collect();
    let wanted = [
        ("Scaled from 3 to 1 replicas".to_owned(), Some(1)),
        ("Scaled from 1 to 3 replicas".to_owned(), Some(3)),
    ];
    assert_eq!(scaled, wanted);
}

#[test]
fn a_release_with_another_number_of_replicas_is_a_scaling_too() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let change = ChangeApp {
        replicas: Some(2),
        ..ChangeApp::default()
    };
    life.change("shop", change);
    let done = life.ship("shop", "shop:v2");
    let entries = life.entries(&done.id);
    let scaled = entries
        .iter()
        .find(|one| one.flukedeploy_metadata.event_type == EventType::ScaleEvent);
    let scaled = scaled.unwrap_or_else(|| panic!("{entries:#?}"));
    assert_eq!(scaled.message, "Scaled from 1 to 2 replicas");
    assert_eq!(scaled.flukedeploy_metadata.replicas, Some(2));
}

#[test]
fn a_replica_that_answers_wrongly_while_it_must_prove_itself_is_told_in_its_deployment() {
    let world = World::new();
    let life = world.boot();
    let mut careful = settings(1);
    careful.health.min_healthy_seconds = 1;
    careful.health.deadline_seconds = 5;
    // Well at first, and gone before its time is over.
    let dies = Behaviour {
        exits: Some((600, 3)),
        ..Behaviour::default()
    };
    world.swarm.image("shop:v1", dies);
    life.create_app("shop", careful);
    let done = life.end(&life.deploy("shop", "shop:v1"));
    assert!(
        matches!(done.state, State::Failed { .. }),
        "{:?}",
        done.state
    );
    let entries = life.entries(&done.id);
    let unwell = entries
        .iter()
        .find(|one| one.message == "Health check: unhealthy" && one.source.task_id.is_some());
    let unwell = unwell.unwrap_or_else(|| panic!("{entries:#?}"));
    assert_eq!(
        unwell.flukedeploy_metadata.event_type,
        EventType::HealthCheck
    );
    assert!(unwell.flukedeploy_metadata.phase.is_some());
}

#[test]
fn changes_are_told_by_name_and_never_by_value() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let change = ChangeApp {
        set_env_vars: EnvVars([("API_KEY".to_owned(), "hunter2hunter2".to_owned())].into()),
        domains: Some(vec!["shop.example.com".parse().unwrap()]),
        ..ChangeApp::default()
    };
    life.change("shop", change);
    let admin = Actor::system();
    let credential = PutCredential {
        kind: CredentialKind::Registry,
        host: "registry.example.com".to_owned(),
        username: "shop".to_owned(),
        secret: "hunter3hunter3".to_owned(),
        known_hosts: None,
    };
    life.run(put_credential(&life.px, &admin, credential))
        .unwrap();
    let kind = CredentialKind::Registry;
    life.run(delete_credential(
        &life.px,
        &admin,
        kind,
        "registry.example.com",
    ))
    .unwrap();
    let webhook = CreateWebhook {
        url: "http://127.0.0.1:9/hook".parse().unwrap(),
        secret: Some(flukedeploy_platform::secret::Secret::new(
            "hunter4hunter4hunter4".to_owned(),
        )),
        events: Events::default(),
        app: None,
    };
    let webhook = life
        .run(create_webhook(&life.px, &admin, webhook))
        .unwrap()
        .view
        .id;
    let off = ChangeWebhook {
        active: Some(false),
        events: None,
    };
    life.run(change_webhook(&life.px, &admin, &webhook, off))
        .unwrap();
    life.run(delete_webhook(&life.px, &admin, &webhook))
        .unwrap();
    let token = CreateToken {
        name: "robot".to_owned(),
        persona: None,
        tier: Tier::Advanced,
        expires_at: None,
        only: None,
        limits: Limits::default(),
    };
    let token = life.run(create_token(&life.px, &admin, token)).unwrap();
    life.run(revoke_token(&life.px, &admin, &token.view.id))
        .unwrap();
    life.create_app("gone", settings(1));
    life.run(apps::delete_app(&life.px, &admin, &name("gone")))
        .unwrap();

    for (app, text) in [
        ("shop", "created app shop"),
        ("shop", "changed env_vars, domains of shop"),
        ("gone", "deleted app gone"),
        (
            SYSTEM,
            "stored the registry credential for registry.example.com",
        ),
        (
            SYSTEM,
            "removed the registry credential for registry.example.com",
        ),
        (SYSTEM, "created a webhook to 127.0.0.1:9"),
        (SYSTEM, "turned the webhook"),
        (SYSTEM, "removed the webhook"),
        (SYSTEM, "created the advanced token 'robot'"),
        (SYSTEM, "revoked the token"),
    ] {
        let entries = life.told_of(app);
        let found = entries.iter().find(|one| one.message.contains(text));
        let found = found.unwrap_or_else(|| panic!("no {text:?} in {entries:#?}"));
        assert_eq!(
            found.flukedeploy_metadata.event_type,
            EventType::ConfigChange
        );
    }
    let all = format!("{:?}{:?}", life.told_of("shop"), life.told_of(SYSTEM));
    assert!(!all.contains("hunter"), "{all}");
    assert!(!all.contains(token.secret.expose()), "{all}");
}

#[test]
fn an_engine_that_goes_and_comes_back_is_told_once_each() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let away = || {
        let entries = life.told_of(SYSTEM);
        let is_it = |one: &&LogEntry| one.message.starts_with("The Docker engine cannot be asked");
        entries.iter().filter(is_it).count()
    };
    life.tap.fail("all_tasks", "", Trouble::Away, u32::MAX);
    // Each change makes it look.
    let look = || world.swarm.add_nothing();
    for _ in 0..5 {
        look();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    until("it is told", || {
        look();
        away() > 0
    });
    look();
    life.tap.release("all_tasks");
    until("it is back", || {
        look();
        life.times(SYSTEM, "The Docker engine answers again") > 0
    });
    assert_eq!(away(), 1, "{:#?}", life.told_of(SYSTEM));
    assert_eq!(life.times(SYSTEM, "The Docker engine answers again"), 1);
}

#[test]
fn nodes_and_ingresses_that_go_and_come_are_told() {
    let world = World::new();
    world.swarm.set_down_nodes(&["node-7"]);
    let life = world.boot();
    until("the node that is down is told", || {
        life.told(SYSTEM, "Node node-7 is not ready")
    });
    let node = "node-1".to_owned();
    world
        .ingress
        .tell(IngressNews::Connected { node: node.clone() });
    let why = "it is silent";
    world.ingress.tell(IngressNews::Gone { node, why });
    until("the ingress is told", || {
        life.told(
            SYSTEM,
            "The ingress on node node-1 is not connected any more: it is silent",
        )
    });
    assert_eq!(
        life.times(SYSTEM, "The ingress on node node-1 is connected"),
        1
    );
    life.shut_down();

    world.swarm.set_down_nodes(&[]);
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    assert!(
        !life.told(SYSTEM, "is ready again"),
        "this process never saw it down"
    );
}

#[test]
fn requests_are_told_without_the_apps_secrets() {
    let world = World::new();
    let life = world.boot();
    let mut with_secret = settings(1);
    with_secret
        .env_vars
        .0
        .insert("API_TOKEN".to_owned(), "tr0ubadour-and-3".to_owned());
    life.create_app("shop", with_secret);
    life.ship("shop", "shop:v1");

    let (taken, is_taken) = oneshot::channel();
    let left_out = LeftOut {
        app: name("shop"),
        environment: production(),
        count: 40,
    };
    world.ingress.tell(IngressNews::Requests(RequestBatch {
        requests: vec![record("/orders/7"), record("/reset/tr0ubadour-and-3")],
        left_out: vec![left_out],
        taken,
    }));
    life.run(is_taken).unwrap();
    let mut entries = life.told_of("shop");
    entries.retain(|one| one.source.stream.as_deref() == Some("access"));
    assert_eq!(entries.len(), 3, "{entries:#?}");
    assert!(entries.iter().all(|one| one.tags == ["access"]));
    let text = format!("{entries:?}");
    assert!(!text.contains("tr0ubadour"), "{text}");
    let first = entries
        .iter()
        .find(|one| one.message.starts_with("GET /orders/7 502"))
        .unwrap();
    assert_eq!(first.level, Level::Error);
    assert_eq!(
        first.flukedeploy_metadata.error_code.as_deref(),
        Some("bad_answer")
    );
    assert_eq!(first.flukedeploy_metadata.release, Some(1));
    assert!(life.told("shop", "40 more requests are not told here"));
}

#[test]
fn what_is_told_of_requests_changes_at_once_and_stays_when_going_back() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.ship("shop", "shop:v2");
    let usual = AccessRule {
        sample_permille: 0,
        slow_ms: 2_000,
    };
    assert_eq!(world.ingress.access("shop"), Some(usual));
    life.change_logs("shop", &json!({"sample_permille": 250}));
    let sampled = AccessRule {
        sample_permille: 250,
        ..usual
    };
    assert_eq!(
        world.ingress.access("shop"),
        Some(sampled),
        "without a deployment"
    );

    let done = life.end(&life.rollback("shop", 1));
    assert_eq!(done.state, State::Success);
    life.assert_serves("shop", 1);
    assert_eq!(
        world.ingress.access("shop"),
        Some(sampled),
        "it is no part of a release"
    );
    life.change_logs("shop", &json!({"enabled": false}));
    assert_eq!(world.ingress.access("shop"), None);
    assert!(life.told("shop", "changed logs of shop"));
    world.assert_sound();
}
