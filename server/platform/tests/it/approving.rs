//! Approvals: who is asked, who may answer, what is done meanwhile and what comes of the answer.

use flukedeploy_domain::access::{Actor, Door, Limits, Subject, Target, Tier};
use flukedeploy_domain::app::{RunMode, Settings};
use flukedeploy_domain::approval::{
    APPROVAL_LASTS, Approval, ApprovalPolicy, ApprovalRule, ApprovalState,
};
use flukedeploy_domain::deployment::{
    Deployment, DeploymentId, DeploymentSummary, PhaseName, Queue, State, Status,
};
use flukedeploy_domain::diagnosis::Cause;
use flukedeploy_domain::job::JobKind;
use flukedeploy_platform::approvals::{self, ApprovalEntry};
use flukedeploy_platform::deployments::{
    self, Everyday, Rollback, RollbackTarget, What, plan_deploy,
};
use flukedeploy_platform::identity;
use flukedeploy_platform::ports::{Approvals as _, Store as _};
use flukedeploy_platform::tokens::{self, CreateToken};
use flukedeploy_platform::views::AppState;
use flukedeploy_platform::webhooks::{self, CreateWebhook};
use flukedeploy_platform::{Error, apps, grants};
use time::Duration;

use crate::bench::{Life, World, deploy_of, diagnosis, name, production, service, settings, until};
use crate::preparing::{started, with_jobs};
use crate::rights::{grant, person};
use crate::tap::Counting;

use ApprovalRule::{Allow, Approve, Deny};

fn rules(life: &Life<'_>, person: ApprovalRule, agent: ApprovalRule) {
    let policy = ApprovalPolicy { person, agent };
    life.run(approvals::set_policy(
        &life.px,
        &Actor::system(),
        &name("shop"),
        &production(),
        policy,
    ))
    .unwrap();
}

/// A token of somebody's and who acts with it.
fn token_of(life: &Life<'_>, maker: &Actor, tier: Tier) -> Actor {
    let cmd = CreateToken {
        name: "agent".to_owned(),
        persona: Some("OPERATOR".to_owned()),
        tier,
        expires_at: None,
        only: None,
        limits: Limits::default(),
    };
    let made = life
        .run(tokens::create_token(&life.px, maker, cmd))
        .unwrap();
    acting(life, made.secret.expose())
}

fn acting(life: &Life<'_>, secret: &str) -> Actor {
    life.run(identity::authenticate_token(
        &life.px,
        secret,
        Door::Mcp,
        None,
    ))
    .unwrap()
}

/// A person who is a maintainer of the shop.
fn maintainer(life: &Life<'_>, id: &str) -> Actor {
    person(life, id);
    grant(
        life,
        Subject::Account(id.to_owned()),
        Target::App(name("shop")),
        flukedeploy_domain::access::Role::Maintainer,
    );
    crate::rights::signed_in(life, id)
}

fn ask(life: &Life<'_>, actor: &Actor, image: &str) -> DeploymentId {
    let cmd = deploy_of("shop", image);
    let begun = life.run(deployments::deploy(&life.px, actor, cmd));
    begun.unwrap().deployment.deployment_id
}

#[track_caller]
fn question(life: &Life<'_>, id: &DeploymentId) -> Approval {
    until("the question", || {
        life.run(life.store.approval_of(id)).unwrap().is_some()
    });
    life.run(life.store.approval_of(id)).unwrap().unwrap()
}

fn decide(
    life: &Life<'_>,
    actor: &Actor,
    approval: &Approval,
    approve: bool,
) -> Result<ApprovalEntry, Error> {
    let reason = Some("seen".to_owned());
    life.run(approvals::decide(
        &life.px,
        actor,
        &approval.id,
        approve,
        reason,
    ))
}

fn state(life: &Life<'_>, approval: &Approval) -> ApprovalState {
    let found = life.run(life.store.approval(&approval.id)).unwrap();
    found.unwrap().state
}

