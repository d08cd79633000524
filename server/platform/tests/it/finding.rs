//! What self-diagnosis finds, and what its repairs do: each issue comes when it should and goes.

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::Volume;
use flukedeploy_domain::issue::{Issue, IssueKind, Severity};
use flukedeploy_domain::repair::{RepairAction, RepairStatus, RiskLevel};
use flukedeploy_domain::webhook::Events;
use flukedeploy_platform::Error;
use flukedeploy_platform::health;
use flukedeploy_platform::ports::Reach;
use flukedeploy_platform::repairs::{self, Repair, RepairResult};
use flukedeploy_platform::webhooks::{CreateWebhook, create_webhook};

use crate::bench::{Life, World, dying, service, settings, until};
use crate::receiver::Mood;
use crate::swarm::Behaviour;
use crate::tap::Trouble;

fn issues(life: &Life<'_>) -> Vec<Issue> {
    life.run(health::look(&life.px));
    health::issues(&life.px, &Actor::system()).unwrap().issues
}

fn find(life: &Life<'_>, kind: IssueKind) -> Option<Issue> {
    issues(life).into_iter().find(|issue| issue.kind == kind)
}

/// Waits until it is there, and checks that it says what a person needs.
#[track_caller]
fn appears(life: &Life<'_>, kind: IssueKind) -> Issue {
    until(kind.as_str(), || find(life, kind).is_some());
    let issue = find(life, kind).unwrap();
    assert!(
        !issue.message.is_empty() && !issue.suggested_action.is_empty(),
        "{issue:?}"
    );
    assert!(!issue.evidence.is_empty(), "{issue:?}");
    assert!(issue.first_seen <= issue.last_seen, "{issue:?}");
    issue
}

#[track_caller]
fn goes(life: &Life<'_>, kind: IssueKind) {
    until("its end", || find(life, kind).is_none());
}

fn repair(life: &Life<'_>, action: RepairAction, dry_run: bool) -> RepairResult {
    let cmd = Repair {
        action,
        dry_run,
        confirm: true,
    };
    life.run(repairs::repair(&life.px, &Actor::system(), cmd))
        .unwrap()
}

#[test]
fn the_machine_is_told_of_when_it_gets_tight_and_not_before() {
    let world = World::new();
    let life = world.boot();
    until("the ingress", || issues(&life).is_empty());
    world.ward.lock().machine.disks[0].free = 15 << 30;
    let issue = appears(&life, IssueKind::DiskFull);
    assert_eq!(issue.severity, Severity::Warning);
    assert_eq!(issue.evidence["used_percent"], 85);
    assert_eq!(issue.repair, Some(RepairAction::PruneImages));
    world.ward.lock().machine.disks[0].free = 5 << 30;
    let worse = appears(&life, IssueKind::DiskFull);
    assert_eq!(
        (worse.severity, worse.first_seen, &worse.id),
        (Severity::Critical, issue.first_seen, &issue.id)
    );
    assert_eq!(health::status(&life.px).as_str(), "unhealthy");
    world.ward.lock().machine.disks[0].free = 60 << 30;
    goes(&life, IssueKind::DiskFull);
    world.ward.lock().machine.memory_available = 1 << 30;
    appears(&life, IssueKind::MemoryHigh);
    world.ward.lock().machine.memory_available = 6 << 30;
    goes(&life, IssueKind::MemoryHigh);
    world.ward.lock().machine.load = [9.0, 9.0, 8.1];
    appears(&life, IssueKind::LoadHigh);
    world.ward.lock().machine.load = [9.0, 9.0, 7.9];
    goes(&life, IssueKind::LoadHigh);
    world.ward.lock().clock_ahead = time::Duration::seconds(40);
    let ahead = appears(&life, IssueKind::ClockSkew).evidence["ahead_ms"].as_i64();
    assert!((39_000..41_000).contains(&ahead.unwrap()), "{ahead:?}");
    world.ward.lock().clock_ahead = time::Duration::ZERO;
    goes(&life, IssueKind::ClockSkew);
}

#[test]
fn the_engine_and_its_swarm_are_told_of() {
    let world = World::new();
    let life = world.boot();
    until("the ingress", || issues(&life).is_empty());
    world.swarm.set_down_nodes(&["attic"]);
    assert_eq!(appears(&life, IssueKind::NodeDown).id, "node_down:attic");
    world.swarm.set_down_nodes(&[]);
    goes(&life, IssueKind::NodeDown);
    world.ward.lock().managers = (3, 2);
    let issue = appears(&life, IssueKind::ManagerQuorum);
    assert_eq!(issue.severity, Severity::Warning);
    world.ward.lock().no_quorum = true;
    let issue = appears(&life, IssueKind::ManagerQuorum);
    assert_eq!(issue.severity, Severity::Critical);
    world.ward.lock().no_quorum = false;
    world.ward.lock().managers = (1, 1);
    goes(&life, IssueKind::ManagerQuorum);
    life.tap.fail("info", "", Trouble::Away, u32::MAX);
    let issue = appears(&life, IssueKind::EngineUnreachable);
    assert_eq!(issue.severity, Severity::Critical);
    life.tap.release("info");
    goes(&life, IssueKind::EngineUnreachable);
    world.ingress.disconnect();
    appears(&life, IssueKind::IngressDisconnected);
    world.ingress.connect();
    goes(&life, IssueKind::IngressDisconnected);
}

