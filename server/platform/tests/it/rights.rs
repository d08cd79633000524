//! Who may do what where: grants, projects, tokens and what is made with them.

use std::collections::BTreeSet;

use flukedeploy_domain::access::{
    Action, Actor, ActorKind, Door, Limits, Resource, Rights, Role, Subject, Target, Tier, lacks,
    may_know_of,
};
use flukedeploy_domain::log_entry::LogFilter;
use flukedeploy_platform::grants::{self, NewGrant};
use flukedeploy_platform::identity::{self, SignedIn};
use flukedeploy_platform::logs::{ReadLogs, read_logs};
use flukedeploy_platform::ports::{Account, Store as _};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::tokens::{self, CreateToken, NewToken, Only};
use flukedeploy_platform::{Error, apps, deployments};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bench::{Life, World, deploy_of, name, production, settings, until};

fn tokens_cmd(tier: Tier, only: Option<Only>) -> CreateToken {
    CreateToken {
        name: "agent".to_owned(),
        persona: None,
        tier,
        expires_at: None,
        only,
        limits: Limits::default(),
    }
}

fn only(app: &str, role: Role, environments: &[&str]) -> Only {
    Only {
        targets: vec![Target::App(name(app))],
        role,
        environments: (!environments.is_empty()).then(|| {
            environments
                .iter()
                .map(|one| one.parse().unwrap())
                .collect()
        }),
    }
}

fn actor_of(life: &Life<'_>, token: &NewToken) -> Result<Actor, Error> {
    let secret = token.secret.expose();
    life.run(identity::authenticate_token(
        &life.px,
        secret,
        Door::Rest,
        None,
    ))
}

fn make(life: &Life<'_>, maker: &Actor, cmd: CreateToken) -> NewToken {
    life.run(tokens::create_token(&life.px, maker, cmd))
        .unwrap()
}

/// Somebody who signed in and has nothing but what is granted.
pub(crate) fn person(life: &Life<'_>, id: &str) -> Actor {
    let account = Account {
        id: id.to_owned(),
        name: format!("person {id}"),
        password_hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned(),
        tier: Tier::Advanced,
        created_at: life.px.now(),
        password_changed_at: life.px.now(),
        display_name: None,
        disabled_at: None,
        has_second_factor: false,
    };
    let audit = flukedeploy_domain::audit::AuditEntry::new(
        life.px.now(),
        &Actor::system(),
        Action::CreateToken,
        "account:x",
        "made",
    );
    life.run(life.store.create_account(&account, false, &audit))
        .unwrap();
    signed_in(life, id)
}

pub(crate) fn signed_in(life: &Life<'_>, id: &str) -> Actor {
    let account = life.run(life.store.account(id)).unwrap().unwrap();
    let session = SignedIn {
        account_id: account.id,
        name: account.name,
        password_changed_at_ms: flukedeploy_domain::timestamp::to_unix_ms(
            account.password_changed_at,
        ),
        session: "one".to_owned(),
        began_at_ms: flukedeploy_domain::timestamp::to_unix_ms(life.px.now()),
        proved_at_ms: flukedeploy_domain::timestamp::to_unix_ms(life.px.now()),
        address: String::new(),
        browser: String::new(),
    };
    life.run(identity::actor_of_session(&life.px, &session))
        .unwrap()
        .unwrap()
}

pub(crate) fn grant(life: &Life<'_>, subject: Subject, target: Target, role: Role) -> String {
    let new = NewGrant {
        subject,
        target,
        role,
        environments: None,
    };
    life.run(grants::grant(&life.px, &Actor::system(), new))
        .unwrap()
        .id
}

