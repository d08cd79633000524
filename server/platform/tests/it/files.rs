//! Secrets as files and variables of projects: what a release finds, that it finds the same when it
//! comes back, and that Swarm keeps nothing that nobody needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flukedeploy_domain::access::{Actor, ActorKind, Door, Grant, Rights, Role, Tier};
use flukedeploy_domain::app::{EnvVars, Marks, SecretFile, Settings};
use flukedeploy_domain::deployment::State;
use flukedeploy_domain::job::JobSettings;
use flukedeploy_domain::names::ProjectName;
use flukedeploy_platform::apps::{self, ChangeApp};
use flukedeploy_platform::deployments::RollbackTarget;
use flukedeploy_platform::ports::Store as _;
use flukedeploy_platform::projects::{self, ShareVariables};
use flukedeploy_platform::views::ProjectView;
use flukedeploy_platform::{Error, Kind, grants};

use crate::bench::{Life, World, deploy_of, name, production, service, settings, until};
use crate::tap::Counting;

fn vars(pairs: &[(&str, &str)]) -> EnvVars {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    EnvVars(pairs.iter().map(owned).collect())
}

fn as_files(names: &[&str]) -> Marks {
    let file = |name: &&str| ((*name).to_owned(), SecretFile::default());
    Marks {
        files: names.iter().map(file).collect(),
        ..Marks::default()
    }
}

fn with_file(value: &str) -> Settings {
    let mut settings = settings(1);
    settings.set_variables(
        &vars(&[("KEY", value), ("MODE", "fast")]),
        &as_files(&["KEY"]),
    );
    settings
}

fn change(life: &Life<'_>, app: &str, change: ChangeApp) {
    let (actor, app, production) = (Actor::system(), name(app), production());
    let changing = apps::change_app(&life.px, &actor, &app, &production, change);
    life.run(changing).unwrap();
}

fn set(value: &str) -> ChangeApp {
    ChangeApp {
        set_env_vars: vars(&[("KEY", value)]),
        ..ChangeApp::default()
    }
}

fn one_file(file: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(file.to_owned(), value.to_owned())])
}

fn wait_for_secrets(life: &Life<'_>, values: &[&str]) {
    until("Swarm keeps what services need, and nothing else", || {
        let kept: Vec<String> = life.world.swarm.secrets().into_values().collect();
        let kept: BTreeSet<&str> = kept.iter().map(String::as_str).collect();
        kept == values.iter().copied().collect()
    });
}

#[test]
fn a_secret_in_a_file_is_no_variable_and_goes_with_the_last_release_that_needs_it() {
    let world = World::new();
    let life = world.boot();
    let mut settings = with_file("hunter1");
    settings.rollout.warm_seconds = Some(0);
    life.create_app("shop", settings);
    life.ship("shop", "shop:v1");
    let first = service("shop", 1);
    assert_eq!(world.swarm.files(&first), one_file("KEY", "hunter1"));
    let env = world.swarm.spec(&first).unwrap().env;
    assert_eq!(
        env,
        vars(&[("KEY_FILE", "/run/secrets/KEY"), ("MODE", "fast")])
    );

    change(&life, "shop", set("hunter2"));
    // What runs has what it had.
    assert_eq!(world.swarm.files(&first), one_file("KEY", "hunter1"));
    life.ship("shop", "shop:v2");
    let second = service("shop", 2);
    assert_eq!(world.swarm.files(&second), one_file("KEY", "hunter2"));
    until("the former release goes", || {
        world.swarm.services() == [second.clone()]
    });
    life.shut_down();
    let life = world.boot();
    wait_for_secrets(&life, &["hunter2"]);

    // Gone back to, a release finds what it had.
    let back = life
        .try_rollback("shop", RollbackTarget::Previous, None)
        .unwrap();
    let done = life.end(&back.deployment.deployment_id);
    assert_eq!(done.state, State::Success);
    assert_eq!(world.swarm.files(&first), one_file("KEY", "hunter1"));
    // And the settings have it again.
    let shop = life.run(life.store.environment(&name("shop"), &production()));
    let shop = shop.unwrap().unwrap().settings;
    assert_eq!(shop.env_vars.0["KEY"], "hunter1");
    assert!(shop.secret_files.contains_key("KEY") && shop.shared.is_empty());
}