#[test]
fn an_engine_that_hangs_delays_no_answer() {
    let world = World::new();
    let life = world.boot();
    until("the ingress", || issues(&life).is_empty());
    life.tap.hang("engine", "");
    let look = life.spawn({
        let px = life.px.clone();
        async move { health::look(&px).await }
    });
    until("a look that hangs", || life.tap.is_hanging("engine"));
    let began = std::time::Instant::now();
    for _ in 0..100 {
        health::health(&life.px, &Actor::system()).unwrap();
        health::diagnose(&life.px, &Actor::system(), false).unwrap();
    }
    // A hundred times ten milliseconds for two answers.
    assert!(began.elapsed().as_millis() < 1_000, "{:?}", began.elapsed());
    life.tap.release("engine");
    look.abort();
}

#[test]
fn apps_that_are_not_well_are_told_of_and_restarted() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(2));
    life.ship("shop", "shop:v1");
    until("nothing to tell", || issues(&life).is_empty());
    world.swarm.image(
        "shop:v1",
        Behaviour {
            rejected: Some("No such image: shop:v1"),
            ..Behaviour::default()
        },
    );
    world.swarm.kill_one(&service("shop", 1));
    let issue = appears(&life, IssueKind::ServiceBelowWanted);
    assert_eq!(issue.severity, Severity::Warning);
    assert_eq!(issue.evidence["running"], 1);
    let pull = appears(&life, IssueKind::ImagePullFailing);
    assert_eq!(pull.evidence["image"], "shop:v1");
    let planned = repair(&life, RepairAction::RestartUnhealthyServices, true);
    assert_eq!(planned.logs, ["restart shop (production)"]);
    world.swarm.image("shop:v1", Behaviour::default());
    goes(&life, IssueKind::ServiceBelowWanted);
    goes(&life, IssueKind::ImagePullFailing);
    world.swarm.image("shop:v1", dying());
    world.swarm.kill_one(&service("shop", 1));
    let issue = appears(&life, IssueKind::CrashLoop);
    assert!(issue.evidence["ended"].as_u64().unwrap() >= 3, "{issue:?}");
    world.swarm.image("shop:v1", Behaviour::default());
    until("all replicas", || {
        find(&life, IssueKind::ServiceBelowWanted).is_none()
    });
    world.clock.forward(time::Duration::minutes(11));
    goes(&life, IssueKind::CrashLoop);
}

#[test]
fn what_is_outside_is_told_of() {
    let world = World::new();
    let life = world.boot();
    world.receiver.is("dead", Mood::Answers(500));
    let cmd = CreateWebhook {
        url: "https://dead/in".parse().unwrap(),
        secret: None,
        events: Events::All,
        app: None,
    };
    life.run(create_webhook(&life.px, &Actor::system(), cmd))
        .unwrap();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let issue = {
        until("a dead receiver", || {
            world.clock.forward(time::Duration::hours(3));
            find(&life, IssueKind::WebhookFailing)
                .is_some_and(|issue| issue.repair == Some(RepairAction::RetryWebhooks))
        });
        appears(&life, IssueKind::WebhookFailing)
    };
    assert_eq!(issue.evidence["last_status"], 500);
    world.receiver.is("dead", Mood::Well);
    let done = repair(&life, RepairAction::RetryWebhooks, false);
    assert_eq!(done.status, RepairStatus::Success, "{done:?}");
    goes(&life, IssueKind::WebhookFailing);
    life.tap.fail("publish", "", Trouble::Away, u32::MAX);
    life.create_app("bank", settings(1));
    world.swarm.kill_one(&service("shop", 1));
    appears(&life, IssueKind::IngressSnapshotOld);
    life.tap.release("publish");
    let done = repair(&life, RepairAction::PushRoutes, false);
    assert_eq!(done.status, RepairStatus::Success, "{done:?}");
    goes(&life, IssueKind::IngressSnapshotOld);
}

#[test]
fn since_when_it_is_wrong_is_known_after_a_restart() {
    let world = World::new();
    let life = world.boot();
    world.ward.lock().machine.disks[0].free = 0;
    let before = appears(&life, IssueKind::DiskFull);
    life.shut_down();
    world.clock.forward(time::Duration::hours(1));
    let life = world.boot();
    let after = appears(&life, IssueKind::DiskFull);
    // Stored to the millisecond.
    assert!((after.first_seen - before.first_seen).abs() < time::Duration::MILLISECOND);
    assert!(after.last_seen > before.last_seen);
}

