//! Invitations, second factors, sessions, proofs, and what attackers try.

use flukedeploy_domain::access::{Action, Actor, ActorSession};
use flukedeploy_platform::identity::{self, SignedIn};
use flukedeploy_platform::people::{
    self, Entered, HalfSignedIn, Invite, NewInvitation, Proof, SessionView,
};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::tokens::{self, CreateToken};
use flukedeploy_platform::{Error, Kind, Platform, apps};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use crate::bench::{Life, World, name, settings};
use crate::signing_in::{from, sign_in};

const PASSWORD: &str = "correct horse battery";
const HOME: &str = "198.51.100.7";

fn boot(world: &World) -> Life<'_> {
    let life = world.boot_quietly(|_| {});
    life.run(identity::ensure_admin(&life.px, Secret::new(PASSWORD)))
        .unwrap();
    life
}

async fn actor(px: &Platform, session: &SignedIn) -> Option<Actor> {
    identity::actor_of_session(px, session).await.unwrap()
}

/// The administrator, just signed in.
fn admin(life: &Life<'_>) -> (SignedIn, Actor) {
    let session = life
        .run(sign_in(&life.px, "admin", PASSWORD, &from(HOME)))
        .unwrap();
    let actor = life.run(actor(&life.px, &session)).unwrap();
    (session, actor)
}

fn invite(life: &Life<'_>, by: &Actor, name: Option<&str>, admin: bool) -> NewInvitation {
    let cmd = Invite {
        name: name.map(ToOwned::to_owned),
        is_administrator: admin,
        ..Invite::default()
    };
    life.run(people::invite(&life.px, by, cmd)).unwrap()
}

/// The secret in an invitation's link.
fn secret(invitation: &NewInvitation) -> String {
    let (_, secret) = invitation.link.expose().rsplit_once('/').unwrap();
    secret.to_owned()
}

fn accept(life: &Life<'_>, secret: &str, name: &str) -> Result<SignedIn, Error> {
    let password = Secret::new("violet kettle orbit");
    let origin = from("203.0.113.20");
    let accepted = people::accept_invitation(&life.px, secret, name, None, &password, &origin);
    life.run(accepted)
}

/// What happened, newest first: action and sentence.
fn trail(life: &Life<'_>) -> Vec<(Action, String)> {
    life.audit_rows()
        .into_iter()
        .map(|row| (row.entry.action, row.entry.summary))
        .collect()
}

#[track_caller]
fn assert_told(life: &Life<'_>, text: &str) {
    let trail = trail(life);
    assert!(
        trail.iter().any(|(_, summary)| summary.contains(text)),
        "{text:?} is not in {trail:#?}"
    );
}

