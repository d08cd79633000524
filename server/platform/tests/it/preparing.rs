//! What happens before a release may start: sources, builds, jobs.

use flukedeploy_domain::app::Settings;
use flukedeploy_domain::build::{BuildSource, GitSource, Instructions, Origin, Recipe};
use flukedeploy_domain::deployment::{State, Status};
use flukedeploy_domain::diagnosis::Cause;
use flukedeploy_domain::job::{JobKind, JobSettings, JobStatus};
use flukedeploy_platform::deployments::{Deploy, Wanted};

use flukedeploy_platform::ports::Store as _;

use crate::bench::{Life, World, deploy_of, diagnosis, name, settings, until};
use crate::shop::lock;
use crate::tap::Counting;

fn from_git() -> BuildSource {
    BuildSource {
        origin: Origin::Git(GitSource {
            repository: "https://git.example.com/shop.git".parse().unwrap(),
            reference: Some("main".parse().unwrap()),
            subfolder: None,
            submodules: false,
        }),
        instructions: Instructions::Find,
    }
}

fn build_of(build: BuildSource) -> Deploy {
    Deploy {
        what: Wanted::Build(build),
        ..deploy_of("shop", "unused:v1")
    }
}

pub(crate) fn with_jobs(jobs: &[(JobKind, &str)]) -> Settings {
    let mut settings = settings(1);
    for (kind, program) in jobs {
        let job = Some(JobSettings {
            command: vec![(*program).to_owned()],
            image: None,
            timeout_seconds: 60,
        });
        match kind {
            JobKind::PreBuild => settings.jobs.pre_build = job,
            JobKind::Test => settings.jobs.test = job,
            JobKind::Release => settings.jobs.release = job,
            JobKind::PostDeploy => settings.jobs.post_deploy = job,
        }
    }
    settings
}

const ALL: [(JobKind, &str); 4] = [
    (JobKind::PreBuild, "true"),
    (JobKind::Test, "true"),
    (JobKind::Release, "true"),
    (JobKind::PostDeploy, "true"),
];

/// What kinds of jobs were started, in order, with repetitions.
pub(crate) fn started(life: &Life<'_>) -> Vec<String> {
    life.world
        .swarm
        .trail()
        .iter()
        .filter_map(|line| line.strip_prefix("job "))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn a_repository_becomes_a_release() {
    let world = World::new();
    world.shop.file("Dockerfile", "FROM scratch\n");
    let life = world.boot();
    life.create_app("shop", settings(1));
    let cmd = build_of(from_git());
    let id = life.try_deploy(cmd).unwrap().deployment.deployment_id;
    let done = life.end(&id);
    assert_eq!(done.state, State::Success, "{:?}", done.state);
    let commit = done.preparation.commit.as_deref().unwrap();
    assert!(commit.starts_with("c0ffee"));
    assert_eq!(done.version.as_deref(), Some("c0ffeec0ffee"));
    assert_eq!(done.preparation.builder.as_deref(), Some("buildkit"));
    let built = lock(&world.shop.built);
    assert_eq!(built.len(), 1);
    assert_eq!(built[0].dockerfile, "Dockerfile");
    assert_eq!(
        built[0].args.0.get("CAPROVER_GIT_COMMIT_SHA").unwrap(),
        commit
    );
    drop(built);
    life.assert_serves("shop", 1);
    assert!(life.told("shop", "hello from the build"));
    // Nothing of the source stays.
    assert!(world.swarm.trail().contains(&format!("discard {id}")));
}

#[test]
fn a_definition_is_found_in_the_only_folder_too() {
    let world = World::new();
    world.shop.file(
        "inside/captain-definition",
        r#"{"schemaVersion": 2, "dockerfilePath": "./web/Dockerfile"}"#,
    );
    world.shop.file("inside/web/Dockerfile", "FROM scratch\n");
    let life = world.boot();
    life.create_app("shop", settings(1));
    let id = life
        .try_deploy(build_of(from_git()))
        .unwrap()
        .deployment
        .deployment_id;
    assert_eq!(life.end(&id).state, State::Success);
    let built = lock(&world.shop.built);
    assert_eq!(built[0].dockerfile, "web/Dockerfile");
    // The folder of the definition is the context.
    assert_eq!(built[0].context.to_str(), Some("inside"));
}

#[test]
fn a_definition_that_names_an_image_builds_nothing() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let build = BuildSource {
        origin: Origin::Nothing,
        instructions: Instructions::Given {
            recipe: Recipe::Image {
                image: "shop:v7".parse().unwrap(),
            },
        },
    };
    let id = life
        .try_deploy(build_of(build))
        .unwrap()
        .deployment
        .deployment_id;
    let done = life.end(&id);
    assert_eq!(done.state, State::Success);
    assert_eq!(done.image.unwrap().requested.as_str(), "shop:v7");
    assert!(lock(&world.shop.built).is_empty());
}

