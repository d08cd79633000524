//! Environments beside production: previews that go by themselves, promotion, and that nothing is
//! left of what was deleted.

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::app::{Settings, Volume};
use flukedeploy_domain::deployment::{Queue, State, ValidationLevel};
use flukedeploy_domain::names::EnvironmentName;
use flukedeploy_domain::release::ReleaseNo;
use flukedeploy_platform::Error;
use flukedeploy_platform::apps::{self, ChangeApp, NewApp};
use flukedeploy_platform::deployments::{self, Deploy, Promote};
use flukedeploy_platform::environments::{
    NewEnvironment, create_environment, delete_environment, list_environments, set_ttl,
};
use flukedeploy_platform::ports::Store as _;
use flukedeploy_platform::views::AppView;

use crate::bench::{Life, World, deploy_of, name, production, service, settings, until};
use crate::tap::{Counting, Trouble};

const VOLUME: &str = "fd-it-shop-pr-7-data";

fn env(text: &str) -> EnvironmentName {
    text.parse().unwrap()
}

fn new(app: &str, environment: &str, ttl_seconds: Option<u64>) -> NewEnvironment {
    NewEnvironment {
        app: name(app),
        name: env(environment),
        from: production(),
        ttl_seconds,
        change: ChangeApp::default(),
    }
}

fn with_data() -> Settings {
    let mut settings = settings(1);
    settings.volumes = vec![Volume {
        name: "data".to_owned(),
        path: "/data".to_owned(),
        shared: false,
    }];
    settings
}

fn deploy_to(environment: &str, image: &str) -> Deploy {
    Deploy {
        environment: env(environment),
        ..deploy_of("shop", image)
    }
}

fn promotion(from: &str, release: Option<u32>) -> Promote {
    Promote {
        app: name("shop"),
        from: env(from),
        to: production(),
        release: release.map(ReleaseNo),
        strategy: None,
        validation_level: ValidationLevel::default(),
        auto_rollback: true,
        queue: Queue::Wait,
        reason: None,
        idempotency_key: None,
    }
}

fn create(life: &Life<'_>, new: NewEnvironment) -> Result<AppView, Error> {
    let actor = Actor::system();
    life.run(create_environment(&life.px, &actor, new))
}

/// An app that serves, and a preview of it that serves and has a volume.
fn shop_with_preview(life: &Life<'_>, ttl_seconds: u64) {
    life.create_app("shop", with_data());
    life.ship("shop", "shop:v1");
    create(life, new("shop", "pr-7", Some(ttl_seconds))).unwrap();
    let accepted = life.try_deploy(deploy_to("pr-7", "shop:v2")).unwrap();
    let done = life.end(&accepted.deployment.deployment_id);
    assert_eq!(done.state, State::Success);
    assert!(life.world.swarm.volumes().contains(&VOLUME.to_owned()));
}

fn wait_until_gone(life: &Life<'_>, what: &str) {
    let store = &life.store;
    until(what, || {
        let preview = life.run(store.environment(&name("shop"), &env("pr-7")));
        let preview = preview.unwrap();
        let left = life.run(store.leftover_volumes()).unwrap();
        let swarm = &life.world.swarm;
        preview.is_none()
            && left.is_empty()
            && swarm.services() == [service("shop", 1)]
            && !swarm.volumes().contains(&VOLUME.to_owned())
            && life.world.ingress.hosts("shop") == ["shop.localhost"]
    });
}

#[test]
fn a_preview_goes_when_its_time_is_over_with_everything_that_belongs_to_it() {
    let world = World::new();
    let life = world.boot();
    shop_with_preview(&life, 60);
    // The keeper leaves it alone before that.
    world.clock.forward(time::Duration::seconds(50));
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let found = life.run(life.store.environment(&name("shop"), &env("pr-7")));
    assert!(found.unwrap().is_some());
    world.clock.forward(time::Duration::seconds(11));
    wait_until_gone(&life, "the preview has gone");
    life.assert_serves("shop", 1);
    // Nothing of its history is left, and its name is free again, with an empty volume.
    let history = life.run(life.store.deployments_of(&name("shop"), None, 100));
    assert_eq!(history.unwrap().len(), 1);
    create(&life, new("shop", "pr-7", None)).unwrap();
    assert!(life.told("shop", "its time was over"));
}