/// What an authenticator shows, made here anew.
fn code_of(base32: &str, at: i64) -> String {
    let (mut bits, mut buffer, mut key) = (0, 0u32, Vec::new());
    for digit in base32.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            _ => digit - b'2' + 26,
        };
        buffer = buffer << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            key.push((buffer >> bits & 255) as u8);
        }
    }
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
    mac.update(&u64::try_from(at / 30).unwrap().to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash[19] & 15);
    let word = u32::from_be_bytes(hash[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", word % 1_000_000)
}

/// Turns the second factor on: its secret and the recovery codes.
fn second_factor(life: &Life<'_>, actor: &Actor) -> (String, Vec<Secret>) {
    let offer = life
        .run(people::offer_second_factor(&life.px, actor))
        .unwrap();
    let secret = offer.secret.expose().to_owned();
    let code = code_of(&secret, life.px.now().unix_timestamp());
    let codes = life
        .run(people::confirm_second_factor(&life.px, actor, &code))
        .unwrap();
    (secret, codes)
}

/// The first of two steps.
fn half(life: &Life<'_>, address: &str) -> HalfSignedIn {
    let password = Secret::new(PASSWORD);
    let origin = from(address);
    match life.run(people::sign_in(&life.px, "admin", &password, &origin)) {
        Ok(Entered::Half(half)) => half,
        Ok(Entered::SignedIn(_)) => panic!("no code was asked for"),
        Err(error) => panic!("{error}"),
    }
}

fn enter(life: &Life<'_>, half: &HalfSignedIn, code: &str) -> Result<SignedIn, Error> {
    life.run(people::second_step(&life.px, half, code, &from(HOME)))
}

#[test]
fn an_invitation_makes_one_account_once() {
    let world = World::new();
    let life = boot(&world);
    let (_, admin) = admin(&life);
    let invitation = invite(&life, &admin, None, false);
    let secret = secret(&invitation);
    assert!(
        life.run(people::invitation(&life.px, &secret))
            .unwrap()
            .is_some()
    );
    // A name that is taken, or a common password, uses nothing up.
    assert_eq!(
        accept(&life, &secret, "admin").unwrap_err().kind(),
        Kind::Invalid
    );
    let session = accept(&life, &secret, "ann").unwrap();
    let ann = life.run(actor(&life.px, &session)).unwrap();
    assert_eq!(
        life.run(people::list_people(&life.px, &ann))
            .unwrap_err()
            .kind(),
        Kind::Forbidden
    );
    assert!(matches!(
        accept(&life, &secret, "eve"),
        Err(Error::InvitationInvalid)
    ));
    assert!(
        life.run(people::invitation(&life.px, &secret))
            .unwrap()
            .is_none()
    );
    assert_told(&life, "invited somebody as a reader");
    assert_told(&life, "accepted the invitation");

    // The secret itself is nowhere in the database.
    let files = std::fs::read_dir(world.dir()).unwrap();
    for file in files
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "{} holds the secret", file.display());
    }
}

