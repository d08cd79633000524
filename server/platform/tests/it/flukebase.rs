use std::sync::Arc;

use async_trait::async_trait;
use flukedeploy_domain::access::{Actor, Tier};
use flukedeploy_domain::deployment::State;
use flukedeploy_domain::flukebase::{Binding, MessageStatus, ProjectId};
use flukedeploy_flukebase::{Dial, FlukebaseClient, Stream};
use flukedeploy_platform::Kind;
use flukedeploy_platform::deployments::Deploy;
use flukedeploy_platform::flukebase::{
    BindingChange, ChangeFlukebase, Connection, FlukebaseView, LiveState, TokenSource,
    change_flukebase, view_flukebase,
};
use flukedeploy_platform::ports::OutgoingError;
use flukedeploy_platform::secret::Secret;
use serde_json::{Value, json};
use time::Duration;
use tokio::runtime::Runtime;

use crate::bench::{Life, World, deploy_of, dying, impatient, name, service, settings, until};
use crate::flukebase_stand_in::{Cable, Mood, PROJECT, SECRET_VALUE, StandIn, TOKEN};
use crate::tap::Counting;

struct Plain;

#[async_trait]
impl Dial for Plain {
    async fn dial(&self, host: &str, port: u16, _: bool) -> Result<Box<dyn Stream>, OutgoingError> {
        let stream = tokio::net::TcpStream::connect((host, port)).await;
        Ok(Box::new(stream.map_err(OutgoingError::NotConnected)?))
    }
}

/// A `FlukeBase` that outlives control planes, and a world whose control planes know the way there.
struct Scene {
    there: StandIn,
    world: World,
    runtime: Runtime,
}

impl Scene {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let there = runtime.block_on(StandIn::start(0));
        let world = World::new();
        let fit: Box<dyn Fn(&mut flukedeploy_platform::Ports)> = Box::new(|ports| {
            ports.flukebase = Arc::new(FlukebaseClient::new(Arc::new(Plain), "0.0.0"));
        });
        assert!(world.fit.set(fit).is_ok());
        Self {
            there,
            world,
            runtime,
        }
    }

    /// A life with an app that belongs to the project.
    fn boot(&self, variables: bool) -> Life<'_> {
        let life = self.world.boot();
        life.create_app("shop", settings(1));
        change(&life, self.settings(variables)).unwrap();
        life
    }

    fn settings(&self, variables: bool) -> ChangeFlukebase {
        let binding = Binding {
            project_id: ProjectId::new(PROJECT).unwrap(),
            variables,
        };
        ChangeFlukebase {
            url: Some(Some(self.there.url().parse().unwrap())),
            token: Some(Some(Secret::new(TOKEN))),
            bindings: [(name("shop"), BindingChange::Project(binding))].into(),
            ..ChangeFlukebase::default()
        }
    }

    /// Waits until nothing waits any more, with time passing.
    #[track_caller]
    fn all_over(&self, life: &Life<'_>) -> FlukebaseView {
        // Not faster: each hour the token is checked anew, and requests are rationed.
        until("an end of all messages", || {
            self.world.clock.forward(Duration::seconds(15));
            waiting(life) == 0
        });
        view(life)
    }

    #[track_caller]
    fn task(&self, id: &flukedeploy_domain::deployment::DeploymentId) -> Value {
        self.there.task(&format!("DEPLOY-{id}")).unwrap()
    }
}

fn change(
    life: &Life<'_>,
    cmd: ChangeFlukebase,
) -> Result<FlukebaseView, flukedeploy_platform::Error> {
    life.run(change_flukebase(&life.px, &Actor::system(), cmd))
}

fn view(life: &Life<'_>) -> FlukebaseView {
    life.run(view_flukebase(&life.px, &Actor::system()))
        .unwrap()
}

fn count(view: &FlukebaseView, status: MessageStatus) -> u64 {
    view.outbox.counts[&status]
}

fn waiting(life: &Life<'_>) -> u64 {
    count(&view(life), MessageStatus::Waiting)
}

/// Notes of a task that end like this deployment's.
fn notes(task: &Value) -> usize {
    task["synthesis_report"]
        .as_str()
        .unwrap_or_default()
        .matches("[dep-")
        .count()
}