#[test]
fn a_source_without_a_recipe_is_told_so() {
    let world = World::new();
    world.shop.file("README.md", "hello");
    let life = world.boot();
    life.create_app("shop", settings(1));
    let id = life
        .try_deploy(build_of(from_git()))
        .unwrap()
        .deployment
        .deployment_id;
    let done = life.end(&id);
    assert_eq!(done.state.status(), Status::Failed);
    assert_eq!(diagnosis(&done).code, Cause::SourceNotFound);
    assert!(diagnosis(&done).next[0].contains("Dockerfile"));
}

#[test]
fn a_build_that_fails_or_never_ends_changes_nothing() {
    let world = World::new();
    world.shop.file("Dockerfile", "FROM scratch\n");
    let life = world.boot();
    let mut settings = settings(1);
    settings.build.timeout_seconds = 1;
    life.create_app("shop", settings);
    life.ship("shop", "shop:v1");
    *lock(&world.shop.fails) = Some(("RUN make did not work".to_owned(), 2));
    let id = life
        .try_deploy(build_of(from_git()))
        .unwrap()
        .deployment
        .deployment_id;
    let failed = life.end(&id);
    assert_eq!(failed.state.status(), Status::Failed);
    let found = diagnosis(&failed);
    assert_eq!(found.code, Cause::BuildFailed);
    assert_eq!(found.evidence.exit_code, Some(2));
    assert_eq!(
        found.evidence.untrusted_output,
        ["[1/1] FROM scratch", "hello from the build"]
    );
    *lock(&world.shop.fails) = None;
    *lock(&world.shop.hangs) = true;
    let id = life
        .try_deploy(build_of(from_git()))
        .unwrap()
        .deployment
        .deployment_id;
    assert_eq!(diagnosis(&life.end(&id)).code, Cause::DeadlineExceeded);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn jobs_run_once_each_in_their_place() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", with_jobs(&ALL));
    let first = life.ship("shop", "shop:v1");
    // Nothing served yet that a hook before the build could run in.
    let record = first.preparation.job(JobKind::PreBuild).unwrap();
    assert_eq!(record.status, JobStatus::NotRun);
    let second = life.ship("shop", "shop:v2");
    for kind in JobKind::ALL {
        let record = second.preparation.job(kind).unwrap();
        assert_eq!(record.status, JobStatus::Success, "{kind:?}");
        assert_eq!(record.exit_code, Some(0));
        assert!(record.completed_at.is_some());
    }
    let of_second: Vec<String> = started(&life).split_off(3);
    let kinds: Vec<&str> = of_second
        .iter()
        .map(|name| name.split("-job-").nth(1).unwrap())
        .map(|rest| rest.rsplit_once('-').unwrap().0)
        .collect();
    assert_eq!(kinds, ["pre-build", "test", "release", "post-deploy"]);
    // Going back is no time for migrations.
    let back = life.end(&life.rollback("shop", 1));
    assert_eq!(back.state, State::Success);
    assert!(back.preparation.jobs.is_empty());
    assert_eq!(started(&life).len(), 7);
}

#[test]
fn a_job_that_fails_stops_the_deployment_before_anything_changed() {
    for (kind, cause) in [
        (JobKind::PreBuild, Cause::HookFailed),
        (JobKind::Test, Cause::TestsFailed),
        (JobKind::Release, Cause::ReleaseCommandFailed),
    ] {
        let world = World::new();
        let life = world.boot();
        life.create_app("shop", settings(1));
        life.ship("shop", "shop:v1");
        life.change_settings("shop", |settings| {
            settings.jobs = with_jobs(&[(kind, "false")]).jobs;
        });
        let failed = life.end(&life.deploy("shop", "shop:v2"));
        assert_eq!(failed.state.status(), Status::Failed, "{kind:?}");
        assert_eq!(diagnosis(&failed).code, cause);
        assert_eq!(diagnosis(&failed).evidence.exit_code, Some(1));
        let record = failed.preparation.job(kind).unwrap();
        assert_eq!(
            (record.status, record.exit_code),
            (JobStatus::Failed, Some(1))
        );
        life.assert_serves("shop", 1);
        world.assert_sound();
    }
}

