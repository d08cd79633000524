//! Tokens, the set-up link, the sign-in limit.

use flukedeploy_domain::access::{Actor, Door, Limits, Needed, Tier};
use flukedeploy_domain::audit::AuditFilter;
use flukedeploy_platform::identity::{self, SignedIn};
use flukedeploy_platform::people::{self, Entered, Origin};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::tokens::{self, CreateToken};
use flukedeploy_platform::{Error, Platform, audit, deployments, system};

use crate::bench::{Life, World, deploy_of, settings};

fn token(life: &Life<'_>, tier: Tier, lasts: Option<time::Duration>) -> tokens::NewToken {
    let cmd = CreateToken {
        name: "agent".to_owned(),
        persona: Some("OPERATOR".to_owned()),
        tier,
        expires_at: lasts.map(|lasts| life.px.now() + lasts),
        only: None,
        limits: Limits::default(),
    };
    life.run(tokens::create_token(&life.px, &Actor::system(), cmd))
        .unwrap()
}

pub(crate) fn from(address: &str) -> Origin {
    Origin {
        address: Some(address.parse().unwrap()),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64) Firefox/133.0".to_owned(),
        device: None,
    }
}

/// Signs in to an account without a second factor.
pub(crate) async fn sign_in(
    px: &Platform,
    name: &str,
    password: &str,
    origin: &Origin,
) -> Result<SignedIn, Error> {
    match people::sign_in(px, name, &Secret::new(password), origin).await? {
        Entered::SignedIn(session) => Ok(*session),
        Entered::Half(_) => panic!("a code is wanted"),
    }
}