fn is_parked(life: &Life<'_>, id: &DeploymentId) -> bool {
    let parked = life.run(life.store.parked_deployments()).unwrap();
    parked.contains(id)
}

fn summaries(life: &Life<'_>) -> Vec<String> {
    let rows = life.audit_rows();
    rows.into_iter().map(|row| row.entry.summary).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.unwrap_err().code()
}

/// The shop serves its first release; an agent needs a word for the next.
struct Scene<'w> {
    life: Life<'w>,
    agent: Actor,
    bob: Actor,
}

fn scene(world: &World) -> Scene<'_> {
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    rules(&life, Allow, Approve);
    let agent = token_of(&life, &Actor::system(), Tier::Advanced);
    let bob = maintainer(&life, "bob");
    Scene { life, agent, bob }
}

#[test]
fn an_agents_release_waits_and_goes_on_when_a_person_agrees() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let id = ask(&life, &agent, "shop:v2");
    let approval = question(&life, &id);
    let record = life.record(&id);
    assert_eq!(
        record.state,
        State::Running {
            phase: PhaseName::PreDeploy
        }
    );
    assert_eq!(record.state.status(), Status::Deploying);
    assert_eq!(world.swarm.services(), [service("shop", 1)]);
    // Nothing moves: the app is what it was.
    let shown = life
        .run(apps::get_app(&life.px, &bob, &name("shop")))
        .unwrap();
    assert_eq!(shown.state, AppState::Running);
    let latest = shown.latest_deployment.unwrap();
    assert_eq!(latest.approval.unwrap().state, ApprovalState::Waiting);
    assert_eq!(approval.plan.from_release.unwrap().0, 1);
    assert_eq!(approval.plan.release, None, "it gets its number later");
    assert_eq!(approval.plan.image, "shop:v2");
    assert_eq!(approval.expires_at - approval.asked_at, APPROVAL_LASTS);

    // Everybody who may see the app sees it; who asked cannot decide.
    let inbox = |actor: &Actor| life.run(approvals::list(&life.px, actor, 10)).unwrap();
    let (of_bob, of_agent) = (inbox(&bob), inbox(&agent));
    assert_eq!((of_bob.len(), of_bob[0].may_decide), (1, true));
    assert_eq!((of_agent.len(), of_agent[0].may_decide), (1, false));
    assert_eq!(
        life.run(approvals::waiting_count(&life.px, &bob)).unwrap(),
        1
    );
    assert_eq!(
        life.run(approvals::waiting_count(&life.px, &agent))
            .unwrap(),
        0
    );

    let decided = decide(&life, &bob, &approval, true).unwrap();
    assert_eq!(decided.approval.state, ApprovalState::Approved);
    assert_eq!(decided.approval.decided_by.as_deref(), Some("person bob"));
    assert_eq!(life.end(&id).state, State::Success);
    life.assert_serves("shop", 2);
    let all = summaries(&life).join("\n");
    for part in [
        "asks for the approval",
        "approves deployment",
        "changed who needs an approval",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert_eq!(
        code(decide(&life, &bob, &approval, false)),
        "approval_closed"
    );
    world.assert_sound();
}

#[test]
fn a_rejected_one_ends_with_the_reason_and_has_changed_nothing() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let id = ask(&life, &agent, "shop:v2");
    decide(&life, &bob, &question(&life, &id), false).unwrap();
    let done = life.end(&id);
    let found = diagnosis(&done);
    assert_eq!(
        (found.code, found.phase),
        (Cause::ApprovalRejected, PhaseName::PreDeploy)
    );
    assert_eq!(found.message, "person bob rejected it: seen");
    life.assert_serves("shop", 1);
    assert_eq!(world.swarm.services(), [service("shop", 1)]);
    world.assert_sound();
}