fn app_names(life: &Life<'_>, actor: &Actor) -> Vec<String> {
    let list = life.run(apps::list_apps(&life.px, actor)).unwrap();
    list.iter().map(|app| app.app_name.to_string()).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn somebody_sees_what_was_granted_and_nothing_else() {
    let world = World::new();
    let life = world.boot();
    for app in ["bank", "shop"] {
        life.create_app(app, settings(1));
    }
    let id = life.deploy("bank", "bank:v1");
    life.end(&id);
    let ann = person(&life, "ann");
    assert_eq!(app_names(&life, &ann), Vec::<String>::new());
    let hidden = life.run(apps::get_app(&life.px, &ann, &name("shop")));
    assert_eq!(code(hidden), "app_not_found");

    let grant = grant(
        &life,
        Subject::Account("ann".to_owned()),
        Target::App(name("shop")),
        Role::Deployer,
    );
    let ann = signed_in(&life, "ann");
    assert_eq!(app_names(&life, &ann), ["shop"]);
    let begun = life.run(deployments::deploy(
        &life.px,
        &ann,
        deploy_of("shop", "shop:v1"),
    ));
    assert!(begun.is_ok(), "{begun:?}");
    let settings = life.run(apps::delete_app(&life.px, &ann, &name("shop")));
    assert_eq!(code(settings), "forbidden");
    // Of the other app neither the name nor a deployment, nor one more in the counts.
    let near = life.run(apps::get_app(&life.px, &ann, &name("bamk")));
    assert!(near.unwrap_err().near().is_empty());
    let found = life.run(deployments::get_deployment(&life.px, &ann, &id));
    assert_eq!(code(found), "deployment_not_found");
    let recent = life
        .run(deployments::recent_deployments(&life.px, &ann, 10))
        .unwrap();
    assert!(recent.iter().all(|one| one.app_name.as_str() == "shop"));
    let stats = life
        .run(deployments::deployment_stats(&life.px, &ann))
        .unwrap();
    assert!(stats.total_tracked <= 1, "{stats:?}");
    let logs = |filter| {
        let request = ReadLogs {
            filter,
            limit: 1_000,
            ..ReadLogs::default()
        };
        life.run(read_logs(&life.px, &ann, request))
            .unwrap()
            .entries
    };
    until("the deployment is in the log", || {
        !logs(LogFilter::default()).is_empty()
    });
    assert!(
        logs(LogFilter::default())
            .iter()
            .all(|entry| entry.flukedeploy_metadata.app_name == "shop")
    );
    let of_bank = LogFilter {
        app_name: Some("bank".to_owned()),
        ..LogFilter::default()
    };
    assert!(logs(of_bank).is_empty());

    life.run(grants::withdraw(&life.px, &Actor::system(), &grant))
        .unwrap();
    assert_eq!(
        app_names(&life, &signed_in(&life, "ann")),
        Vec::<String>::new()
    );
}

#[test]
fn an_app_that_comes_under_an_old_name_begins_without_grants() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    person(&life, "ann");
    let subject = Subject::Account("ann".to_owned());
    grant(&life, subject, Target::App(name("shop")), Role::Maintainer);
    let ann = signed_in(&life, "ann");
    life.run(apps::delete_app(&life.px, &ann, &name("shop")))
        .unwrap();
    life.create_app("shop", settings(1));
    assert_eq!(
        app_names(&life, &signed_in(&life, "ann")),
        Vec::<String>::new()
    );
}

#[test]
fn a_role_in_a_project_holds_in_the_apps_that_are_in_it() {
    let world = World::new();
    let life = world.boot();
    for app in ["bank", "cafe", "shop"] {
        life.create_app(app, settings(1));
    }
    let office = "office".parse().unwrap();
    let admin = Actor::system();
    for app in ["bank", "shop"] {
        life.run(grants::set_project(
            &life.px,
            &admin,
            &name(app),
            Some(&office),
        ))
        .unwrap();
    }
    person(&life, "ann");
    let subject = Subject::Account("ann".to_owned());
    grant(&life, subject, Target::Project(office), Role::Viewer);
    assert_eq!(app_names(&life, &signed_in(&life, "ann")), ["bank", "shop"]);
    life.run(grants::set_project(&life.px, &admin, &name("bank"), None))
        .unwrap();
    assert_eq!(app_names(&life, &signed_in(&life, "ann")), ["shop"]);
}

#[test]
fn a_token_ends_with_what_it_was_made_with() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let ci = make(
        &life,
        &Actor::system(),
        tokens_cmd(Tier::Advanced, Some(only("shop", Role::Deployer, &[]))),
    );
    let agent = actor_of(&life, &ci).unwrap();
    let child = make(&life, &agent, tokens_cmd(Tier::Advanced, None));
    let its = actor_of(&life, &child).unwrap();
    assert_eq!(its.rights, agent.rights);
    // Higher than its maker it cannot be.
    let higher = life.run(tokens::create_token(
        &life.px,
        &agent,
        tokens_cmd(Tier::Admin, None),
    ));
    assert_eq!(higher.err().unwrap().faults()[0].field, "tier");
    let elsewhere = only("bank", Role::Viewer, &[]);
    let elsewhere = tokens_cmd(Tier::Extended, Some(elsewhere));
    let elsewhere = life.run(tokens::create_token(&life.px, &agent, elsewhere));
    assert_eq!(elsewhere.err().unwrap().faults()[0].field, "apps");
    // It sees and revokes its own, and no others.
    let own = life.run(tokens::list_tokens(&life.px, &agent)).unwrap();
    assert_eq!(
        own.iter().map(|one| &one.id).collect::<Vec<_>>(),
        [&child.view.id]
    );
    let not_its = life.run(tokens::revoke_token(&life.px, &agent, &ci.view.id));
    assert_eq!(code(not_its), "not_found");

    life.run(tokens::revoke_token(
        &life.px,
        &Actor::system(),
        &ci.view.id,
    ))
    .unwrap();
    for token in [&ci, &child] {
        assert_eq!(code(actor_of(&life, token)), "unauthorized");
    }
}