#[test]
fn of_many_who_accept_at_once_one_gets_in() {
    let world = World::new();
    let life = boot(&world);
    let (_, admin) = admin(&life);
    let secret = secret(&invite(&life, &admin, None, true));
    let asked: Vec<_> = (0..6)
        .map(|n| {
            let (px, secret) = (life.px.clone(), secret.clone());
            life.spawn(async move {
                let password = Secret::new("violet kettle orbit");
                let (name, origin) = (format!("racer{n}"), from("203.0.113.20"));
                people::accept_invitation(&px, &secret, &name, None, &password, &origin).await
            })
        })
        .collect();
    let results: Vec<_> = asked
        .into_iter()
        .map(|asked| life.run(asked).unwrap())
        .collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .all(|error| matches!(error, Error::InvitationInvalid))
    );
    assert_eq!(
        life.run(people::list_people(&life.px, &admin))
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn an_invitation_ends_with_its_time_its_revocation_and_its_inviter() {
    let world = World::new();
    let life = boot(&world);
    let (_, boss) = admin(&life);
    let revoked = invite(&life, &boss, None, false);
    life.run(people::revoke_invitation(&life.px, &boss, &revoked.view.id))
        .unwrap();
    assert!(matches!(
        accept(&life, &secret(&revoked), "eve"),
        Err(Error::InvitationInvalid)
    ));
    let again = people::revoke_invitation(&life.px, &boss, &revoked.view.id);
    assert_eq!(life.run(again).unwrap_err().kind(), Kind::NotFound);

    let bob = accept(
        &life,
        &secret(&invite(&life, &boss, Some("bob"), true)),
        "mallory",
    )
    .unwrap();
    assert_eq!(bob.name, "bob", "the inviter's choice counts");
    let bob = life.run(actor(&life.px, &bob)).unwrap();
    let of_bob = invite(&life, &bob, None, true);
    life.run(people::delete_person(&life.px, &boss, &bob.id))
        .unwrap();
    assert!(matches!(
        accept(&life, &secret(&of_bob), "eve"),
        Err(Error::InvitationInvalid)
    ));

    let late = invite(&life, &boss, None, false);
    world.clock.forward(time::Duration::hours(73));
    assert!(matches!(
        accept(&life, &secret(&late), "eve"),
        Err(Error::InvitationInvalid)
    ));
}

#[test]
fn common_passwords_are_refused_and_old_ones_go_on_working() {
    let world = World::new();
    let life = boot(&world);
    let (_, admin) = admin(&life);
    let secret = secret(&invite(&life, &admin, Some("ann"), false));
    for bad in ["short", "password1234", "flukedeploy-ann", "qwertyuiop12"] {
        let password = Secret::new(bad);
        let origin = from(HOME);
        let accepted = people::accept_invitation(&life.px, &secret, "", None, &password, &origin);
        assert_eq!(
            life.run(accepted).unwrap_err().faults()[0].field,
            "password",
            "{bad}"
        );
    }
}

#[test]
fn a_new_password_takes_the_old_one_and_ends_all_other_sessions() {
    let world = World::new();
    let life = boot(&world);
    let (here, owner) = admin(&life);
    let (elsewhere, _) = admin(&life);
    let change = |present: &str, new: &str| {
        let (present, new) = (Secret::new(present), Secret::new(new));
        life.run(people::change_password(
            &life.px, &owner, &here, &present, &new,
        ))
    };
    let refused = change("not the password", "violet kettle orbit").unwrap_err();
    assert_eq!(refused.faults()[0].field, "present_password");
    let refused = change(PASSWORD, "admin-admin-1234").unwrap_err();
    assert_eq!(refused.faults()[0].field, "password");
    world.clock.forward(time::Duration::seconds(1));
    let goes_on = change(PASSWORD, "violet kettle orbit").unwrap();
    assert!(life.run(actor(&life.px, &goes_on)).is_some());
    assert!(life.run(actor(&life.px, &elsewhere)).is_none());
    assert!(
        life.run(actor(&life.px, &here)).is_none(),
        "the session's old data"
    );
    assert_told(&life, "gave a wrong password to change it");
    assert_told(&life, "changed the password");
}

#[test]
fn a_code_is_taken_once_even_many_times_at_once() {
    let world = World::new();
    let life = boot(&world);
    let (_, owner) = admin(&life);
    let (secret, _) = second_factor(&life, &owner);
    let now = || life.px.now().unix_timestamp();

    // The code that turned it on is used up.
    let first = half(&life, HOME);
    assert!(enter(&life, &first, &code_of(&secret, now())).is_err());

    world.clock.forward(time::Duration::seconds(60));
    let code = code_of(&secret, now());
    let asked: Vec<_> = (0..4)
        .map(|_| {
            let (px, half, code) = (life.px.clone(), half(&life, HOME), code.clone());
            life.spawn(async move { people::second_step(&px, &half, &code, &from(HOME)).await })
        })
        .collect();
    let entered: Vec<_> = asked
        .into_iter()
        .map(|asked| life.run(asked).unwrap())
        .filter_map(Result::ok)
        .collect();
    assert_eq!(entered.len(), 1, "one code let {} in", entered.len());
    assert!(life.run(actor(&life.px, &entered[0])).is_some());
    assert_told(&life, "signed in with a password and a code");
    assert_told(&life, "the code is wrong, or was used before");
}

#[test]
fn half_a_sign_in_is_none_and_does_not_last() {
    let world = World::new();
    let life = boot(&world);
    let (_, owner) = admin(&life);
    let (secret, _) = second_factor(&life, &owner);
    let begun = half(&life, HOME);
    assert!(life.run(people::awaits_code(&life.px, &begun)).unwrap());
    world.clock.forward(time::Duration::minutes(11));
    let code = code_of(&secret, life.px.now().unix_timestamp());
    assert!(matches!(
        enter(&life, &begun, &code),
        Err(Error::Unauthenticated { .. })
    ));
    // The same code is good for who begins anew: it was not used up.
    assert!(enter(&life, &half(&life, HOME), &code).is_ok());
}

#[test]
fn recovery_codes_let_in_once_each() {
    let world = World::new();
    let life = boot(&world);
    let (_, owner) = admin(&life);
    let (_, codes) = second_factor(&life, &owner);
    assert_eq!(codes.len(), 10);
    assert!(enter(&life, &half(&life, HOME), codes[0].expose()).is_ok());
    assert!(enter(&life, &half(&life, HOME), codes[0].expose()).is_err());
    let typed = codes[1].expose().to_uppercase().replace('-', " ");
    assert!(enter(&life, &half(&life, HOME), &typed).is_ok());
    let account = life.run(people::account(&life.px, &owner)).unwrap();
    assert_eq!(account.recovery_codes_left, 8);

    let new = life
        .run(people::new_recovery_codes(&life.px, &owner))
        .unwrap();
    assert!(enter(&life, &half(&life, HOME), codes[2].expose()).is_err());
    assert!(enter(&life, &half(&life, HOME), new[2].expose()).is_ok());
    assert_told(&life, "used a recovery code up");
}

#[test]
fn guessed_codes_do_not_keep_a_recovery_code_or_a_known_browser_out() {
    let world = World::new();
    let life = boot(&world);
    let (session, owner) = admin(&life);
    let (secret, codes) = second_factor(&life, &owner);
    let device = life.run(people::device_token(&life.px, &session)).unwrap();
    world.clock.forward(time::Duration::seconds(60));
    let code = code_of(&secret, life.px.now().unix_timestamp());
    let wrong = if code == "000000" { "000001" } else { "000000" };
    // Whoever has the password guesses, from many addresses.
    let looked_at = (0..40)
        .filter(|n| {
            let place = format!("203.0.113.{n}");
            let begun = half(&life, &place);
            let origin = from(&place);
            let guess = people::second_step(&life.px, &begun, wrong, &origin);
            !matches!(life.run(guess), Err(Error::TooManyAttempts { .. }))
        })
        .count();
    assert!(looked_at <= 7, "{looked_at} guesses were looked at");
    let mut known = from(HOME);
    known.device = Some(device.expose().to_owned());
    let begun = half(&life, HOME);
    assert!(
        life.run(people::second_step(&life.px, &begun, &code, &known))
            .is_ok()
    );
    assert!(enter(&life, &half(&life, HOME), codes[0].expose()).is_ok());
}

#[test]
fn a_second_factor_counts_from_its_first_code_on() {
    let world = World::new();
    let life = boot(&world);
    let (_, owner) = admin(&life);
    let offer = life
        .run(people::offer_second_factor(&life.px, &owner))
        .unwrap();
    assert!(
        offer
            .address
            .expose()
            .starts_with("otpauth://totp/FlukeDeploy")
    );
    let wrong = people::confirm_second_factor(&life.px, &owner, "12345");
    assert_eq!(life.run(wrong).unwrap_err().faults()[0].field, "code");
    // Not confirmed: a password is enough, as before.
    admin(&life);
    let again = life
        .run(people::offer_second_factor(&life.px, &owner))
        .unwrap();
    assert_eq!(again.secret, offer.secret, "what was scanned stays good");
    second_factor(&life, &owner);
    let third = people::offer_second_factor(&life.px, &owner);
    assert!(matches!(life.run(third), Err(Error::NotNow(_))));

    // In the file it is sealed.
    for file in std::fs::read_dir(world.dir()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let plain = offer.secret.expose().as_bytes();
            assert!(!bytes.windows(plain.len()).any(|part| part == plain));
        }
    }
}

