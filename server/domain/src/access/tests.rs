use std::collections::BTreeSet;

use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use super::*;

fn actor(tier: Tier, rights: Rights) -> Actor {
    Actor {
        tier,
        rights: Arc::new(rights),
        ..Actor::system()
    }
}

fn app(name: &str) -> AppName {
    name.parse().unwrap()
}

fn environment(name: &str) -> EnvironmentName {
    name.parse().unwrap()
}

#[test]
fn a_reading_token_cannot_change_anything() {
    let shop = app("shop");
    for action in Action::ALL {
        let reads = matches!(
            action,
            Action::ListApps
                | Action::ViewApp
                | Action::ViewProject
                | Action::Validate
                | Action::ViewDeployment
                | Action::ReadLogs
                | Action::ListApprovals
                | Action::ViewSystem
                | Action::ChangeOwnAccount
                | Action::SignIn
        );
        let resource = Resource::App(&shop);
        let lacks = |tier| lacks(&actor(tier, Rights::Everything), action, resource);
        assert_eq!(lacks(Tier::Extended).is_none(), reads, "{action:?}");
        assert_eq!(lacks(Tier::Admin), None);
    }
    assert_eq!(
        lacks(
            &actor(Tier::Advanced, Rights::Everything),
            Action::ViewAudit,
            Resource::System
        ),
        Some(Needed::Tier(Tier::Admin))
    );
}

#[test]
fn one_app_is_not_the_instance() {
    let (shop, bank, production) = (app("shop"), app("bank"), environment("production"));
    let maintainer = actor(
        Tier::Admin,
        Rights::Only(vec![Grant {
            app: shop.clone(),
            role: Role::Maintainer,
            environments: None,
        }]),
    );
    assert!(!maintainer.is_administrator());
    for action in Action::ALL {
        let of = |resource| lacks(&maintainer, action, resource);
        match action.scope() {
            Scope::Anybody => assert_eq!(of(Resource::System), None),
            Scope::Instance => assert_eq!(of(Resource::System), Some(Needed::WholeInstance)),
            Scope::Role(role) => {
                assert_eq!(of(Resource::App(&shop)), None, "{action:?}");
                assert_eq!(of(Resource::Environment(&shop, &production)), None);
                assert_eq!(of(Resource::App(&bank)), Some(Needed::Role(role)));
                assert_eq!(of(Resource::System), Some(Needed::WholeInstance));
            }
        }
    }
    assert!(!may_know_of(&maintainer, Resource::App(&bank)));
}

#[test]
fn who_is_narrowed_to_an_environment_has_no_other() {
    let (shop, production, staging) = (
        app("shop"),
        environment("production"),
        environment("staging"),
    );
    let narrow = actor(
        Tier::Advanced,
        Rights::Only(vec![Grant {
            app: shop.clone(),
            role: Role::Maintainer,
            environments: Some(BTreeSet::from([staging.clone()])),
        }]),
    );
    let of = |action, resource| lacks(&narrow, action, resource).is_none();
    assert!(of(Action::Deploy, Resource::Environment(&shop, &staging)));
    assert!(!of(
        Action::Deploy,
        Resource::Environment(&shop, &production)
    ));
    assert!(of(Action::ViewApp, Resource::App(&shop)));
    assert!(!of(
        Action::ViewApp,
        Resource::Environment(&shop, &production)
    ));
    assert!(!of(Action::DeleteApp, Resource::App(&shop)));
    assert!(!may_know_of(
        &narrow,
        Resource::Environment(&shop, &production)
    ));
    assert!(narrow.rights.shows("shop", Some("staging")));
    assert!(!narrow.rights.shows("shop", None));
}

#[test]
fn an_actor_that_was_stored_may_do_nothing() {
    let stored = serde_json::to_string(&actor(Tier::Admin, Rights::Everything)).unwrap();
    let read: Actor = serde_json::from_str(&stored).unwrap();
    assert_eq!(*read.rights, Rights::Only(Vec::new()));
    let shop = app("shop");
    assert!(lacks(&read, Action::ViewApp, Resource::App(&shop)).is_some());
}

#[test]
fn only_people_have_to_prove_anew_who_they_are() {
    let now = OffsetDateTime::UNIX_EPOCH + Duration::days(1);
    let proved = |before: Duration| Actor {
        kind: ActorKind::User,
        session: Some(ActorSession {
            id: "s".to_owned(),
            proved_at: now - before,
        }),
        ..Actor::system()
    };
    assert!(has_recent_proof(&proved(Duration::minutes(9)), now));
    assert!(!has_recent_proof(&proved(Duration::minutes(10)), now));
    assert!(
        !has_recent_proof(&proved(Duration::minutes(-1)), now),
        "not yet"
    );
    let without = Actor {
        kind: ActorKind::User,
        ..Actor::system()
    };
    assert!(!has_recent_proof(&without, now));
    let token = Actor {
        kind: ActorKind::Token,
        ..Actor::system()
    };
    assert!(has_recent_proof(&token, now) && has_recent_proof(&Actor::system(), now));
}

const APPS: [&str; 2] = ["bank", "shop"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "try-it"];

fn any_rights() -> impl Strategy<Value = Rights> {
    let environments = prop::option::of(prop::collection::btree_set(
        prop::sample::select(ENVIRONMENTS.to_vec()).prop_map(environment),
        0..3,
    ));
    let grant = (
        prop::sample::select(APPS.to_vec()).prop_map(app),
        prop::sample::select(Role::ALL.to_vec()),
        environments,
    )
        .prop_map(|(app, role, environments)| Grant {
            app,
            role,
            environments,
        });
    prop_oneof![
        1 => Just(Rights::Everything),
        6 => prop::collection::vec(grant, 0..4).prop_map(Rights::Only),
    ]
}

fn any_tier() -> impl Strategy<Value = Tier> {
    prop::sample::select(vec![Tier::Extended, Tier::Advanced, Tier::Admin])
}

proptest! {
    /// However rights are handed on, and narrowed on the way, nobody gets to where its maker may
    /// not go.
    #[test]
    fn nobody_may_what_its_maker_may_not(
        chain in prop::collection::vec((any_tier(), any_rights()), 1..6)
    ) {
        let mut maker: Option<Actor> = None;
        for (tier, rights) in chain {
            let made = match &maker {
                None => actor(tier, rights),
                Some(maker) => actor(tier.min(maker.tier), rights.and(&maker.rights)),
            };
            if let Some(maker) = &maker {
                for action in Action::ALL {
                    for name in APPS.map(app) {
                        let whole = [Resource::System, Resource::App(&name)];
                        let environments = ENVIRONMENTS.map(environment);
                        let parts = environments.iter().map(|e| Resource::Environment(&name, e));
                        for resource in whole.into_iter().chain(parts) {
                            if lacks(&made, action, resource).is_none() {
                                prop_assert_eq!(lacks(maker, action, resource), None);
                            }
                            if may_know_of(&made, resource) {
                                prop_assert!(may_know_of(maker, resource));
                            }
                        }
                    }
                }
            }
            maker = Some(made);
        }
    }

    /// What both allow is what each of them allows, in both orders.
    #[test]
    fn what_both_allow_each_allows(one in any_rights(), other in any_rights()) {
        for both in [one.and(&other), other.and(&one)] {
            for name in APPS.map(app) {
                for part in ENVIRONMENTS.map(environment) {
                    for role in Role::ALL {
                        let of = |rights: &Rights| rights.covers(&name, &part, role);
                        prop_assert_eq!(of(&both), of(&one) && of(&other));
                    }
                }
            }
        }
    }
}