#[test]
fn a_token_in_the_place_of_another_overlaps_with_it() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let old = make(
        &life,
        &Actor::system(),
        tokens_cmd(
            Tier::Advanced,
            Some(only("shop", Role::Viewer, &["production"])),
        ),
    );
    let new = life
        .run(tokens::rotate_token(
            &life.px,
            &Actor::system(),
            &old.view.id,
            3_600,
        ))
        .unwrap();
    let (one, other) = (
        actor_of(&life, &old).unwrap(),
        actor_of(&life, &new).unwrap(),
    );
    assert_eq!((one.rights, one.tier), (other.rights, other.tier));
    world.clock.forward(time::Duration::minutes(61));
    assert_eq!(code(actor_of(&life, &old)), "unauthorized");
    assert!(actor_of(&life, &new).is_ok());
}

#[test]
fn a_token_begins_no_more_deployments_than_its_budget_with_all_made_with_it() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let limited = CreateToken {
        limits: Limits {
            deploys_per_hour: Some(2),
            ..Limits::default()
        },
        ..tokens_cmd(Tier::Advanced, None)
    };
    let ci = make(&life, &Actor::system(), limited);
    let agent = actor_of(&life, &ci).unwrap();
    let child = make(&life, &agent, tokens_cmd(Tier::Advanced, None));
    let child = actor_of(&life, &child).unwrap();
    let deploy = |actor: &Actor, image: &str, key: Option<&str>| {
        let mut cmd = deploy_of("shop", image);
        cmd.idempotency_key = key.map(ToOwned::to_owned);
        life.run(deployments::deploy(&life.px, actor, cmd))
    };
    let first = deploy(&agent, "shop:v1", Some("k1")).unwrap();
    deploy(&child, "shop:v2", None).unwrap();
    for actor in [&agent, &child] {
        assert_eq!(code(deploy(actor, "shop:v3", None)), "deploy_budget_spent");
    }
    // Asking again for what was begun begins nothing.
    let again = deploy(&agent, "shop:v1", Some("k1")).unwrap();
    assert_eq!(
        again.deployment.deployment_id,
        first.deployment.deployment_id
    );
    world.clock.forward(time::Duration::minutes(61));
    assert!(deploy(&child, "shop:v3", None).is_ok());
}

#[test]
fn what_is_refused_stands_in_the_trail_once() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let reader = make(&life, &Actor::system(), tokens_cmd(Tier::Extended, None));
    let reader = actor_of(&life, &reader).unwrap();
    for _ in 0..3 {
        let refused = life.run(deployments::deploy(
            &life.px,
            &reader,
            deploy_of("shop", "a:b"),
        ));
        assert_eq!(code(refused), "forbidden");
    }
    let denied = || {
        let rows = life.audit_rows();
        rows.into_iter()
            .filter(|row| row.entry.outcome.as_str() == "denied")
            .collect::<Vec<_>>()
    };
    until("the refusal is written down", || denied().len() == 1);
    let row = denied().remove(0).entry;
    assert_eq!(
        (row.action, row.resource.as_str()),
        (Action::Deploy, "app:shop/production")
    );
    assert_eq!(row.actor.id, reader.id);
}

/// What anybody may ask to do.
#[derive(Debug, Clone)]
enum Step {
    /// A maker (by place) makes a token.
    Token(usize, Tier, Option<(usize, Role, bool)>),
    Grant(usize, usize, Role),
    Withdraw(usize),
    Revoke(usize),
    Project(usize, bool),
}

const APPS: [&str; 2] = ["bank", "shop"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tier = prop::sample::select(vec![Tier::Extended, Tier::Advanced, Tier::Admin]);
    let role = prop::sample::select(Role::ALL.to_vec());
    let place = 0..20_usize;
    let step = prop_oneof![
        6 => (place.clone(), tier, prop::option::of((0..2_usize, role.clone(), any::<bool>())))
            .prop_map(|(maker, tier, only)| Step::Token(maker, tier, only)),
        3 => (place.clone(), 0..3_usize, role).prop_map(|(who, what, role)| Step::Grant(who, what, role)),
        1 => place.clone().prop_map(Step::Withdraw),
        1 => place.prop_map(Step::Revoke),
        1 => (0..2_usize, any::<bool>()).prop_map(|(app, is_in)| Step::Project(app, is_in)),
    ];
    prop::collection::vec(step, 1..16)
}

/// No sequence of grants, tokens and delegations lets anybody do what their maker could not.
#[test]
fn nobody_gets_farther_than_who_made_them() {
    let mut runner = TestRunner::new(Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&steps(), |steps| {
            play(&steps);
            Ok(())
        })
        .unwrap();
}