#[test]
fn the_name_of_a_secret_tells_nothing_of_its_value() {
    let name_of = |value: &str| {
        let world = World::new();
        let life = world.boot();
        life.create_app("shop", with_file(value));
        life.ship("shop", "shop:v1");
        let all: Vec<String> = world.swarm.secrets().into_keys().collect();
        assert_eq!(all.len(), 1);
        all[0].clone()
    };
    let (one, other) = (name_of("hunter1"), name_of("hunter1"));
    assert!(one.starts_with("fd-it-shop-production-s-"), "{one}");
    assert!(one.len() <= 64, "{one}");
    // Each database has a key of its own, so that nobody can try values out.
    assert_ne!(one, other);
}

#[test]
fn jobs_find_their_secrets_too() {
    let world = World::new();
    let life = world.boot();
    let mut settings = with_file("hunter1");
    settings.jobs.release = Some(JobSettings {
        command: vec!["wait".to_owned()],
        image: None,
        timeout_seconds: 600,
    });
    life.create_app("shop", settings);
    let accepted = life.try_deploy(deploy_of("shop", "shop:v1")).unwrap();
    let id = accepted.deployment.deployment_id;
    let job = || {
        let trail = world.swarm.trail();
        let begun = trail.iter().find_map(|line| line.strip_prefix("job "));
        begun.map(ToOwned::to_owned)
    };
    until("the job runs", || job().is_some());
    let job = job().unwrap();
    assert_eq!(world.swarm.files(&job), one_file("KEY", "hunter1"));
    life.cancel(&id);
    life.end(&id);
    life.shut_down();
    let life = world.boot();
    wait_for_secrets(&life, &[]);
}

/// At every change of a deployment that brings another secret.
#[test]
fn a_crash_leaves_neither_a_release_without_its_secret_nor_a_secret_without_a_release() {
    std::thread::scope(|scope| {
        for first in 1..=4 {
            scope.spawn(move || {
                let mut count = first;
                while crash_at(count) {
                    count += 4;
                    assert!(count < 200, "the story never ends");
                }
            });
        }
    });
}

fn crash_at(count: u32) -> bool {
    let world = World::new();
    let life = world.boot();
    let mut settings = with_file("hunter1");
    settings.rollout.warm_seconds = Some(0);
    life.create_app("shop", settings);
    life.ship("shop", "shop:v1");
    change(&life, "shop", set("hunter2"));
    let crashed = life.deploy_and_die(deploy_of("shop", "shop:v2"), count, Counting::Changes);
    life.crash();

    let life = world.boot();
    let all = life.run(life.store.deployments_of(&name("shop"), None, 10));
    let second = all
        .unwrap()
        .into_iter()
        .find(|it| it.release.is_none_or(|n| n.0 != 1));
    let (number, value) = match second {
        None => {
            assert!(crashed, "crash at {count}");
            (1, "hunter1")
        }
        Some(second) => {
            let done = life.end(&second.id);
            assert_eq!(done.state, State::Success, "crash at {count}");
            (2, "hunter2")
        }
    };
    life.assert_serves("shop", number);
    let serves = service("shop", number);
    assert_eq!(
        world.swarm.files(&serves),
        one_file("KEY", value),
        "crash at {count}"
    );
    until("the former release goes", || {
        world.swarm.services() == [serves.clone()]
    });
    life.shut_down();
    let life = world.boot();
    wait_for_secrets(&life, &[value]);
    life.shut_down();
    world.assert_sound();
    crashed
}

fn office() -> ProjectName {
    "office".parse().unwrap()
}