#[test]
fn a_preview_whose_time_ends_while_the_control_plane_is_down_goes_at_its_next_start() {
    let world = World::new();
    let life = world.boot();
    shop_with_preview(&life, 60);
    life.shut_down();
    world.clock.forward(time::Duration::hours(2));
    let life = world.boot();
    wait_until_gone(&life, "the preview has gone");
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn a_preview_that_got_more_time_stays() {
    let world = World::new();
    let life = world.boot();
    shop_with_preview(&life, 60);
    let actor = Actor::system();
    let (shop, pr) = (name("shop"), env("pr-7"));
    let longer = life.run(set_ttl(&life.px, &actor, &shop, &pr, Some(7_200)));
    assert!(longer.unwrap().expires_at.is_some());
    world.clock.forward(time::Duration::seconds(100));
    let kept = life.run(set_ttl(&life.px, &actor, &shop, &pr, None));
    assert_eq!(kept.unwrap().expires_at, None);
    world.clock.forward(time::Duration::days(100));
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let found = life.run(life.store.environment(&shop, &pr)).unwrap();
    assert!(found.is_some());
    for bad in [0, 59, 90 * 86_400 + 1, u64::MAX] {
        let refused = life.run(set_ttl(&life.px, &actor, &shop, &pr, Some(bad)));
        assert!(matches!(refused, Err(Error::Invalid(_))), "{bad}");
    }
    let never = life.run(set_ttl(&life.px, &actor, &shop, &production(), Some(60)));
    assert!(matches!(never, Err(Error::Invalid(_))));
}

/// Runs until the crash, starts anew: all is gone. False if it was over before the crash.
fn crash_while_it_goes(count: u32) -> bool {
    let world = World::new();
    let life = world.boot();
    shop_with_preview(&life, 60);
    life.tap.die_at(count, Counting::Changes);
    world.clock.forward(time::Duration::seconds(61));
    let over = || {
        let volumes = world.swarm.volumes();
        !volumes.contains(&VOLUME.to_owned())
    };
    until("it is over or dead", || life.tap.is_dead() || over());
    // What comes after the volume is gone: that it is forgotten.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let crashed = life.tap.is_dead();
    life.crash();
    let life = world.boot();
    wait_until_gone(&life, &format!("all is gone after a crash at {count}"));
    life.assert_serves("shop", 1);
    world.assert_sound();
    crashed
}

#[test]
fn a_crash_at_any_change_while_a_preview_goes_leaves_nothing() {
    const THREADS: u32 = 4;
    std::thread::scope(|scope| {
        for first in 1..=THREADS {
            scope.spawn(move || {
                let mut count = first;
                while crash_while_it_goes(count) {
                    count += THREADS;
                    assert!(count < 100, "it never ends");
                }
            });
        }
    });
}

#[test]
fn a_deleted_environment_leaves_nothing_also_when_something_was_under_way() {
    let world = World::new();
    world.swarm.image("shop:bad", crate::bench::dying());
    let life = world.boot();
    shop_with_preview(&life, 3_600);
    let actor = Actor::system();
    life.try_deploy(deploy_to("pr-7", "shop:bad")).unwrap();
    let delete = |environment: EnvironmentName| {
        let shop = name("shop");
        let gone = delete_environment(&life.px, &actor, &shop, &environment);
        life.run(gone)
    };
    delete(env("pr-7")).unwrap();
    wait_until_gone(&life, "the environment has gone");
    life.assert_serves("shop", 1);
    assert!(matches!(delete(production()), Err(Error::Invalid(_))));
    assert!(matches!(
        delete(env("pr-7")),
        Err(Error::EnvironmentNotFound { .. })
    ));
}

#[test]
fn promote_runs_the_very_same_image_with_the_settings_of_where_it_goes() {
    let world = World::new();
    let life = world.boot();
    let mut own = settings(2);
    own.env_vars.0.insert("MODE".to_owned(), "live".to_owned());
    own.domains = vec!["shop.example.com".parse().unwrap()];
    life.create_app("shop", own);
    life.ship("shop", "shop:v1");
    let mut wanted = new("shop", "staging", None);
    wanted.change.replicas = Some(1);
    wanted
        .change
        .set_env_vars
        .0
        .insert("MODE".to_owned(), "trial".to_owned());
    let made = create(&life, wanted).unwrap();
    assert!(made.domains.is_empty() && made.configured_replicas == 1);
    let early = life.run(deployments::promote(
        &life.px,
        &Actor::system(),
        promotion("staging", None),
    ));
    assert!(matches!(early, Err(Error::NotNow(_))));

    let accepted = life.try_deploy(deploy_to("staging", "shop:v2")).unwrap();
    let staged = life.end(&accepted.deployment.deployment_id);
    assert_eq!(staged.state, State::Success);
    // Whoever asked again what the tag is now would fail.
    life.tap
        .fail("resolve_image", "shop:v2", Trouble::Refused, u32::MAX);
    let plan = life.run(deployments::plan_promote(
        &life.px,
        &Actor::system(),
        &promotion("staging", None),
    ));
    let pinned = staged.image.as_ref().unwrap().pinned.clone();
    assert_eq!(plan.unwrap().image, pinned);
    let accepted = life
        .run(deployments::promote(
            &life.px,
            &Actor::system(),
            promotion("staging", Some(1)),
        ))
        .unwrap();
    let done = life.end(&accepted.deployment.deployment_id);
    assert_eq!(done.state, State::Success);
    assert_eq!(done.image, staged.image);
    assert_eq!(done.version, staged.version);
    let spec = world.swarm.spec(&service("shop", 2)).unwrap();
    assert_eq!(spec.image.pinned, pinned);
    assert_eq!(spec.replicas, 2);
    assert_eq!(spec.env.0.get("MODE").map(String::as_str), Some("live"));
    let unknown = life.run(deployments::promote(
        &life.px,
        &Actor::system(),
        promotion("staging", Some(9)),
    ));
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
    let nowhere = life.run(deployments::promote(
        &life.px,
        &Actor::system(),
        promotion("nowhere", None),
    ));
    assert!(matches!(nowhere, Err(Error::EnvironmentNotFound { .. })));
    let itself = life.run(deployments::promote(
        &life.px,
        &Actor::system(),
        promotion("production", None),
    ));
    assert!(matches!(itself, Err(Error::Invalid(_))));
}

#[test]
fn an_environment_that_does_not_exist_is_never_made_by_a_deployment() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    create(&life, new("shop", "staging", None)).unwrap();
    let refused = life.try_deploy(Deploy {
        create: true,
        ..deploy_to("stagign", "shop:v1")
    });
    let error = refused.unwrap_err();
    assert_eq!(error.code(), "environment_not_found");
    let detail = error.public_detail();
    assert!(
        detail.contains("production") && detail.contains("staging"),
        "{detail}"
    );
    let listed = life.run(list_environments(&life.px, &Actor::system(), &name("shop")));
    let names: Vec<_> = listed
        .unwrap()
        .into_iter()
        .map(|e| e.environment.to_string())
        .collect();
    assert_eq!(names, ["production", "staging"]);
}

#[test]
fn two_environments_never_come_to_the_same_address() {
    let world = World::new();
    let life = world.boot();
    let create_app = |app: &str| {
        let new = NewApp {
            name: name(app),
            settings: settings(1),
        };
        life.run(apps::create_app(&life.px, &Actor::system(), new))
    };
    create_app("shop").unwrap();
    create_app("shop-staging").unwrap();
    create_app("shop-eu").unwrap();
    let refused = create(&life, new("shop", "staging", None)).unwrap_err();
    let text = refused.public_detail();
    assert!(
        text.contains("shop-staging.localhost") && text.contains("'shop-staging'"),
        "{text}"
    );
    create(&life, new("shop", "eu-dev", None)).unwrap();
    // `shop-eu` and `dev` come to what `shop` and `eu-dev` come to.
    assert!(matches!(
        create(&life, new("shop-eu", "dev", None)),
        Err(Error::Invalid(_))
    ));
    let refused = create_app("shop-eu-dev").unwrap_err();
    assert!(
        refused.public_detail().contains("'eu-dev'"),
        "{}",
        refused.public_detail()
    );
    assert!(matches!(
        create(&life, new("shop", "eu-dev", None)),
        Err(Error::Exists { .. })
    ));
}