/// What may change data does not run unseen.
#[test]
fn the_release_command_waits_for_the_answer() {
    let world = World::new();
    let life = world.boot();
    let jobs = [(JobKind::Test, "true"), (JobKind::Release, "true")];
    life.create_app("shop", with_jobs(&jobs));
    life.ship("shop", "shop:v1");
    let bob = maintainer(&life, "bob");
    rules(&life, Allow, Approve);
    let agent = token_of(&life, &Actor::system(), Tier::Advanced);
    let before = started(&life).len();
    let since = || {
        let names = started(&life).split_off(before);
        let kind = |name: &String| {
            let (_, rest) = name.split_once("-job-").unwrap();
            rest.split('-').next().unwrap().to_owned()
        };
        names.iter().map(kind).collect::<Vec<_>>()
    };

    let id = ask(&life, &agent, "shop:v2");
    let approval = question(&life, &id);
    assert_eq!(approval.plan.jobs.len(), 2, "{:?}", approval.plan.jobs);
    assert_eq!(since(), ["test"]);
    decide(&life, &bob, &approval, false).unwrap();
    life.end(&id);
    assert_eq!(since(), ["test"]);

    let id = ask(&life, &agent, "shop:v3");
    decide(&life, &bob, &question(&life, &id), true).unwrap();
    assert_eq!(life.end(&id).state, State::Success);
    assert_eq!(since(), ["test", "test", "release"]);
    world.assert_sound();
}

#[test]
fn nobody_answers_what_they_asked_or_had_asked() {
    let world = World::new();
    let Scene { life, bob, .. } = scene(&world);
    rules(&life, ApprovalRule::Approve, ApprovalRule::Approve);
    // Bob's own agent, an agent that one made, and an administrator's token made by it.
    let agent = token_of(&life, &bob, Tier::Advanced);
    let child = token_of(&life, &agent, Tier::Advanced);
    let id = ask(&life, &child, "shop:v2");
    let approval = question(&life, &id);
    assert_eq!(code(decide(&life, &bob, &approval, true)), "own_approval");
    assert_eq!(code(decide(&life, &agent, &approval, true)), "forbidden");
    let entry = life
        .run(approvals::get(&life.px, &bob, &approval.id))
        .unwrap();
    assert!(!entry.may_decide);

    // Tokens that were made on the machine count as made by one.
    let one = token_of(&life, &Actor::system(), Tier::Admin);
    let other = token_of(&life, &Actor::system(), Tier::Admin);
    let own = ask(&life, &one, "shop:v3");
    let of_operator = question(&life, &own);
    assert_eq!(state(&life, &approval), ApprovalState::Withdrawn);
    assert_eq!(
        code(decide(&life, &other, &of_operator, true)),
        "own_approval"
    );
    assert_eq!(state(&life, &of_operator), ApprovalState::Waiting);

    // The same secret's successor is no way round.
    let rotated = life
        .run(tokens::rotate_token(
            &life.px,
            &Actor::system(),
            &one.id,
            60,
        ))
        .unwrap();
    let rotated = acting(&life, rotated.secret.expose());
    assert_eq!(
        code(decide(&life, &rotated, &of_operator, true)),
        "own_approval"
    );

    // Somebody else's token of the tier admin may.
    decide(&life, &bob, &of_operator, true).unwrap();
    assert_eq!(life.end(&own).state, State::Success);
}

#[test]
fn whoever_needs_no_approval_gives_it_to_their_own_agent() {
    let world = World::new();
    let Scene { life, bob, .. } = scene(&world);
    let agent = token_of(&life, &bob, Tier::Advanced);
    let id = ask(&life, &agent, "shop:v2");
    let approval = question(&life, &id);
    let entry = life
        .run(approvals::get(&life.px, &bob, &approval.id))
        .unwrap();
    assert!(entry.may_decide);
    decide(&life, &bob, &approval, true).unwrap();
    assert_eq!(life.end(&id).state, State::Success);
    world.assert_sound();
}