fn in_office(life: &Life<'_>, app: &str) {
    let (project, app, system) = (office(), name(app), Actor::system());
    let putting = grants::set_project(&life.px, &system, &app, Some(&project));
    life.run(putting).unwrap();
}

fn share(life: &Life<'_>, actor: &Actor, change: ShareVariables) -> Result<ProjectView, Error> {
    life.run(projects::share_variables(
        &life.px,
        actor,
        &office(),
        change,
    ))
}

fn shares(pairs: &[(&str, &str)], marks: Marks) -> ShareVariables {
    ShareVariables {
        set: vars(pairs),
        marks,
        ..ShareVariables::default()
    }
}

#[test]
fn what_a_project_shares_comes_with_the_next_release_and_below_what_the_app_has() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", with_file("own"));
    life.ship("shop", "shop:v1");
    in_office(&life, "shop");
    let system = Actor::system();
    let pairs = [
        ("KEY", "shared"),
        ("CERT", "cert1"),
        ("REGION", "north"),
        ("MODE", "slow"),
    ];
    share(&life, &system, shares(&pairs, as_files(&["CERT"]))).unwrap();
    assert_eq!(
        world.swarm.files(&service("shop", 1)),
        one_file("KEY", "own")
    );

    life.ship("shop", "shop:v2");
    let expected = [("CERT", "cert1"), ("KEY", "own")];
    let expected = expected.map(|(file, value)| (file.to_owned(), value.to_owned()));
    let second = service("shop", 2);
    assert_eq!(world.swarm.files(&second), BTreeMap::from(expected));
    let env = world.swarm.spec(&second).unwrap().env;
    let expected = [
        ("CERT_FILE", "/run/secrets/CERT"),
        ("KEY_FILE", "/run/secrets/KEY"),
        ("MODE", "fast"),
        ("REGION", "north"),
    ];
    assert_eq!(env, vars(&expected));

    // The app's page tells where each comes from.
    let shown = life
        .run(apps::get_app(&life.px, &system, &name("shop")))
        .unwrap();
    assert_eq!(shown.project, Some(office()));
    let overridden: Vec<_> = (shown.shared_env_vars.iter())
        .map(|one| (one.variable.key.as_str(), one.is_overridden))
        .collect();
    let expected = [
        ("CERT", false),
        ("KEY", true),
        ("MODE", true),
        ("REGION", false),
    ];
    assert_eq!(overridden, expected);

    // Changed there, it is what it was in the release that is gone back to.
    share(
        &life,
        &system,
        shares(&[("CERT", "cert2")], Marks::default()),
    )
    .unwrap();
    life.ship("shop", "shop:v3");
    assert_eq!(world.swarm.files(&service("shop", 3))["CERT"], "cert2");
    let back = life
        .try_rollback("shop", RollbackTarget::Previous, None)
        .unwrap();
    assert_eq!(
        life.end(&back.deployment.deployment_id).state,
        State::Success
    );
    assert_eq!(world.swarm.files(&second)["CERT"], "cert1");
    let stored = life.run(life.store.environment(&name("shop"), &production()));
    assert!(stored.unwrap().unwrap().settings.shared.is_empty());
    // The next one has what is shared now.
    life.ship("shop", "shop:v4");
    assert_eq!(world.swarm.files(&service("shop", 4))["CERT"], "cert2");
    let trail = life.audit_rows();
    let trail = format!("{trail:?}");
    assert!(
        trail.contains("changed variables of the project office: CERT (secret), KEY"),
        "{trail}"
    );
    assert!(
        !trail.contains("cert1") && !trail.contains("north"),
        "names only: {trail}"
    );
}

