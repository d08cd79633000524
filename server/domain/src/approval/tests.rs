use std::sync::Arc;

use proptest::prelude::*;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::{
    APPROVAL_LASTS, Answer, Approval, ApprovalId, ApprovalPlan, ApprovalPolicy, ApprovalRule,
    ApprovalState, NotDecided, may_answer,
};
use crate::access::{Actor, ActorKind, Door, Rights, Subject, Tier};
use crate::app::RunMode;
use crate::deployment::DeploymentId;
use crate::names::EnvironmentName;
use crate::release::ReleaseNo;

const NOW: OffsetDateTime = datetime!(2026-02-04 10:00 UTC);

fn actor(kind: ActorKind, id: &str, tier: Tier) -> Actor {
    Actor {
        kind,
        id: id.to_owned(),
        name: id.to_owned(),
        persona: None,
        tier,
        door: Door::Rest,
        session: None,
        rights: Arc::new(Rights::Everything),
        chain: Arc::default(),
        origin: None,
    }
}

fn account(id: &str) -> Subject {
    Subject::Account(id.to_owned())
}

fn token(id: &str) -> Subject {
    Subject::Token(id.to_owned())
}

/// Ann's agent asks.
fn asked() -> Approval {
    Approval {
        id: ApprovalId::new(NOW, 7),
        deployment: DeploymentId::new(NOW, 7),
        app: "shop".parse().unwrap(),
        environment: EnvironmentName::production(),
        asked_by: actor(ActorKind::Token, "agent", Tier::Advanced),
        family: vec![token("agent"), token("parent"), account("ann")],
        maker_may_answer: false,
        intent: None,
        plan: ApprovalPlan {
            act: "deploy".to_owned(),
            image: "shop:v2".to_owned(),
            pinned_image: "shop@sha256:00".to_owned(),
            version: None,
            strategy: crate::deployment::Strategy::Rolling,
            replicas: 1,
            from_release: Some(ReleaseNo(1)),
            release: Some(ReleaseNo(2)),
            mode: RunMode::Running,
            settings_version: 1,
            changes: Vec::new(),
            risks: Vec::new(),
            jobs: Vec::new(),
        },
        digest: "00".to_owned(),
        asked_at: NOW,
        expires_at: NOW + APPROVAL_LASTS,
        state: ApprovalState::Waiting,
        decision: None,
    }
}

fn approve(by: Actor, family: Vec<Subject>) -> Answer {
    Answer::Approve {
        by,
        family,
        reason: None,
    }
}

fn person(id: &str) -> (Actor, Vec<Subject>) {
    (
        actor(ActorKind::User, id, Tier::Advanced),
        vec![account(id)],
    )
}

#[test]
fn another_person_agrees_once() {
    let mut approval = asked();
    let (bob, family) = person("bob");
    approval
        .decide(approve(bob.clone(), family.clone()), NOW)
        .unwrap();
    assert_eq!(approval.state, ApprovalState::Approved);
    let decision = approval.decision.clone().unwrap();
    assert_eq!(decision.by.unwrap().id, "bob");
    let again = Answer::Reject {
        by: bob,
        family,
        reason: None,
    };
    assert_eq!(
        approval.decide(again, NOW),
        Err(NotDecided::Already(ApprovalState::Approved))
    );
}

#[test]
fn nobody_of_the_askers_family_can_answer() {
    let (ann, of_ann) = person("ann");
    let own = actor(ActorKind::Token, "agent", Tier::Admin);
    let child = actor(ActorKind::Token, "child", Tier::Admin);
    let sister = actor(ActorKind::Token, "sister", Tier::Admin);
    for (by, family) in [
        (ann, of_ann),
        (own, vec![token("agent")]),
        (child, vec![token("child"), token("agent")]),
        (sister, vec![token("sister"), account("ann")]),
        // Whatever is said of the family: it is the very one who asked.
        (actor(ActorKind::Token, "agent", Tier::Admin), Vec::new()),
    ] {
        let mut approval = asked();
        let answer = approve(by, family);
        assert_eq!(approval.decide(answer, NOW), Err(NotDecided::OwnRequest));
        assert_eq!(approval, asked());
    }
    // Where she needs no approval herself she may answer for her agent, and no token may.
    let free = Approval {
        maker_may_answer: true,
        ..asked()
    };
    let (ann, of_ann) = person("ann");
    free.clone().decide(approve(ann, of_ann), NOW).unwrap();
    let sister = actor(ActorKind::Token, "sister", Tier::Admin);
    let answer = approve(sister, vec![token("sister"), account("ann")]);
    assert_eq!(
        free.clone().decide(answer, NOW),
        Err(NotDecided::OwnRequest)
    );
    let by_herself = Approval {
        asked_by: person("ann").0,
        family: vec![account("ann")],
        ..free
    };
    let (ann, of_ann) = person("ann");
    let answer = approve(ann, of_ann);
    assert_eq!(
        by_herself.clone().decide(answer, NOW),
        Err(NotDecided::OwnRequest)
    );
    // An account and a token may have the same id and are not the same.
    let (person, family) = person("agent");
    asked().decide(approve(person, family), NOW).unwrap();
}