/// The actor of a session whose last proof is old.
fn stale(life: &Life<'_>, session: &SignedIn) -> Actor {
    life.world.clock.forward(time::Duration::minutes(11));
    life.run(actor(&life.px, session)).unwrap()
}

#[test]
fn what_is_dangerous_needs_a_recent_proof() {
    let world = World::new();
    let life = boot(&world);
    life.create_app("shop", settings(1));
    let (session, owner) = admin(&life);
    let ann = accept(
        &life,
        &secret(&invite(&life, &owner, Some("ann"), true)),
        "",
    )
    .unwrap();
    second_factor(&life, &owner);
    let ann_actor = life.run(actor(&life.px, &ann)).unwrap();
    second_factor(&life, &ann_actor);
    let stale = stale(&life, &session);
    let token = CreateToken {
        name: "all".to_owned(),
        persona: None,
        tier: flukedeploy_domain::access::Tier::Admin,
        expires_at: None,
        only: None,
        limits: flukedeploy_domain::access::Limits::default(),
    };
    let px = &life.px;
    let id = ann.account_id.as_str();
    let refused = [
        (
            "invite",
            life.run(people::invite(px, &stale, Invite::default()))
                .err(),
        ),
        (
            "turn off",
            life.run(people::turn_off_second_factor(px, &stale)).err(),
        ),
        (
            "codes",
            life.run(people::new_recovery_codes(px, &stale)).err(),
        ),
        (
            "reset",
            life.run(people::reset_second_factor(px, &stale, id)).err(),
        ),
        (
            "disable",
            life.run(people::switch_person(px, &stale, id, true)).err(),
        ),
        (
            "delete",
            life.run(people::delete_person(px, &stale, id)).err(),
        ),
        (
            "app",
            life.run(apps::delete_app(px, &stale, &name("shop"))).err(),
        ),
        (
            "token",
            life.run(tokens::create_token(px, &stale, token.clone()))
                .err(),
        ),
    ];
    for (what, error) in refused {
        assert!(
            matches!(error, Some(Error::ProofNeeded)),
            "{what}: {error:?}"
        );
    }
    // A small token is nothing dangerous, and tokens are not asked.
    let small = CreateToken {
        tier: flukedeploy_domain::access::Tier::Extended,
        ..token.clone()
    };
    assert!(life.run(tokens::create_token(px, &stale, small)).is_ok());
    assert!(
        life.run(tokens::create_token(px, &Actor::system(), token))
            .is_ok()
    );

    // A wrong password is no proof, and neither is somebody's guess.
    let wrong = Proof::Password(Secret::new("not the password"));
    let refused = life.run(people::confirm(px, &stale, &wrong, &from(HOME)));
    assert_eq!(refused.unwrap_err().faults()[0].field, "password");
    let right = Proof::Password(Secret::new(PASSWORD));
    life.run(people::confirm(px, &stale, &right, &from(HOME)))
        .unwrap();
    let proved = Actor {
        session: Some(ActorSession {
            id: session.session.clone(),
            proved_at: px.now(),
        }),
        ..stale
    };
    life.run(people::turn_off_second_factor(px, &proved))
        .unwrap();
    assert_told(&life, "failed to confirm who it is");
    assert_told(&life, "turned the second factor off");
}