#[test]
fn what_does_not_fit_together_is_refused_before_anything_is_deployed() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", with_file("own"));
    in_office(&life, "shop");
    let file = SecretFile {
        name: Some("KEY".to_owned()),
        ..SecretFile::default()
    };
    let marks = Marks {
        files: BTreeMap::from([("OTHER".to_owned(), file)]),
        ..Marks::default()
    };
    share(&life, &Actor::system(), shares(&[("OTHER", "x1")], marks)).unwrap();
    let refused = life.try_deploy(deploy_of("shop", "shop:v1")).unwrap_err();
    assert!(
        refused.to_string().contains("must not be the same file as"),
        "{refused}"
    );
    let nothing = shares(&[("EMPTY", "")], as_files(&["EMPTY"]));
    let refused = share(&life, &Actor::system(), nothing).unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid);
}

fn person(grants: &[(&str, Role, Option<&str>)]) -> Actor {
    let grant = |(app, role, environment): &(&str, Role, Option<&str>)| Grant {
        app: name(app),
        role: *role,
        environments: environment.map(|name| BTreeSet::from([name.parse().unwrap()])),
    };
    Actor {
        kind: ActorKind::Token,
        id: "t1".to_owned(),
        name: "somebody".to_owned(),
        persona: None,
        tier: Tier::Admin,
        door: Door::Rest,
        session: None,
        rights: Arc::new(Rights::Only(grants.iter().map(grant).collect())),
        chain: Arc::default(),
        origin: None,
    }
}

#[test]
fn only_who_maintains_every_app_of_a_project_changes_what_it_shares() {
    let world = World::new();
    let life = world.boot();
    for app in ["shop", "bank", "other"] {
        life.create_app(app, settings(1));
    }
    in_office(&life, "shop");
    in_office(&life, "bank");
    let change = || shares(&[("A", "hunter2")], as_files(&["A"]));
    share(&life, &Actor::system(), change()).unwrap();
    let maintainer = Role::Maintainer;
    let see = |actor: &Actor| life.run(projects::get_project(&life.px, actor, &office()));
    for (who, expected) in [
        (person(&[("other", maintainer, None)]), Kind::NotFound),
        (person(&[]), Kind::NotFound),
        (person(&[("shop", maintainer, None)]), Kind::Forbidden),
        (
            person(&[("shop", maintainer, None), ("bank", Role::Deployer, None)]),
            Kind::Forbidden,
        ),
        (
            person(&[
                ("shop", maintainer, None),
                ("bank", maintainer, Some("staging")),
            ]),
            Kind::Forbidden,
        ),
    ] {
        let refused = share(&life, &who, change()).unwrap_err();
        assert_eq!(refused.kind(), expected, "{who:?}");
        // What one may not see answers like what does not exist.
        match see(&who) {
            Err(error) => {
                assert_eq!(expected, Kind::NotFound);
                let nowhere = "nowhere".parse().unwrap();
                let nowhere = life.run(projects::get_project(&life.px, &who, &nowhere));
                let nowhere = nowhere.unwrap_err().to_string();
                assert_eq!(error.to_string(), nowhere.replace("nowhere", "office"));
                assert!(
                    life.run(projects::list_projects(&life.px, &who))
                        .unwrap()
                        .is_empty()
                );
            }
            Ok(shown) => {
                assert_eq!(expected, Kind::Forbidden);
                assert!(!shown.may_change);
                // Names of apps that may not be seen are left out.
                let apps = shown.apps.iter().map(ToString::to_string);
                let expected: Vec<_> = ["bank", "shop"]
                    .into_iter()
                    .filter(|app| who.rights.shows_app(app))
                    .collect();
                assert_eq!(apps.collect::<Vec<_>>(), expected);
            }
        }
    }
    let both = person(&[("shop", maintainer, None), ("bank", maintainer, None)]);
    let shown = share(&life, &both, shares(&[("B", "x")], Marks::default())).unwrap();
    assert!(shown.may_change);
    assert!(!serde_json::to_string(&shown).unwrap().contains("hunter2"));
    // An app that comes later takes the right away.
    in_office(&life, "other");
    let refused = share(&life, &both, change()).unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
}