#[test]
fn a_deployment_is_a_task_from_its_beginning_to_its_end() {
    let all = Scene::new();
    let life = all.boot(false);
    let shipped = life.ship("shop", "shop:v1");
    let view = all.all_over(&life);
    let task = all.task(&shipped.id);
    assert_eq!(task["status"], "completed");
    assert_eq!(task["description"], "Deploy shop v1");
    assert_eq!(task["tags"], json!(["deployment", "flukedeploy", "shop"]));
    let page = format!("http://127.0.0.1:3000/deployments/{}", shipped.id);
    assert_eq!(task["remote_url"], json!(page));
    assert_eq!(task["artifact_path"], json!(shipped.image.unwrap().pinned));
    assert_eq!(notes(&task), 1);
    assert!(
        task["synthesis_report"]
            .as_str()
            .unwrap()
            .contains("release 1 serves")
    );
    assert_eq!(view.connection, Connection::Connected);
    assert_eq!(count(&view, MessageStatus::Delivered), 3);
    // The planned route for ends is not there.
    assert_eq!(count(&view, MessageStatus::Skipped), 1);
    until("a registered agent", || {
        all.there.inside().agents.contains_key("flukedeploy-it")
    });
    until("a word about live news", || {
        self::view(&life).live == LiveState::Rejected
    });
    life.shut_down();
}

#[test]
fn a_failure_blocks_the_task_and_teaches_and_so_does_what_repaired_it() {
    let all = Scene::new();
    all.there.inside().has_planned = true;
    let life = all.boot(false);
    life.change_settings("shop", |settings| *settings = impatient(1));
    all.world.swarm.image("shop:bad", dying());
    let failed = life.end(&life.deploy("shop", "shop:bad"));
    assert!(
        matches!(failed.state, State::Failed { .. }),
        "{:?}",
        failed.state
    );
    let shipped = life.ship("shop", "shop:v2");
    all.all_over(&life);
    let task = all.task(&failed.id);
    assert_eq!(task["status"], "blocked");
    assert!(
        task["tags"]
            .as_array()
            .unwrap()
            .contains(&json!("deploy-failed"))
    );
    let report = task["synthesis_report"].as_str().unwrap();
    assert!(report.contains("exited_with_code"), "{report}");
    let memories = all.there.inside().memories.clone();
    let kinds: Vec<&Value> = memories
        .iter()
        .map(|memory| &memory["memory_type"])
        .collect();
    assert_eq!(kinds, ["gotcha", "fact"]);
    assert_eq!(memories[0]["external_id"], json!(failed.id));
    assert_eq!(memories[1]["external_id"], json!(shipped.id));
    let repaired = memories[1]["content"].as_str().unwrap();
    assert!(repaired.contains("image"), "{repaired}");
    let ends: Vec<Value> = all
        .there
        .inside()
        .ends
        .iter()
        .map(|end| end["status"].clone())
        .collect();
    assert_eq!(ends, ["failed", "success"]);
    life.shut_down();
}