#[test]
fn agents_do_not_answer_each_other() {
    for (tier, expected) in [
        (Tier::Extended, Err(NotDecided::NotEntitled)),
        (Tier::Advanced, Err(NotDecided::NotEntitled)),
        (Tier::Admin, Ok(())),
    ] {
        let other = actor(ActorKind::Token, "other", tier);
        let answer = approve(other, vec![token("other"), account("bob")]);
        assert_eq!(asked().decide(answer, NOW), expected, "{tier:?}");
    }
    let platform = approve(Actor::system(), Vec::new());
    assert_eq!(asked().decide(platform, NOW), Err(NotDecided::NotEntitled));
}

#[test]
fn time_runs_out() {
    let end = NOW + APPROVAL_LASTS;
    let (bob, family) = person("bob");
    let mut approval = asked();
    assert!(approval.is_open(end - Duration::SECOND) && !approval.is_open(end));
    let late = approve(bob, family);
    assert_eq!(approval.decide(late, end), Err(NotDecided::TooLate));
    let early = approval.decide(Answer::Expire, end - Duration::SECOND);
    assert_eq!(early, Err(NotDecided::TooEarly));
    approval.decide(Answer::Expire, end).unwrap();
    assert_eq!(approval.state, ApprovalState::Expired);
}

#[test]
fn tokens_are_never_allowed_more_than_people() {
    for person in ApprovalRule::ALL {
        for agent in ApprovalRule::ALL {
            let policy = ApprovalPolicy::new(person, agent);
            assert_eq!(policy.is_ok(), agent >= person);
        }
    }
    let policy = ApprovalPolicy::new(ApprovalRule::Allow, ApprovalRule::Deny).unwrap();
    assert_eq!(policy.rule_for(ActorKind::User), ApprovalRule::Allow);
    assert_eq!(policy.rule_for(ActorKind::Token), ApprovalRule::Deny);
    let strict = ApprovalPolicy::new(ApprovalRule::Deny, ApprovalRule::Deny).unwrap();
    assert_eq!(strict.rule_for(ActorKind::System), ApprovalRule::Allow);
    assert!(policy.is_looser_than(strict) && !strict.is_looser_than(policy));
    assert!(!policy.is_looser_than(policy));
    assert!("maybe".parse::<ApprovalRule>().is_err());
}

fn any_actor() -> impl Strategy<Value = (Actor, Vec<Subject>)> {
    let kinds = prop_oneof![
        Just(ActorKind::User),
        Just(ActorKind::Token),
        Just(ActorKind::System)
    ];
    let tiers = prop_oneof![
        Just(Tier::Extended),
        Just(Tier::Advanced),
        Just(Tier::Admin)
    ];
    let names = prop::sample::select(vec!["agent", "parent", "ann", "bob", "cy"]);
    let makers = prop::collection::vec(
        prop_oneof![
            names.clone().prop_map(token),
            names.clone().prop_map(account)
        ],
        0..3,
    );
    (kinds, tiers, names, makers).prop_map(|(kind, tier, id, makers)| {
        let own = match kind {
            ActorKind::User => Some(account(id)),
            ActorKind::Token => Some(token(id)),
            ActorKind::System => None,
        };
        let behind = if kind == ActorKind::Token {
            makers
        } else {
            Vec::new()
        };
        (
            actor(kind, id, tier),
            own.into_iter().chain(behind).collect(),
        )
    })
}

proptest! {
    /// Whatever comes in whatever order, at whatever times: it is decided once, in time, by
    /// somebody who may and has nothing to do with who asked.
    #[test]
    fn it_is_decided_once_in_time_and_by_somebody_else(
        steps in prop::collection::vec((0_u8..4, any_actor(), 0_i64..48 * 3_600), 0..30)
    ) {
        let mut approval = asked();
        for (what, (by, family), seconds) in steps {
            let now = NOW + Duration::seconds(seconds);
            let before = approval.clone();
            let answer = match what {
                0 => Answer::Approve { by: by.clone(), family: family.clone(), reason: None },
                1 => Answer::Reject { by: by.clone(), family: family.clone(), reason: None },
                2 => Answer::Expire,
                _ => Answer::Withdraw,
            };
            let decided = approval.decide(answer, now);
            if decided.is_err() {
                prop_assert_eq!(&approval, &before);
                continue;
            }
            prop_assert_eq!(before.state, ApprovalState::Waiting);
            prop_assert_ne!(approval.state, ApprovalState::Waiting);
            prop_assert_eq!(approval.state == ApprovalState::Expired, what == 2);
            if what < 2 {
                prop_assert!(now < approval.expires_at);
                prop_assert!(!approval.family.iter().any(|one| family.contains(one)));
                prop_assert!(may_answer(&by));
            }
            let stored = serde_json::to_string(&approval).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Approval>(&stored).unwrap().state, &approval.state);
        }
    }
}