#[test]
fn sessions_end_after_their_longest_time_however_much_they_are_used() {
    let world = World::new();
    let life = boot(&world);
    let (session, _) = admin(&life);
    world.clock.forward(time::Duration::days(29));
    assert!(life.run(actor(&life.px, &session)).is_some());
    world.clock.forward(time::Duration::days(1));
    assert!(life.run(actor(&life.px, &session)).is_none());
}

#[test]
fn who_is_turned_off_or_deleted_is_out_at_once_with_their_tokens() {
    let world = World::new();
    let life = boot(&world);
    let (_, boss) = admin(&life);
    let ann = accept(&life, &secret(&invite(&life, &boss, Some("ann"), true)), "").unwrap();
    let ann_actor = life.run(actor(&life.px, &ann)).unwrap();
    let token = |by: &Actor| {
        let cmd = CreateToken {
            name: "ci".to_owned(),
            persona: None,
            tier: flukedeploy_domain::access::Tier::Advanced,
            expires_at: None,
            only: None,
            limits: flukedeploy_domain::access::Limits::default(),
        };
        life.run(tokens::create_token(&life.px, by, cmd)).unwrap()
    };
    let check = |secret: &Secret| {
        let door = flukedeploy_domain::access::Door::Rest;
        life.run(identity::authenticate_token(
            &life.px,
            secret.expose(),
            door,
            None,
        ))
    };
    let first = token(&ann_actor);
    assert!(check(&first.secret).is_ok());
    let switch = |disabled: bool| {
        life.run(people::switch_person(
            &life.px,
            &boss,
            &ann.account_id,
            disabled,
        ))
        .unwrap()
    };
    assert!(switch(true).disabled_at.is_some());
    assert!(life.run(actor(&life.px, &ann)).is_none());
    assert!(check(&first.secret).is_err());
    // The words are those of a wrong password.
    let refused = life.run(sign_in(&life.px, "ann", "violet kettle orbit", &from(HOME)));
    let wrong = life.run(sign_in(&life.px, "ann", "not the password", &from(HOME)));
    assert_eq!(
        refused.unwrap_err().public_detail(),
        wrong.unwrap_err().public_detail()
    );
    assert!(switch(false).disabled_at.is_none());
    assert!(check(&first.secret).is_ok());
    life.run(people::delete_person(&life.px, &boss, &ann.account_id))
        .unwrap();
    assert!(check(&first.secret).is_err());
    assert!(life.run(actor(&life.px, &ann)).is_none());
    for told in [
        "turned off the account ann",
        "turned on the account ann",
        "deleted the account ann",
    ] {
        assert_told(&life, told);
    }
}