fn play(steps: &[Step]) {
    let world = World::new();
    let life = world.boot_quietly(|_| {});
    for app in APPS {
        life.create_app(app, settings(1));
    }
    let admin = Actor::system();
    let office: flukedeploy_domain::names::ProjectName = "office".parse().unwrap();
    person(&life, "ann");
    person(&life, "bob");
    // Tokens with who made them: an account, or a token by its place.
    let mut made: Vec<(NewToken, Result<&str, usize>)> = Vec::new();
    for step in steps {
        match step {
            Step::Token(maker, tier, narrowed) => {
                let people = ["ann", "bob"];
                let (actor, by) = match maker.checked_sub(2) {
                    Some(place) if !made.is_empty() => {
                        let place = place % made.len();
                        match actor_of(&life, &made[place].0) {
                            Ok(actor) => (actor, Err(place)),
                            Err(_) => continue,
                        }
                    }
                    _ => (signed_in(&life, people[maker % 2]), Ok(people[maker % 2])),
                };
                let narrowed = narrowed.map(|(app, role, one)| {
                    only(APPS[app], role, if one { &["production"] } else { &[] })
                });
                let cmd = tokens_cmd(*tier, narrowed);
                if let Ok(token) = life.run(tokens::create_token(&life.px, &actor, cmd)) {
                    made.push((token, by));
                }
            }
            Step::Grant(who, what, role) => {
                let subject = match who.checked_sub(2) {
                    Some(place) if !made.is_empty() => {
                        Subject::Token(made[place % made.len()].0.view.id.clone())
                    }
                    _ => Subject::Account(["ann", "bob"][who % 2].to_owned()),
                };
                let target = match APPS.get(*what) {
                    Some(app) => Target::App(name(app)),
                    None => Target::Project(office.clone()),
                };
                let new = NewGrant {
                    subject,
                    target,
                    role: *role,
                    environments: None,
                };
                let _ = life.run(grants::grant(&life.px, &admin, new));
            }
            Step::Withdraw(place) => {
                let all = life
                    .run(grants::list_grants(&life.px, &admin, None))
                    .unwrap();
                if let Some(one) = all.get(place % all.len().max(1)) {
                    life.run(grants::withdraw(&life.px, &admin, &one.id))
                        .unwrap();
                }
            }
            Step::Revoke(place) => {
                if let Some((token, _)) = made.get(place % made.len().max(1)) {
                    let _ = life.run(tokens::revoke_token(&life.px, &admin, &token.view.id));
                }
            }
            Step::Project(app, is_in) => {
                let project = is_in.then_some(&office);
                life.run(grants::set_project(
                    &life.px,
                    &admin,
                    &name(APPS[*app]),
                    project,
                ))
                .unwrap();
            }
        }
        check_all(&life, &made);
    }
}

fn check_all(life: &Life<'_>, made: &[(NewToken, Result<&str, usize>)]) {
    for (token, by) in made {
        let Ok(actor) = actor_of(life, token) else {
            continue;
        };
        let maker = match by {
            Ok(person) => signed_in(life, person),
            Err(place) => actor_of(life, &made[*place].0).expect("a token outlives no maker"),
        };
        assert_eq!(actor.kind, ActorKind::Token);
        for app in APPS.map(name) {
            let (one, whole) = (production(), Resource::App(&app));
            for resource in [Resource::System, whole, Resource::Environment(&app, &one)] {
                for action in Action::ALL {
                    if lacks(&actor, action, resource).is_none() {
                        assert_eq!(
                            lacks(&maker, action, resource),
                            None,
                            "{action:?} {resource:?}"
                        );
                    }
                }
                assert!(may_know_of(&maker, resource) || !may_know_of(&actor, resource));
            }
        }
    }
}

#[test]
fn a_person_cannot_be_given_what_an_administrator_has_anyway() {
    let world = World::new();
    let life = world.boot_quietly(|_| {});
    life.create_app("shop", settings(1));
    life.run(identity::ensure_admin(
        &life.px,
        Secret::new("correct horse battery"),
    ))
    .unwrap();
    let admin = life
        .run(life.store.account_by_name("admin"))
        .unwrap()
        .unwrap();
    let try_grant = |subject: Subject, environments: Option<BTreeSet<_>>| {
        let new = NewGrant {
            subject,
            target: Target::App(name("shop")),
            role: Role::Viewer,
            environments,
        };
        code(life.run(grants::grant(&life.px, &Actor::system(), new)))
    };
    assert_eq!(
        try_grant(Subject::Account(admin.id), None),
        "invalid_request"
    );
    assert_eq!(
        try_grant(Subject::Account("nobody".to_owned()), None),
        "not_found"
    );
    let nowhere = Some(BTreeSet::new());
    assert_eq!(
        try_grant(Subject::Account("x".to_owned()), nowhere),
        "invalid_request"
    );
    assert!(Rights::default() == Rights::Only(Vec::new()));
}