#[test]
fn images_that_a_way_back_needs_are_never_removed() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let mut pinned = Vec::new();
    for image in ["one:v1", "two:v2", "three:v3"] {
        pinned.push(life.ship("shop", image).image.unwrap().pinned);
    }
    world.swarm.image("broken:v4", dying());
    let mut hasty = settings(1);
    hasty.health.deadline_seconds = 2;
    life.change_settings("shop", |settings| settings.health = hasty.health.clone());
    let id = life.deploy("shop", "broken:v4");
    let broken = life.end(&id).image.unwrap().pinned;
    let others = "somebody@sha256:00".to_owned();
    let all: Vec<String> = pinned.iter().chain([&broken, &others]).cloned().collect();
    world.ward.lock().images = all.clone();
    let planned = repair(&life, RepairAction::PruneImages, true);
    assert_eq!(planned.logs.len(), 1, "{planned:?}");
    assert!(planned.logs[0].contains(&broken), "{planned:?}");
    assert_eq!(world.ward.lock().images, all);
    let done = repair(&life, RepairAction::PruneImages, false);
    assert_eq!(done.status, RepairStatus::Success);
    assert_eq!(world.ward.lock().removed, [broken]);
    let again = repair(&life, RepairAction::PruneImages, false);
    assert_eq!(again.status, RepairStatus::Skipped);
    let back = life.rollback("shop", 1);
    life.end(&back);
    assert_eq!(life.active("shop"), Some(1));
}

#[test]
fn repairs_touch_no_volume_and_a_look_changes_nothing() {
    let world = World::new();
    let life = world.boot();
    let mut with_volume = settings(1);
    with_volume.volumes = vec![Volume {
        name: "data".parse().unwrap(),
        path: "/data".to_owned(),
        shared: false,
    }];
    life.create_app("shop", with_volume);
    life.ship("shop", "shop:v1");
    let mut orphan = world.swarm.spec(&service("shop", 1)).unwrap();
    orphan.name = "fd-it-gone-production-r9".to_owned();
    orphan.labels.clear();
    orphan.mounts[0].volume = "fd-it-gone-production-data".to_owned();
    world.swarm.add_old(orphan);
    world.ward.lock().build_cache = 7 << 20;
    let issue = appears(&life, IssueKind::OrphanedService);
    assert_eq!(issue.repair, Some(RepairAction::RemoveOrphanedServices));
    let volumes = world.swarm.volumes();
    assert_eq!(volumes.len(), 2);
    let (trail, rows) = (world.swarm.trail().len(), life.audit_rows().len());
    for action in RepairAction::ALL {
        let planned = repair(&life, action, true);
        assert!(
            planned.dry_run && planned.status == RepairStatus::Skipped,
            "{planned:?}"
        );
    }
    let is_change = |line: &&String| !line.contains("publish");
    assert_eq!(world.swarm.trail().iter().filter(is_change).count(), trail);
    assert_eq!(life.audit_rows().len(), rows);
    assert_eq!(world.ward.lock().build_cache, 7 << 20);

    let unconfirmed = Repair {
        action: RepairAction::RemoveOrphanedServices,
        dry_run: false,
        confirm: false,
    };
    let refused = life.run(repairs::repair(&life.px, &Actor::system(), unconfirmed));
    assert!(matches!(refused, Err(Error::ConfirmationNeeded { .. })));
    let healed = life.run(repairs::heal(&life.px, &Actor::system())).unwrap();
    assert!(
        healed
            .results
            .iter()
            .all(|one| { one.action.is_automated() && one.action.risk_level() == RiskLevel::Low })
    );
    assert_eq!(healed.failed, 0, "{healed:?}");
    assert!(
        world
            .swarm
            .services()
            .iter()
            .any(|name| name.contains("gone"))
    );
    assert_eq!(world.ward.lock().build_cache, 0);
    for action in RepairAction::ALL {
        let done = repair(&life, action, false);
        assert_ne!(done.status, RepairStatus::Failed, "{done:?}");
    }
    assert!(
        !world
            .swarm
            .services()
            .iter()
            .any(|name| name.contains("gone"))
    );
    goes(&life, IssueKind::OrphanedService);
    assert_eq!(world.swarm.volumes(), volumes);
    let rows = life.audit_rows();
    let of = |text: &str| {
        rows.iter()
            .filter(|row| row.entry.summary.contains(text))
            .count()
    };
    assert_eq!(of("asked for the repair remove_orphaned_services"), 1);
    assert_eq!(of("the repair remove_orphaned_services ended"), 1);
}

#[test]
fn a_registry_that_is_gone_is_told_of() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    world
        .ward
        .lock()
        .unreached
        .insert("registry.example.com:5000".to_owned(), Reach::Silent);
    life.ship("shop", "registry.example.com:5000/shop:v1");
    life.run(health::look_outside(&life.px));
    let issue = appears(&life, IssueKind::RegistryUnreachable);
    assert_eq!(issue.evidence["registry"], "registry.example.com:5000");
    world.ward.lock().unreached.clear();
    life.run(health::look_outside(&life.px));
    goes(&life, IssueKind::RegistryUnreachable);
}