#[test]
fn agents_do_not_agree_with_each_other_and_administrators_tokens_may() {
    let world = World::new();
    let Scene { life, bob, .. } = scene(&world);
    let asker = token_of(&life, &bob, Tier::Advanced);
    let other = token_of(&life, &Actor::system(), Tier::Advanced);
    let admin = token_of(&life, &Actor::system(), Tier::Admin);
    let id = ask(&life, &asker, "shop:v2");
    let approval = question(&life, &id);
    assert_eq!(code(decide(&life, &other, &approval, true)), "forbidden");
    decide(&life, &admin, &approval, true).unwrap();
    assert_eq!(life.end(&id).state, State::Success);
}

#[test]
fn who_lost_the_right_in_between_cannot_answer_any_more() {
    let world = World::new();
    let Scene { life, agent, .. } = scene(&world);
    let cy = person(&life, "cy");
    let given = grant(
        &life,
        Subject::Account("cy".to_owned()),
        Target::App(name("shop")),
        flukedeploy_domain::access::Role::Maintainer,
    );
    let id = ask(&life, &agent, "shop:v2");
    let approval = question(&life, &id);
    let entitled = crate::rights::signed_in(&life, "cy");
    assert!(
        life.run(approvals::get(&life.px, &entitled, &approval.id))
            .unwrap()
            .may_decide
    );
    life.run(grants::withdraw(&life.px, &Actor::system(), &given))
        .unwrap();
    let now = crate::rights::signed_in(&life, "cy");
    assert_eq!(
        code(decide(&life, &now, &approval, true)),
        "approval_not_found"
    );
    assert_eq!(
        code(decide(&life, &cy, &approval, true)),
        "approval_not_found"
    );

    // A deployer sees it and does not decide.
    grant(
        &life,
        Subject::Account("cy".to_owned()),
        Target::App(name("shop")),
        flukedeploy_domain::access::Role::Deployer,
    );
    let deployer = crate::rights::signed_in(&life, "cy");
    assert_eq!(code(decide(&life, &deployer, &approval, true)), "forbidden");
    assert_eq!(state(&life, &approval), ApprovalState::Waiting);
}

#[test]
fn it_expires_by_the_clock_also_while_nobody_was_there() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let first = ask(&life, &agent, "shop:v2");
    let approval = question(&life, &first);
    world.clock.forward(APPROVAL_LASTS - Duration::minutes(1));
    assert!(is_parked(&life, &first));
    world.clock.forward(Duration::minutes(2));
    let done = life.end(&first);
    assert_eq!(diagnosis(&done).code, Cause::ApprovalExpired);
    assert_eq!(state(&life, &approval), ApprovalState::Expired);
    assert_eq!(
        code(decide(&life, &bob, &approval, true)),
        "approval_closed"
    );
    assert!(
        summaries(&life)
            .join("\n")
            .contains("nobody answered in time")
    );

    let second = ask(&life, &agent, "shop:v3");
    let approval = question(&life, &second);
    life.crash();
    world.clock.forward(APPROVAL_LASTS);
    let life = world.boot();
    assert_eq!(diagnosis(&life.end(&second)).code, Cause::ApprovalExpired);
    assert_eq!(state(&life, &approval), ApprovalState::Expired);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn what_waits_outlives_restarts_and_a_change_makes_it_stale() {
    let world = World::new();
    let Scene { life, agent, .. } = scene(&world);
    let id = ask(&life, &agent, "shop:v2");
    let approval = question(&life, &id);
    life.shut_down();
    let life = world.boot();
    until("it waits again", || is_parked(&life, &id));
    life.change_settings("shop", |settings: &mut Settings| settings.replicas = 2);
    let bob = crate::rights::signed_in(&life, "bob");
    decide(&life, &bob, &approval, true).unwrap();
    let done = life.end(&id);
    let found = diagnosis(&done);
    assert_eq!(
        (found.code, found.phase),
        (Cause::PlanStale, PhaseName::PreDeploy)
    );
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn a_stop_goes_through_meanwhile_and_makes_it_stale() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let id = ask(&life, &agent, "shop:v2");
    let approval = question(&life, &id);
    let stop = Everyday {
        app: name("shop"),
        environment: production(),
        what: What::Mode(RunMode::Stopped),
        queue: Queue::Wait,
        reason: None,
        idempotency_key: None,
    };
    let stopped = life.run(deployments::act(&life.px, &bob, stop)).unwrap();
    let stopped = stopped.deployment.deployment_id;
    assert_eq!(life.end(&stopped).state, State::Success);
    assert!(is_parked(&life, &id));
    decide(&life, &bob, &approval, true).unwrap();
    assert_eq!(diagnosis(&life.end(&id)).code, Cause::PlanStale);
}

