//! `kill -9` at every point of a deployment: what served serves, and the deployment ends truly.

use flukedeploy_domain::app::Settings;
use flukedeploy_domain::deployment::{State, Status, Strategy};
use flukedeploy_platform::deployments::Deploy;
use flukedeploy_platform::ports::Store as _;

use crate::bench::{Life, World, deploy_of, name, settings, until};
use crate::swarm::Behaviour;
use crate::tap::Counting;

/// One kind of second deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Story {
    strategy: Strategy,
    replicas: u32,
    good: bool,
}

impl Story {
    fn settings(self) -> Settings {
        let mut settings = settings(self.replicas);
        settings.strategy = self.strategy;
        settings
    }

    fn command(self) -> Deploy {
        deploy_of("shop", if self.good { "shop:v2" } else { "shop:bad" })
    }
}

/// Runs the story until the crash, starts anew and looks at what came of it. False if the story
/// ended before it came to the crash.
fn crash_in(story: Story, count: u32, counting: Counting) -> bool {
    let world = World::new();
    world.swarm.image("shop:bad", crate::bench::dying());
    let life = world.boot();
    life.create_app("shop", story.settings());
    life.ship("shop", "shop:v1");
    let crashed = life.deploy_and_die(story.command(), count, counting);
    life.crash();

    let life = world.boot();
    let what = format!("{story:?}, crash at {count}, {counting:?}");
    let all = life
        .run(life.store.deployments_of(&name("shop"), None, 10))
        .unwrap();
    let second = all
        .into_iter()
        .find(|deployment| deployment.release.is_none_or(|n| n.0 != 1));
    match second {
        None => {
            assert!(crashed, "{what}");
            life.assert_serves("shop", 1);
        }
        Some(second) => {
            let done = life.end(&second.id);
            if story.good {
                assert_eq!(done.state, State::Success, "{what}");
                life.assert_serves("shop", 2);
            } else {
                let status = done.state.status();
                let wanted = match story.strategy {
                    Strategy::Recreate => Status::RolledBack,
                    _ => Status::Failed,
                };
                assert_eq!(status, wanted, "{what}: {:?}", done.state);
                life.assert_serves("shop", 1);
            }
        }
    }
    world.assert_sound();
    crashed
}

/// Every point of a story, shared by a few threads, since a story mostly waits.
fn crash_everywhere(story: Story) {
    const THREADS: u32 = 4;
    std::thread::scope(|scope| {
        for first in 1..=THREADS {
            scope.spawn(move || {
                let mut count = first;
                while crash_in(story, count, Counting::Changes) {
                    count += THREADS;
                    assert!(count < 200, "the story never ends");
                }
            });
        }
    });
}

#[test]
fn at_every_change_of_a_good_deployment() {
    crash_everywhere(Story {
        strategy: Strategy::Rolling,
        replicas: 1,
        good: true,
    });
}

#[test]
fn at_every_change_of_a_rolling_deployment() {
    crash_everywhere(Story {
        strategy: Strategy::Rolling,
        replicas: 3,
        good: true,
    });
}

#[test]
fn at_every_change_of_a_bad_deployment() {
    crash_everywhere(Story {
        strategy: Strategy::BlueGreen,
        replicas: 1,
        good: false,
    });
}

#[test]
fn at_every_change_of_a_recreation() {
    crash_everywhere(Story {
        strategy: Strategy::Recreate,
        replicas: 1,
        good: true,
    });
}

#[test]
fn at_every_change_of_a_bad_recreation() {
    crash_everywhere(Story {
        strategy: Strategy::Recreate,
        replicas: 1,
        good: false,
    });
}

/// At any call, reads and probes included: spread over the story, the same ones in every run.
#[test]
fn at_calls_of_any_kind() {
    let stories = [
        Story {
            strategy: Strategy::Rolling,
            replicas: 4,
            good: true,
        },
        Story {
            strategy: Strategy::Recreate,
            replicas: 2,
            good: false,
        },
    ];
    std::thread::scope(|scope| {
        for story in stories {
            for first in [3, 11] {
                scope.spawn(move || {
                    let mut count = first;
                    while count < 160 && crash_in(story, count, Counting::Everything) {
                        count += 17;
                    }
                });
            }
        }
    });
}

/// The control plane dies again and again, and never gets far.
#[test]
fn again_and_again() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(3));
    life.ship("shop", "shop:v1");
    life.deploy_and_die(deploy_of("shop", "shop:v2"), 4, Counting::Changes);
    life.crash();
    let unfinished = |life: &Life<'_>| life.run(life.store.unfinished_deployments()).unwrap();
    let mut lives = 0;
    let id = loop {
        lives += 1;
        assert!(lives < 100, "it gets nowhere");
        // A little further each time: a phase is repeated from its beginning.
        let life = world.boot_quietly(|tap| tap.die_at(3 + lives, Counting::Changes));
        let Some(deployment) = unfinished(&life).pop() else {
            let all = life
                .run(life.store.deployments_of(&name("shop"), None, 1))
                .unwrap();
            break all[0].id.clone();
        };
        life.start();
        until("its death", || {
            life.tap.is_dead() || life.record(&deployment.id).state.is_final()
        });
        life.crash();
    };
    let life = world.boot();
    assert!(lives > 3, "{lives}");
    assert_eq!(life.end(&id).state, State::Success);
    life.assert_serves("shop", 2);
    world.assert_sound();
}

/// A start with apps that serve must not take them away for a moment, however slow the engine is.
#[test]
fn a_restart_publishes_nothing_before_it_knows_what_serves() {
    let world = World::new();
    let life = world.boot();
    for app in ["one", "two"] {
        life.create_app(app, settings(2));
        life.ship(app, "app:v1");
    }
    life.crash();
    for held in ["all_tasks", "prepare", "services", "environments"] {
        let life = world.boot_quietly(|tap| tap.hang(held, ""));
        life.start();
        until(held, || life.tap.is_hanging(held));
        world.swarm.note(format!("{held} is released"));
        // Hints come in meanwhile.
        world
            .swarm
            .add_behind_our_back(world.swarm.spec(&crate::bench::service("one", 1)).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
        life.tap.release(held);
        life.assert_serves("one", 1);
        life.assert_serves("two", 1);
        life.crash();
    }
    world.assert_sound();
}

/// A clock that was set back must not make the ingress ignore what it is told.
#[test]
fn versions_rise_although_the_clock_was_set_back() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let before = world.ingress.version();
    life.crash();
    world.clock.forward(-time::Duration::days(2));
    let life = world.boot();
    life.ship("shop", "shop:v2");
    assert!(world.ingress.version() > before);
    life.assert_serves("shop", 2);
    world.assert_sound();
}

/// Shut down instead of killed: the same, only politer and quick.
#[test]
fn a_deployment_outlives_a_shutdown() {
    let world = World::new();
    world.swarm.image(
        "shop:v2",
        Behaviour {
            ready_after_ms: 1_500,
            ..Behaviour::default()
        },
    );
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    let id = life.deploy("shop", "shop:v2");
    until("the new service", || world.swarm.services().len() == 2);
    let began = std::time::Instant::now();
    life.shut_down();
    assert!(
        began.elapsed() < std::time::Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let life = world.boot();
    assert!(!life.record(&id).state.is_final());
    assert_eq!(life.end(&id).state, State::Success);
    life.assert_serves("shop", 2);
    world.assert_sound();
}