#[test]
fn who_is_away_gets_everything_in_order_later_and_no_deployment_waits() {
    let all = Scene::new();
    all.there.will("", Mood::Html(503), u32::MAX);
    let life = all.boot(true);
    let first = life.ship("shop", "shop:v1");
    let second = life.ship("shop", "shop:v2");
    let long = |deployment: &flukedeploy_domain::deployment::Deployment| {
        deployment.completed_at.unwrap() - deployment.initiated_at
    };
    assert!(long(&first) < Duration::seconds(5) && long(&second) < Duration::seconds(5));
    until("the breaker", || {
        view(&life).connection == Connection::Unreachable
    });
    assert!(waiting(&life) >= 6);
    // Left alone while it is away: an hour is no more than a few dozen tries.
    let before = all.there.asked().len();
    for _ in 0..30 {
        all.world.clock.forward(Duration::minutes(2));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(all.there.asked().len() - before < 60);
    assert!(waiting(&life) >= 6);
    all.there.is_well_again();
    all.all_over(&life);
    for deployment in [&first, &second] {
        let task = all.task(&deployment.id);
        assert_eq!((&task["status"], notes(&task)), (&json!("completed"), 1));
    }
    let tasks: Vec<String> = all
        .there
        .asked()
        .into_iter()
        .filter(|asked| asked.what == "POST /projects/7/wedo_tasks")
        .map(|asked| {
            asked.body["task"]["external_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(tasks.last().unwrap(), second.id.as_str());
    life.shut_down();
}

#[test]
fn an_answer_that_got_lost_doubles_nothing() {
    let all = Scene::new();
    all.there.will("POST /projects/7/wedo_tasks", Mood::Lost, 1);
    all.there.will("PATCH", Mood::Lost, 2);
    let life = all.boot(false);
    let shipped = life.ship("shop", "shop:v1");
    all.all_over(&life);
    let task = all.task(&shipped.id);
    assert_eq!((&task["status"], notes(&task)), (&json!("completed"), 1));
    life.shut_down();
}

#[test]
fn what_others_changed_meanwhile_is_kept() {
    let all = Scene::new();
    let life = all.boot(false);
    life.ship("shop", "shop:v1");
    all.all_over(&life);
    // The first change of a task has no version that could be protected.
    all.there.will("PATCH", Mood::ChangedByOthers, u32::MAX);
    let shipped = life.ship("shop", "shop:v2");
    until("conflicts", || all.there.count("PATCH") > 6);
    all.there.is_well_again();
    let view = all.all_over(&life);
    let task = all.task(&shipped.id);
    assert_eq!((&task["status"], notes(&task)), (&json!("completed"), 1));
    assert!(
        task["tags"]
            .as_array()
            .unwrap()
            .contains(&json!("by-others"))
    );
    assert!(task["tags"].as_array().unwrap().contains(&json!("shop")));
    assert_eq!(count(&view, MessageStatus::Refused), 0);
    life.shut_down();
}

#[test]
fn a_completed_task_stays_completed() {
    let all = Scene::new();
    let life = all.boot(false);
    all.there.will("PATCH", Mood::Html(503), u32::MAX);
    life.change_settings("shop", |settings| *settings = impatient(1));
    all.world.swarm.image("shop:bad", dying());
    let failed = life.end(&life.deploy("shop", "shop:bad"));
    until("the task", || {
        all.there.task(&format!("DEPLOY-{}", failed.id)).is_some()
    });
    let id = format!("DEPLOY-{}", failed.id);
    all.there
        .inside()
        .tasks
        .get_mut(&id)
        .unwrap()
        .insert("status".into(), json!("completed"));
    all.there.is_well_again();
    all.all_over(&life);
    let task = all.task(&failed.id);
    assert_eq!((&task["status"], notes(&task)), (&json!("completed"), 1));
    life.shut_down();
}

#[test]
fn a_401_in_the_middle_and_a_revoked_token_lose_nothing() {
    let all = Scene::new();
    all.there.will("PATCH", Mood::Says(401), 1);
    let life = all.boot(false);
    let first = life.ship("shop", "shop:v1");
    all.all_over(&life);
    assert_eq!(all.task(&first.id)["status"], "completed");
    all.there.inside().revoked = true;
    let second = life.ship("shop", "shop:v2");
    until("a refused token", || {
        all.world.clock.forward(Duration::minutes(2));
        view(&life).connection == Connection::TokenRefused
    });
    assert!(waiting(&life) >= 3);
    all.there.inside().revoked = false;
    let view = all.all_over(&life);
    assert_eq!(all.task(&second.id)["status"], "completed");
    assert_eq!(count(&view, MessageStatus::Refused), 0);
    life.shut_down();
}

#[test]
fn one_message_that_is_never_taken_does_not_hold_up_the_others() {
    for mood in [
        Mood::Says(422),
        Mood::Html(500),
        Mood::Redirects("http://169.254.169.254/".into()),
        Mood::Answers("{\"task\": 7}".into()),
        Mood::Endless,
    ] {
        let all = Scene::new();
        let life = all.boot(false);
        let id = life.deploy("shop", "shop:v1");
        all.there
            .will(&format!("DEPLOY-{id}"), mood.clone(), u32::MAX);
        life.end(&id);
        let last = life.ship("shop", "shop:v2");
        let view = all.all_over(&life);
        assert!(
            count(&view, MessageStatus::Refused) > 0,
            "{mood:?}: {view:#?}"
        );
        assert!(view.outbox.last_error.is_some());
        assert_eq!(all.task(&last.id)["status"], "completed");
        life.shut_down();
    }
}

#[test]
fn a_default_token_switches_off_what_it_may_not_and_says_why() {
    let all = Scene::new();
    all.there.inside().scopes = ["read:projects", "read:environment"]
        .map(str::to_owned)
        .into();
    let life = all.boot(false);
    life.ship("shop", "shop:v1");
    let view = all.all_over(&life);
    assert!(all.there.inside().tasks.is_empty());
    assert_eq!(count(&view, MessageStatus::Skipped), 4);
    let tasks = view.features.iter().find(|state| !state.on).unwrap();
    assert!(tasks.why.as_deref().unwrap().contains("read:tasks"));
    assert_eq!(all.there.count("/projects/7/wedo_tasks"), 0);
    life.shut_down();
}

#[test]
fn variables_come_along_own_ones_win_and_secrets_are_never_shown() {
    let all = Scene::new();
    all.there.inside().variables = vec![
        ("API_KEY".into(), Some(SECRET_VALUE.into()), true),
        ("MODE".into(), Some("theirs".into()), false),
        ("LD_PRELOAD".into(), Some("/tmp/evil.so".into()), false),
    ];
    let life = all.boot(true);
    life.change_settings("shop", |settings| {
        settings.env_vars.0.insert("MODE".into(), "own".into());
    });
    until("the variables", || {
        all.there.count("environment/variables") > 0
    });
    until("variables in the store", || {
        use flukedeploy_platform::ports::FlukebaseMemory as _;
        let project = ProjectId::new(PROJECT).unwrap();
        let production = flukedeploy_domain::flukebase::RemoteEnvironment::Production;
        life.run(life.store.flukebase_variables(project, production))
            .unwrap()
            .is_some()
    });
    let first = life.ship("shop", "shop:v1");
    let env = all.world.swarm.spec(&service("shop", 1)).unwrap().env.0;
    assert_eq!(
        (env["API_KEY"].as_str(), env["MODE"].as_str()),
        (SECRET_VALUE, "own")
    );
    assert!(!env.contains_key("LD_PRELOAD"));
    assert!(first.settings.is_marked_secret("API_KEY"));
    let view = all.all_over(&life);
    assert_eq!(all.there.inside().syncs, ["production"]);

    // The environment keeps none of it, also not by going back to a release that had it.
    life.ship("shop", "shop:v2");
    let back = life.rollback("shop", 1);
    life.end(&back);
    let environment = life
        .run(async {
            use flukedeploy_platform::ports::Store as _;
            let production = crate::bench::production();
            life.store.environment(&name("shop"), &production).await
        })
        .unwrap()
        .unwrap();
    assert_eq!(
        environment.settings.env_vars.names().collect::<Vec<_>>(),
        ["MODE"]
    );

    // Nowhere in the open: views, logs, audit trail, what was sent, files.
    all.all_over(&life);
    let mut shown = serde_json::to_string(&view).unwrap();
    for id in [&first.id, &back] {
        for entry in life.entries(id) {
            shown.push_str(&serde_json::to_string(&entry).unwrap());
        }
    }
    shown.extend(life.audit_rows().into_iter().map(|row| row.stored));
    shown.extend(
        all.there
            .asked()
            .into_iter()
            .map(|asked| asked.body.to_string() + &asked.what),
    );
    assert!(shown.contains("API_KEY"));
    for secret in [SECRET_VALUE, TOKEN] {
        assert!(!shown.contains(secret));
        let database = std::fs::read(all.world.dir().join("control.db")).unwrap();
        let log = std::fs::read(all.world.dir().join("control.db-wal")).unwrap_or_default();
        for file in [database, log] {
            assert!(
                !file
                    .windows(secret.len())
                    .any(|part| part == secret.as_bytes())
            );
        }
    }
    life.shut_down();
}

#[test]
fn a_project_whose_variables_hang_delays_no_deployment() {
    let all = Scene::new();
    all.there.will("", Mood::Hangs, u32::MAX);
    let life = all.boot(true);
    let begun = std::time::Instant::now();
    for image in ["shop:v1", "shop:v2", "shop:v3"] {
        life.ship("shop", image);
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    life.shut_down();
}

#[test]
fn a_crash_at_any_moment_loses_nothing_doubles_nothing_and_keeps_the_order() {
    for at in (1..60).step_by(6) {
        let all = Scene::new();
        let life = all.boot(false);
        life.ship("shop", "shop:v1");
        all.all_over(&life);
        life.deploy_and_die(deploy_of("shop", "shop:v2"), at, Counting::Changes);
        if !life.tap.is_dead() {
            // The messages are sent when the deployment is over, too.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(2);
            while !life.tap.is_dead() && std::time::Instant::now() < deadline {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        life.crash();
        let life = all.world.boot();
        let opened = life
            .run(async {
                use flukedeploy_platform::ports::Store as _;
                life.store.deployments_of(&name("shop"), None, 10).await
            })
            .unwrap();
        for deployment in &opened {
            life.end(&deployment.id);
        }
        let view = all.all_over(&life);
        for deployment in &opened {
            let task = all.task(&deployment.id);
            assert_eq!(
                (&task["status"], notes(&task)),
                (&json!("completed"), 1),
                "at {at}"
            );
        }
        assert_eq!(all.there.inside().tasks.len(), opened.len(), "at {at}");
        assert_eq!(count(&view, MessageStatus::Refused), 0, "at {at}");
        // No status ever went back.
        let mut last = 0;
        let mine = opened.iter().max_by_key(|it| it.initiated_at).unwrap();
        for asked in all.there.asked() {
            let about = format!("DEPLOY-{}", mine.id);
            let status = asked.body["task"]["status"].as_str();
            if let Some(status) = status
                && (asked.what.contains(&about) || asked.body["task"]["task_id"] == json!(about))
            {
                let rank = ["pending", "in_progress", "completed"]
                    .iter()
                    .position(|it| *it == status);
                assert!(rank.unwrap() >= last, "at {at}");
                last = rank.unwrap();
            }
        }
        life.shut_down();
    }
}

#[test]
fn settings_belong_to_administrators_are_checked_and_hold_no_secret() {
    let all = Scene::new();
    let life = all.boot(false);
    let agent = Actor {
        tier: Tier::Advanced,
        ..Actor::system()
    };
    let refused = life.run(view_flukebase(&life.px, &agent)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
    let refused = life.run(change_flukebase(
        &life.px,
        &agent,
        ChangeFlukebase::default(),
    ));
    assert_eq!(refused.unwrap_err().kind(), Kind::Forbidden);

    // A token stays where it was meant to go.
    let elsewhere = ChangeFlukebase {
        url: Some(Some("https://evil.example/api/v1".parse().unwrap())),
        ..ChangeFlukebase::default()
    };
    assert_eq!(change(&life, elsewhere).unwrap_err().kind(), Kind::Invalid);
    until("a connection", || {
        view(&life).connection == Connection::Connected
    });
    let foreign = Binding {
        project_id: ProjectId::new(8).unwrap(),
        variables: false,
    };
    let foreign = ChangeFlukebase {
        bindings: [(name("shop"), BindingChange::Project(foreign))].into(),
        ..ChangeFlukebase::default()
    };
    assert_eq!(change(&life, foreign).unwrap_err().kind(), Kind::Invalid);
    let unknown = ChangeFlukebase {
        bindings: [(name("nowhere"), BindingChange::Untie)].into(),
        ..ChangeFlukebase::default()
    };
    assert_eq!(change(&life, unknown).unwrap_err().kind(), Kind::Invalid);
    let by_repository = |repository: &str| ChangeFlukebase {
        bindings: [(
            name("shop"),
            BindingChange::Repository {
                repository: repository.to_owned(),
                variables: true,
            },
        )]
        .into(),
        ..ChangeFlukebase::default()
    };
    assert_eq!(
        change(&life, by_repository("acme/none"))
            .unwrap_err()
            .kind(),
        Kind::Invalid
    );
    let view = change(&life, by_repository("acme/shop")).unwrap();
    assert_eq!(view.token.source, TokenSource::Stored);
    assert!(view.bindings[&name("shop")].variables);
    assert!(!format!("{view:?}").contains(TOKEN));

    let off = ChangeFlukebase {
        active: Some(false),
        ..ChangeFlukebase::default()
    };
    assert_eq!(change(&life, off).unwrap().connection, Connection::Off);
    let asked = all.there.asked().len();
    life.ship("shop", "shop:v1");
    assert_eq!(waiting(&life), 0);
    assert!(all.there.asked().len() <= asked + 2);
    life.shut_down();
}

#[test]
fn live_news_are_used_where_they_are_given() {
    let all = Scene::new();
    all.there.inside().cable = Cable::Accepts;
    let life = all.boot(false);
    until("live news, and then again", || {
        all.there.count("/cable") > 1
    });
    assert_eq!(life.ship("shop", "shop:v1").state, State::Success);
    all.all_over(&life);
    life.shut_down();
    drop(all.runtime);
}

#[test]
fn apps_that_belong_nowhere_are_not_told() {
    let all = Scene::new();
    let life = all.boot(false);
    life.create_app("other", settings(1));
    let record = life.end(
        &life
            .try_deploy(Deploy {
                app: name("other"),
                ..deploy_of("other", "shop:v1")
            })
            .unwrap()
            .deployment
            .deployment_id,
    );
    all.all_over(&life);
    assert!(all.there.task(&format!("DEPLOY-{}", record.id)).is_none());
    let everywhere = ChangeFlukebase {
        default_project: Some(Some(ProjectId::new(PROJECT).unwrap())),
        ..ChangeFlukebase::default()
    };
    change(&life, everywhere).unwrap();
    let record = life.ship("other", "shop:v2");
    all.all_over(&life);
    assert_eq!(all.task(&record.id)["status"], "completed");
    life.shut_down();
}