#[test]
fn a_newer_release_takes_the_place_of_one_that_waits() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let first = ask(&life, &agent, "shop:v2");
    let of_first = question(&life, &first);
    // People are allowed: nothing keeps Bob from deploying.
    let bobs = ask(&life, &bob, "shop:v3");
    let done = life.end(&first);
    assert_eq!(diagnosis(&done).code, Cause::Superseded);
    assert_eq!(state(&life, &of_first), ApprovalState::Withdrawn);
    assert_eq!(
        code(decide(&life, &bob, &of_first, true)),
        "approval_closed"
    );
    assert_eq!(life.end(&bobs).state, State::Success);
    // The first one never got a number.
    life.assert_serves("shop", 2);
    world.assert_sound();
}

#[test]
fn a_cancel_withdraws_the_question() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let id = ask(&life, &agent, "shop:v2");
    let approval = question(&life, &id);
    life.cancel(&id);
    assert_eq!(diagnosis(&life.end(&id)).code, Cause::Cancelled);
    assert_eq!(state(&life, &approval), ApprovalState::Withdrawn);
    assert_eq!(
        code(decide(&life, &bob, &approval, true)),
        "approval_closed"
    );
    life.assert_serves("shop", 1);
}

#[test]
fn everything_that_brings_a_release_into_service_asks() {
    let world = World::new();
    let Scene { life, agent, .. } = scene(&world);
    life.ship("shop", "shop:v2");
    let back = Rollback {
        app: name("shop"),
        environment: production(),
        to: RollbackTarget::Previous,
        queue: Queue::Wait,
        reason: Some("it is slow".to_owned()),
        idempotency_key: None,
    };
    let everyday = |what| Everyday {
        app: name("shop"),
        environment: production(),
        what,
        queue: Queue::Wait,
        reason: None,
        idempotency_key: None,
    };
    let begun = life.run(deployments::rollback(&life.px, &agent, back.clone()));
    let id = begun.unwrap().deployment.deployment_id;
    let asked = question(&life, &id);
    assert_eq!(
        (asked.plan.act.as_str(), asked.intent.as_deref()),
        ("rollback", Some("it is slow"))
    );
    let begun = life.run(deployments::act(&life.px, &agent, everyday(What::Restart)));
    let id = begun.unwrap().deployment.deployment_id;
    assert_eq!(question(&life, &id).plan.act, "restart");
    life.cancel(&id);
    life.end(&id);
    // More replicas of what serves is no other release.
    let begun = life.run(deployments::act(&life.px, &agent, everyday(What::Scale(2))));
    let id = begun.unwrap().deployment.deployment_id;
    assert_eq!(life.end(&id).state, State::Success);

    rules(&life, Allow, Deny);
    let denied = life.run(deployments::deploy(
        &life.px,
        &agent,
        deploy_of("shop", "shop:v3"),
    ));
    assert_eq!(code(denied), "denied_by_policy");
    let denied = life.run(deployments::rollback(&life.px, &agent, back));
    assert_eq!(code(denied), "denied_by_policy");
    let denied = life.run(deployments::act(&life.px, &agent, everyday(What::Restart)));
    assert_eq!(code(denied), "denied_by_policy");
    life.assert_serves("shop", 2);
}