#[test]
fn a_tokens_tokens_go_with_the_person_too() {
    let world = World::new();
    let life = boot(&world);
    let (_, boss) = admin(&life);
    let ann = accept(&life, &secret(&invite(&life, &boss, Some("ann"), true)), "").unwrap();
    let ann_actor = life.run(actor(&life.px, &ann)).unwrap();
    let cmd = CreateToken {
        name: "ci".to_owned(),
        persona: None,
        tier: flukedeploy_domain::access::Tier::Admin,
        expires_at: None,
        only: None,
        limits: flukedeploy_domain::access::Limits::default(),
    };
    let door = flukedeploy_domain::access::Door::Rest;
    let check = |secret: &Secret| {
        life.run(identity::authenticate_token(
            &life.px,
            secret.expose(),
            door,
            None,
        ))
    };
    let first = life
        .run(tokens::create_token(&life.px, &ann_actor, cmd.clone()))
        .unwrap();
    let agent = check(&first.secret).unwrap();
    let child = life
        .run(tokens::create_token(&life.px, &agent, cmd))
        .unwrap();
    assert!(check(&child.secret).is_ok());
    life.run(people::delete_person(&life.px, &boss, &ann.account_id))
        .unwrap();
    assert!(check(&child.secret).is_err());
}

#[test]
fn nobody_removes_themselves_or_the_last_administrator() {
    let world = World::new();
    let life = boot(&world);
    let (_, boss) = admin(&life);
    let px = &life.px;
    let oneself = life.run(people::delete_person(px, &boss, &boss.id));
    assert!(matches!(oneself, Err(Error::NotNow(_))));
    let oneself = life.run(people::switch_person(px, &boss, &boss.id, true));
    assert!(matches!(oneself, Err(Error::NotNow(_))));
    // A token is nobody, but the last administrator stays all the same.
    let last = life.run(people::delete_person(px, &Actor::system(), &boss.id));
    assert!(matches!(last, Err(Error::LastAdministrator)));
    let last = life.run(people::switch_person(px, &Actor::system(), &boss.id, true));
    assert!(matches!(last, Err(Error::LastAdministrator)));
    assert!(
        life.run(sign_in(px, "admin", PASSWORD, &from(HOME)))
            .is_ok()
    );
}

#[test]
fn of_two_administrators_who_remove_each_other_at_once_one_stays() {
    let world = World::new();
    let life = boot(&world);
    let (_, boss) = admin(&life);
    let ann = accept(&life, &secret(&invite(&life, &boss, Some("ann"), true)), "").unwrap();
    let ann = life.run(actor(&life.px, &ann)).unwrap();
    let asked: Vec<_> = [(boss.clone(), ann.id.clone()), (ann, boss.id)]
        .into_iter()
        .map(|(by, whom)| {
            let px = life.px.clone();
            life.spawn(async move { people::delete_person(&px, &by, &whom).await })
        })
        .collect();
    let results: Vec<_> = asked
        .into_iter()
        .map(|asked| life.run(asked).unwrap())
        .collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let left = life.run(people::list_people(&life.px, &Actor::system()));
    assert_eq!(left.unwrap().len(), 1);
}