fn why(refused: Result<Actor, Error>) -> &'static str {
    match refused {
        Err(Error::Unauthenticated { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_is_good_until_it_expires_or_is_revoked() {
    let world = World::new();
    let life = world.boot_quietly(|_| {});
    let check = |secret: &str| {
        life.run(identity::authenticate_token(
            &life.px,
            secret,
            Door::Rest,
            None,
        ))
    };
    let brief = token(&life, Tier::Advanced, Some(time::Duration::hours(1)));
    let actor = check(brief.secret.expose()).unwrap();
    assert_eq!(
        (actor.tier, actor.persona.as_deref()),
        (Tier::Advanced, Some("OPERATOR"))
    );
    world.clock.forward(time::Duration::minutes(61));
    assert_eq!(why(check(brief.secret.expose())), "the token has expired");

    let lasting = token(&life, Tier::Extended, None);
    assert!(check(lasting.secret.expose()).is_ok());
    let id = lasting.view.id.clone();
    life.run(tokens::revoke_token(&life.px, &Actor::system(), &id))
        .unwrap();
    assert_eq!(why(check(lasting.secret.expose())), "the token was revoked");
    let again = life.run(tokens::revoke_token(&life.px, &Actor::system(), &id));
    assert!(matches!(again, Err(Error::NotFound { .. })));

    for wrong in [
        "",
        "fd_",
        "fd_x_y",
        "bootstrap",
        &format!("fd_{id}_{}", "x".repeat(500)),
    ] {
        assert_eq!(why(check(wrong)), "the token is not known");
    }
}

#[test]
fn a_reading_token_changes_nothing() {
    let world = World::new();
    let life = world.boot();
    life.create_app("shop", settings(1));
    let reader = token(&life, Tier::Extended, None);
    let reader = life
        .run(identity::authenticate_token(
            &life.px,
            reader.secret.expose(),
            Door::Mcp,
            None,
        ))
        .unwrap();
    let refused = life.run(deployments::deploy(
        &life.px,
        &reader,
        deploy_of("shop", "shop:v1"),
    ));
    assert!(matches!(
        refused,
        Err(Error::Forbidden {
            needed: Needed::Tier(Tier::Advanced),
            ..
        })
    ));
    let worker = token(&life, Tier::Advanced, None);
    let worker = life
        .run(identity::authenticate_token(
            &life.px,
            worker.secret.expose(),
            Door::Mcp,
            None,
        ))
        .unwrap();
    assert!(life.run(system::system_view(&life.px, &reader)).is_ok());
    let refused = life.run(audit::audit_trail(
        &life.px,
        &worker,
        &AuditFilter::default(),
        None,
        10,
    ));
    assert!(matches!(
        refused,
        Err(Error::Forbidden {
            needed: Needed::Tier(Tier::Admin),
            ..
        })
    ));
}

#[test]
fn the_set_up_link_works_once() {
    let world = World::new();
    let life = world.boot_quietly(|_| {});
    let old = life
        .run(identity::new_set_up_token(&life.px))
        .unwrap()
        .unwrap();
    let link = life
        .run(identity::new_set_up_token(&life.px))
        .unwrap()
        .unwrap();
    let set_up = |link: &Secret, name: &str| {
        let password = Secret::new("correct horse battery");
        let origin = from("203.0.113.9");
        life.run(identity::set_up(
            &life.px,
            link.expose(),
            name,
            password,
            &origin,
        ))
    };
    assert!(
        matches!(set_up(&old, "ann"), Err(Error::SetUpLinkInvalid)),
        "it was replaced"
    );
    let ann = set_up(&link, "ann").unwrap();
    assert!(
        life.run(identity::actor_of_session(&life.px, &ann))
            .unwrap()
            .is_some()
    );
    assert!(matches!(set_up(&link, "eve"), Err(Error::SetUpLinkInvalid)));
    assert!(
        life.run(identity::new_set_up_token(&life.px))
            .unwrap()
            .is_none()
    );
}

#[test]
fn of_two_who_use_the_link_at_once_one_gets_in() {
    let world = World::new();
    let life = world.boot_quietly(|_| {});
    let link = life
        .run(identity::new_set_up_token(&life.px))
        .unwrap()
        .unwrap();
    let asked: Vec<_> = ["ann", "eve", "bob"]
        .map(|name| {
            let (px, link) = (life.px.clone(), link.clone());
            life.spawn(async move {
                let password = Secret::new("correct horse battery");
                let origin = from("203.0.113.9");
                identity::set_up(&px, link.expose(), name, password, &origin).await
            })
        })
        .into();
    let results: Vec<_> = asked
        .into_iter()
        .map(|asked| life.run(asked).unwrap())
        .collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
}

#[test]
fn guessing_is_slowed_down_even_many_at_a_time() {
    let world = World::new();
    let life = world.boot_quietly(|_| {});
    life.run(identity::ensure_admin(
        &life.px,
        Secret::new("correct horse battery"),
    ))
    .unwrap();
    let guesses: Vec<_> = (0..24)
        .map(|number| {
            let px = life.px.clone();
            life.spawn(async move {
                let guess = format!("guess number {number}");
                sign_in(&px, "admin", &guess, &from("203.0.113.9")).await
            })
        })
        .collect();
    let results: Vec<_> = guesses
        .into_iter()
        .map(|guess| life.run(guess).unwrap())
        .collect();
    let tried = results
        .iter()
        .filter(|r| matches!(r, Err(Error::Unauthenticated { .. })))
        .count();
    let refused = results
        .iter()
        .filter(|r| matches!(r, Err(Error::TooManyAttempts { .. })));
    assert!(tried <= 7, "{tried} guesses were looked at");
    assert_eq!(refused.count() + tried, results.len());

    // From elsewhere the owner gets in, and what was counted there is forgotten.
    let sign_in = |password: &str, address: &str| {
        life.run(sign_in(&life.px, "admin", password, &from(address)))
    };
    for _ in 0..3 {
        assert!(sign_in("not quite right", "198.51.100.7").is_err());
        assert!(sign_in("correct horse battery", "198.51.100.7").is_ok());
    }
    assert!(sign_in("correct horse battery", "198.51.100.7").is_ok());
}

#[test]
fn a_new_password_ends_the_sessions_of_the_old_one() {
    let world = World::new();
    let life = world.boot_quietly(|_| {});
    life.run(identity::ensure_admin(
        &life.px,
        Secret::new("correct horse battery"),
    ))
    .unwrap();
    let session = life
        .run(sign_in(
            &life.px,
            "admin",
            "correct horse battery",
            &from("::1"),
        ))
        .unwrap();
    assert!(
        life.run(identity::actor_of_session(&life.px, &session))
            .unwrap()
            .is_some()
    );
    world.clock.forward(time::Duration::seconds(1));
    life.run(identity::ensure_admin(
        &life.px,
        Secret::new("another horse entirely"),
    ))
    .unwrap();
    assert!(
        life.run(identity::actor_of_session(&life.px, &session))
            .unwrap()
            .is_none()
    );
}