#[test]
fn an_app_that_sleeps_wakes_although_something_waits() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let id = ask(&life, &agent, "shop:v2");
    question(&life, &id);
    let act = |what| Everyday {
        app: name("shop"),
        environment: production(),
        what: What::Mode(what),
        queue: Queue::Wait,
        reason: None,
        idempotency_key: None,
    };
    for mode in [RunMode::Asleep, RunMode::Running] {
        let begun = life
            .run(deployments::act(&life.px, &bob, act(mode)))
            .unwrap();
        let begun = begun.deployment.deployment_id;
        assert_eq!(life.end(&begun).state, State::Success);
    }
    assert!(is_parked(&life, &id));
    life.assert_serves("shop", 1);
}

#[test]
fn a_plan_says_whose_word_it_takes() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let cmd = deploy_of("shop", "shop:v2");
    let needed = |actor: &Actor| {
        let plan = life.run(plan_deploy(&life.px, actor, &cmd)).unwrap();
        plan.needs_approval_of
    };
    assert_eq!(needed(&bob), Vec::<String>::new());
    let of_agent = needed(&agent);
    assert!(
        of_agent[0].starts_with("a maintainer of shop"),
        "{of_agent:?}"
    );
    rules(&life, Allow, Deny);
    let denied = life.run(plan_deploy(&life.px, &agent, &cmd));
    assert_eq!(code(denied), "denied_by_policy");
}

#[test]
fn no_token_loosens_the_rules_and_maintainers_do_not_set_them() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let admin = token_of(&life, &Actor::system(), Tier::Admin);
    let set = |actor: &Actor, person, agent| {
        life.run(approvals::set_policy(
            &life.px,
            actor,
            &name("shop"),
            &production(),
            ApprovalPolicy { person, agent },
        ))
    };
    assert_eq!(code(set(&agent, Allow, Allow)), "forbidden");
    assert_eq!(code(set(&bob, Allow, Allow)), "forbidden");
    assert_eq!(code(set(&admin, Allow, Allow)), "policy_binds");
    set(&admin, Approve, Approve).unwrap();
    set(&admin, Approve, Deny).unwrap();
    assert_eq!(code(set(&admin, Allow, Deny)), "policy_binds");
    assert_eq!(code(set(&admin, Deny, Approve)), "invalid_request");
    // Made anew under the same name, it is bound as before.
    life.run(apps::delete_app(&life.px, &admin, &name("shop")))
        .unwrap();
    until("it can be made again", || {
        let new = apps::NewApp {
            name: name("shop"),
            settings: settings(1),
        };
        life.run(apps::create_app(&life.px, &admin, new)).is_ok()
    });
    let denied = life.run(deployments::deploy(
        &life.px,
        &agent,
        deploy_of("shop", "shop:v3"),
    ));
    assert_eq!(code(denied), "denied_by_policy");
}

#[test]
fn who_waits_is_told_as_soon_as_it_waits_and_when_it_is_decided() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let id = ask(&life, &agent, "shop:v2");
    let state_of = |found: &DeploymentSummary| found.approval.as_ref().map(|found| found.state);
    let began = std::time::Instant::now();
    let found = life
        .run(deployments::wait_for_begun(&life.px, &agent, &id, 50))
        .unwrap();
    assert_eq!(state_of(&found), Some(ApprovalState::Waiting));
    let (px, waiting, whose) = (life.px.clone(), id.clone(), agent.clone());
    let status = life
        .spawn(async move { deployments::wait_for_deployment(&px, &whose, &waiting, 50).await });
    decide(&life, &bob, &question(&life, &id), true).unwrap();
    let found = life.run(status).unwrap().unwrap();
    assert_eq!(state_of(&found), Some(ApprovalState::Approved));
    assert!(began.elapsed() < std::time::Duration::from_secs(40));
    assert_eq!(life.end(&id).state, State::Success);
}