#[test]
fn a_hook_that_fails_after_the_deployment_brings_the_old_release_back() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.change_settings("shop", |settings| {
        settings.jobs = with_jobs(&[(JobKind::PostDeploy, "false")]).jobs;
    });
    let failed = life.end(&life.deploy("shop", "shop:v2"));
    assert_eq!(failed.state.status(), Status::RolledBack);
    assert_eq!(diagnosis(&failed).code, Cause::HookFailed);
    life.assert_serves("shop", 1);
    world.assert_sound();
}

#[test]
fn a_job_that_never_ends_is_stopped_and_so_is_one_of_a_cancelled_deployment() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.change_settings("shop", |settings| {
        settings.jobs = with_jobs(&[(JobKind::Release, "wait")]).jobs;
        if let Some(job) = &mut settings.jobs.release {
            job.timeout_seconds = 1;
        }
    });
    let late = life.end(&life.deploy("shop", "shop:v2"));
    assert_eq!(diagnosis(&late).code, Cause::ReleaseCommandFailed);
    let record = late.preparation.job(JobKind::Release).unwrap();
    assert_eq!(record.status, JobStatus::TimedOut);

    life.change_settings("shop", |settings| {
        if let Some(job) = &mut settings.jobs.release {
            job.timeout_seconds = 600;
        }
    });
    let id = life.deploy("shop", "shop:v3");
    until("the job runs", || {
        life.record(&id).preparation.job(JobKind::Release).is_some() && started(&life).len() == 2
    });
    life.cancel(&id);
    let done = life.end(&id);
    assert_eq!(diagnosis(&done).code, Cause::Cancelled);
    let record = done.preparation.job(JobKind::Release).unwrap();
    assert_eq!(record.status, JobStatus::Cancelled);
    let gone = started(&life)
        .iter()
        .all(|job| world.swarm.trail().contains(&format!("remove job {job}")));
    assert!(gone, "{:#?}", world.swarm.trail());
    life.assert_serves("shop", 1);
}

/// At every change of a deployment that is built and has jobs: it ends well, and no job that had
/// ended well runs again. The points are shared by threads, since a story mostly waits.
#[test]
fn a_crash_at_any_point_runs_no_finished_job_again() {
    const THREADS: u32 = 8;
    // Every other point: half the time, and each effect still has one before or after it.
    const STEP: u32 = 2;
    std::thread::scope(|scope| {
        for first in 1..=THREADS {
            scope.spawn(move || {
                let mut count = first * STEP;
                while crash_at(count) {
                    count += THREADS * STEP;
                    assert!(count < 200, "the story never ends");
                }
            });
        }
    });
}

/// False if the deployment ended before it came to the crash.
fn crash_at(count: u32) -> bool {
    let world = World::new();
    world.shop.file("Dockerfile", "FROM scratch\n");
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.change_settings("shop", |settings| settings.jobs = with_jobs(&ALL).jobs);
    let crashed = life.deploy_and_die(build_of(from_git()), count, Counting::Changes);
    let ended_well: Vec<String> = life
        .run(life.store.deployments_of(&name("shop"), None, 10))
        .unwrap()
        .into_iter()
        .flat_map(|deployment| deployment.preparation.jobs)
        .filter(|job| job.status == JobStatus::Success)
        .map(|job| job.service)
        .collect();
    let so_far = started(&life).len();
    life.crash();
    let life = world.boot();
    let newest = life
        .run(life.store.deployments_of(&name("shop"), None, 1))
        .unwrap()
        .remove(0);
    let done = life.end(&newest.id);
    assert_eq!(done.state, State::Success, "crash at {count}");
    let again = started(&life).split_off(so_far);
    assert!(
        again.iter().all(|job| !ended_well.contains(job)),
        "crash at {count}: {again:?} had ended well"
    );
    if !crashed {
        assert_eq!(started(&life).len(), 4);
    }
    crashed
}
