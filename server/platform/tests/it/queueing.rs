//! Deployments that wait for each other, and requests that come twice.

use flukedeploy_domain::access::Actor;
use flukedeploy_domain::deployment::State;
use flukedeploy_platform::deployments::RollbackTarget;
use flukedeploy_platform::{Error, apps};

use crate::bench::{World, deploy_of, name, settings, until};

#[test]
fn deployments_of_one_app_follow_each_other() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let ids: Vec<_> = (1..=4)
        .map(|n| life.deploy("shop", &format!("shop:v{n}")))
        .collect();
    let done: Vec<_> = ids.iter().map(|id| life.end(id)).collect();
    for (index, record) in done.iter().enumerate() {
        assert_eq!(record.state, State::Success);
        let number = u32::try_from(index).unwrap() + 1;
        assert_eq!(record.release.unwrap().0, number, "in the order they came");
        assert_eq!(
            record.from_release.map(|from| from.0),
            (number > 1).then(|| number - 1)
        );
    }
    assert!(
        done.windows(2)
            .all(|pair| pair[0].completed_at <= pair[1].phases[0].started_at)
    );
    life.assert_serves("shop", 4);
    world.assert_sound();
}

#[test]
fn different_apps_run_side_by_side() {
    let world = World::new();
    let life = world.boot();
    life.create_app("slow", settings(1));
    life.create_app("quick", settings(1));
    life.tap.hang("resolve_image", "slow");
    let slow = life.deploy("slow", "slow:v1");
    until("the slow one", || life.tap.is_hanging("resolve_image"));
    life.ship("quick", "quick:v1");
    assert!(!life.record(&slow).state.is_final());
    life.tap.release("resolve_image");
    assert_eq!(life.end(&slow).state, State::Success);
    world.assert_sound();
}

#[test]
fn the_same_key_makes_one_deployment() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let cmd = || {
        let mut cmd = deploy_of("shop", "shop:v1");
        cmd.idempotency_key = Some("abc".to_owned());
        cmd.env_vars.0.insert("SECRET".to_owned(), "one".to_owned());
        cmd
    };
    let first = life.try_deploy(cmd()).unwrap();
    assert!(!first.replayed);
    let again = life.try_deploy(cmd()).unwrap();
    assert!(again.replayed);
    assert_eq!(
        first.deployment.deployment_id,
        again.deployment.deployment_id
    );
    life.end(&first.deployment.deployment_id);
    let late = life.try_deploy(cmd()).unwrap();
    assert!(late.replayed && late.deployment.status.is_final());
    // Another value of a variable is another request.
    let mut other = cmd();
    other
        .env_vars
        .0
        .insert("SECRET".to_owned(), "two".to_owned());
    assert!(matches!(
        life.try_deploy(other),
        Err(Error::IdempotencyKeyReused)
    ));
}

#[test]
fn many_at_once_make_one_deployment_with_one_key() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let px = life.px.clone();
            life.spawn(async move {
                let mut cmd = deploy_of("shop", "shop:v1");
                cmd.idempotency_key = Some("abc".to_owned());
                let accepted =
                    flukedeploy_platform::deployments::deploy(&px, &Actor::system(), cmd).await;
                accepted.unwrap().deployment.deployment_id
            })
        })
        .collect();
    let ids: std::collections::BTreeSet<_> = asked
        .into_iter()
        .map(|asked| life.run(asked).unwrap())
        .collect();
    assert_eq!(ids.len(), 1);
}

#[test]
fn going_back_twice_in_a_row_is_harmless() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:v1");
    life.ship("shop", "shop:v2");
    life.assert_serves("shop", 2);
    life.tap.hang("image_available", "");
    let first = life.rollback("shop", 1);
    until("the first", || life.tap.is_hanging("image_available"));
    // By its turn, the release it goes back to serves already.
    let second = life.rollback("shop", 1);
    life.tap.release("image_available");
    assert_eq!(life.end(&first).state, State::Success);
    assert_eq!(life.end(&second).state, State::Success);
    life.assert_serves("shop", 1);
    let refused = life.try_rollback("shop", RollbackTarget::Previous, None);
    assert!(
        matches!(refused, Err(Error::ReleaseNotFound { .. })),
        "{refused:?}"
    );
    world.assert_sound();
}

#[test]
fn deleting_an_app_ends_its_deployments_and_leaves_nothing() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    life.create_app("other", settings(1));
    life.ship("shop", "shop:v1");
    life.ship("other", "other:v1");
    world.swarm.image(
        "shop:v2",
        crate::swarm::Behaviour {
            answers: 503,
            ..Default::default()
        },
    );
    life.deploy("shop", "shop:v2");
    let waiting = life.deploy("shop", "shop:v3");
    until("the second release", || world.swarm.services().len() == 3);
    life.run(apps::delete_app(&life.px, &Actor::system(), &name("shop")))
        .unwrap();
    assert_eq!(world.swarm.services(), [crate::bench::service("other", 1)]);
    assert!(world.ingress.hosts("shop").is_empty());
    let gone = life.run(flukedeploy_platform::deployments::get_deployment(
        &life.px,
        &Actor::system(),
        &waiting,
    ));
    assert!(
        matches!(gone, Err(Error::DeploymentNotFound { .. })),
        "{gone:?}"
    );

    // Another app of the same name has nothing of the old one.
    life.create_app("shop", settings(1));
    life.ship("shop", "shop:new");
    life.assert_serves("shop", 1);
    let spec = world.swarm.spec(&crate::bench::service("shop", 1)).unwrap();
    assert_eq!(spec.image.requested.as_str(), "shop:new");
    life.assert_serves("other", 1);
    world.assert_sound();
}