#[test]
fn an_administrator_takes_a_lost_second_factor_away() {
    let world = World::new();
    let life = boot(&world);
    let (_, boss) = admin(&life);
    let ann = accept(
        &life,
        &secret(&invite(&life, &boss, Some("ann"), false)),
        "",
    )
    .unwrap();
    let ann = life.run(actor(&life.px, &ann)).unwrap();
    second_factor(&life, &ann);
    life.run(people::reset_second_factor(&life.px, &boss, &ann.id))
        .unwrap();
    assert!(
        life.run(sign_in(&life.px, "ann", "violet kettle orbit", &from(HOME)))
            .is_ok()
    );
    assert_told(&life, "took the second factor of ann away");
}

#[test]
fn an_unknown_name_is_answered_like_a_wrong_password() {
    let world = World::new();
    let life = boot(&world);
    let cost = |name: &str| {
        let before = people::password_checks(&life.px);
        let refused = life
            .run(sign_in(&life.px, name, "not the password", &from(HOME)))
            .unwrap_err();
        let cost = people::password_checks(&life.px) - before;
        (refused.public_detail(), refused.code(), cost)
    };
    let known = cost("admin");
    assert_eq!(known, cost("nobody"));
    assert_eq!(known.2, 1);
    // What was typed as a name is not kept where it is none: it may be a password.
    assert_told(&life, "refused to sign in admin from 198.51.100.7");
    assert_told(&life, "refused to sign in somebody unknown");
    assert!(
        trail(&life)
            .iter()
            .all(|(_, summary)| !summary.contains("nobody"))
    );
}

#[test]
fn spraying_passwords_over_accounts_is_slowed_and_locks_nobody_out() {
    let world = World::new();
    let life = boot(&world);
    let (session, _) = admin(&life);
    let device = life.run(people::device_token(&life.px, &session)).unwrap();
    let attacker = "203.0.113.66";
    let looked_at = (0..80)
        .filter(|n| {
            let name = if n % 10 == 0 {
                "admin".to_owned()
            } else {
                format!("user{n}")
            };
            let origin = from(attacker);
            let guess = sign_in(&life.px, &name, "not the password", &origin);
            !matches!(life.run(guess), Err(Error::TooManyAttempts { .. }))
        })
        .count();
    assert!(
        (25..=32).contains(&looked_at),
        "{looked_at} guesses were looked at"
    );
    // The owner from elsewhere, and even from the attacker's own address with a known browser.
    assert!(
        life.run(sign_in(&life.px, "admin", PASSWORD, &from(HOME)))
            .is_ok()
    );
    let mut known = from(attacker);
    known.device = Some(device.expose().to_owned());
    assert!(
        life.run(sign_in(&life.px, "admin", PASSWORD, &known))
            .is_ok()
    );
    // A made-up browser is none.
    known.device = Some("abcdefghijklmnop.AAAA".to_owned());
    let made_up = life.run(sign_in(&life.px, "admin", PASSWORD, &known));
    assert!(matches!(made_up, Err(Error::TooManyAttempts { .. })));
}

#[test]
fn one_sees_and_ends_only_ones_own_sessions() {
    let world = World::new();
    let life = boot(&world);
    let (_, boss) = admin(&life);
    let sessions: Vec<SessionView> = life.run(people::sessions(&life.px, &boss)).unwrap();
    // The dashboard stores them; here there is none.
    assert!(sessions.is_empty());
    let none = life.run(people::end_session(&life.px, &boss, "somebodyselse"));
    assert_eq!(none.unwrap_err().kind(), Kind::NotFound);
    let token = Actor::system();
    let no_account = life.run(people::sessions(&life.px, &token));
    assert!(matches!(no_account, Err(Error::NotNow(_))));
}