/// Runs the story to the crash, and on from there with another control plane. False if it ended
/// before it came to the crash.
fn crash_in(count: u32, approve: bool) -> bool {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    life.tap.die_at(count, Counting::Changes);
    // Callers of a process that dies are never answered.
    let (px, agents, bobs, past) = (life.px.clone(), agent.clone(), bob, life.store.clone());
    let story = life.spawn(async move {
        let cmd = deploy_of("shop", "shop:v2");
        let begun = deployments::deploy(&px, &agents, cmd).await.unwrap();
        let id = begun.deployment.deployment_id;
        let approval = loop {
            if let Some(approval) = past.approval_of(&id).await.unwrap() {
                break approval;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        };
        approvals::decide(&px, &bobs, &approval.id, approve, None)
            .await
            .unwrap();
        while !past
            .deployment(&id)
            .await
            .unwrap()
            .unwrap()
            .state
            .is_final()
        {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    });
    until("its end, or the crash", || {
        life.tap.is_dead() || story.is_finished()
    });
    let crashed = life.tap.is_dead();
    life.crash();

    let life = world.boot();
    let bob = crate::rights::signed_in(&life, "bob");
    let what = format!("crash at {count}, {approve}");
    let all = life
        .run(life.store.deployments_of(&name("shop"), None, 10))
        .unwrap();
    let second: Option<&Deployment> = all.iter().find(|one| one.initiated_as.id == agent.id);
    if let Some(second) = second {
        let approval = question(&life, &second.id);
        let services = world.swarm.services();
        let early = services.contains(&service("shop", 2));
        assert!(
            !early || state(&life, &approval) == ApprovalState::Approved,
            "{what}: it began before anybody agreed"
        );
        if state(&life, &approval) == ApprovalState::Waiting {
            decide(&life, &bob, &approval, approve).unwrap();
        }
        let done = life.end(&second.id);
        if approve {
            assert_eq!(done.state, State::Success, "{what}");
            life.assert_serves("shop", 2);
        } else {
            assert_eq!(diagnosis(&done).code, Cause::ApprovalRejected, "{what}");
            life.assert_serves("shop", 1);
        }
        let asked = summaries(&life)
            .iter()
            .filter(|text| text.contains("asks for the approval"))
            .count();
        assert_eq!(asked, 1, "{what}");
    } else {
        assert!(crashed, "{what}");
        life.assert_serves("shop", 1);
    }
    world.assert_sound();
    crashed
}

fn crash_everywhere(approve: bool) {
    const THREADS: u32 = 4;
    let furthest = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for first in 1..=THREADS {
            let furthest = &furthest;
            scope.spawn(move || {
                let mut count = first;
                while crash_in(count, approve) {
                    furthest.fetch_max(count, std::sync::atomic::Ordering::Relaxed);
                    count += THREADS;
                    assert!(count < 200, "the story never ends");
                }
            });
        }
    });
    // Or nothing was tried out.
    let furthest = furthest.into_inner();
    assert!(furthest > 5, "{furthest}");
}

#[test]
fn a_crash_at_every_change_of_one_that_is_approved() {
    crash_everywhere(true);
}

#[test]
fn a_crash_at_every_change_of_one_that_is_rejected() {
    crash_everywhere(false);
}

#[test]
fn webhooks_hear_of_the_question_and_the_answer() {
    let world = World::new();
    let Scene { life, agent, bob } = scene(&world);
    let hook = CreateWebhook {
        url: "https://hooks.example.com/in".parse().unwrap(),
        events: flukedeploy_domain::webhook::Events::of_names([
            "approval.requested",
            "approval.approved",
            "approval.rejected",
            "approval.expired",
        ])
        .unwrap(),
        app: None,
        secret: None,
    };
    let made = life.run(webhooks::create_webhook(&life.px, &Actor::system(), hook));
    let hook = made.unwrap().view.id;
    let id = ask(&life, &agent, "shop:v2");
    decide(&life, &bob, &question(&life, &id), true).unwrap();
    life.end(&id);
    let told = life.run(life.store.deliveries(&hook, 10)).unwrap();
    let events: Vec<_> = told.iter().rev().map(|one| one.event.as_str()).collect();
    assert_eq!(events, ["approval.requested", "approval.approved"]);
}
