//! API tokens: made, listed, renewed, revoked.

use std::collections::BTreeSet;

use flukedeploy_domain::access::{
    Action, Actor, ActorKind, GrantRecord, Limits, Resource, Role, Subject, Target, Tier,
};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::names::{EnvironmentName, Invalid};
use flukedeploy_domain::timestamp::to_wire;
use time::{Duration, OffsetDateTime};

use crate::authorise::authorise;
use crate::error::Error;
use crate::grants::{NewGrant, check_environments, places, record};
use crate::people;
use crate::platform::Platform;
use crate::ports::StoredToken;
use crate::reach::MAX_CHAIN;
use crate::secret::{Secret, random_id, sha256_hex};
use crate::views::{TokenGrant, TokenView};

const AGENT_TOKEN_MADE: &str = "agent_token_made";
/// Most targets that a token is made for.
const MAX_TARGETS: usize = 200;
/// Longest time that a token and the one in its place are good side by side.
pub const MAX_OVERLAP_SECONDS: u64 = 30 * 24 * 60 * 60;

/// A new token with its only appearance.
pub struct NewToken {
    pub view: TokenView,
    pub secret: Secret,
}

#[derive(Debug, Clone)]
pub struct CreateToken {
    pub name: String,
    pub persona: Option<String>,
    pub tier: Tier,
    pub expires_at: Option<OffsetDateTime>,
    /// Where it may act. `None`: wherever its maker may.
    pub only: Option<Only>,
    pub limits: Limits,
}

/// What a token is narrowed to.
#[derive(Debug, Clone)]
pub struct Only {
    pub targets: Vec<Target>,
    pub role: Role,
    pub environments: Option<BTreeSet<EnvironmentName>>,
}

/// All of them for administrators, for others those that they made, and what was made with those.
pub async fn list_tokens(px: &Platform, actor: &Actor) -> Result<Vec<TokenView>, Error> {
    authorise(px, actor, Action::ListTokens, Resource::Shown)?;
    let all = px.parts().store.tokens().await?;
    let shown = all.iter().filter(|token| is_own(actor, token, &all));
    let granted = px.parts().store.grants().await?;
    Ok(shown.map(|token| view(token, &granted)).collect())
}

/// Whether the token is the actor's to list and revoke: it or what it was made with is its work.
fn is_own(actor: &Actor, token: &StoredToken, all: &[StoredToken]) -> bool {
    if actor.is_administrator() {
        return true;
    }
    let mut at = token;
    for _ in 0..=MAX_CHAIN {
        match (&at.maker, actor.kind) {
            (Some(Subject::Account(id)), ActorKind::User)
            | (Some(Subject::Token(id)), ActorKind::Token)
                if *id == actor.id =>
            {
                return true;
            }
            (Some(Subject::Token(id)), _) => match all.iter().find(|token| token.id == *id) {
                Some(maker) => at = maker,
                None => return false,
            },
            _ => return false,
        }
    }
    false
}

/// `granted` holds what was granted to it, among others.
fn view(token: &StoredToken, granted: &[GrantRecord]) -> TokenView {
    let is_its =
        |grant: &&GrantRecord| matches!(&grant.subject, Subject::Token(of) if *of == token.id);
    let grants = token.is_narrowed.then(|| {
        let its = granted.iter().filter(is_its);
        its.map(|grant| TokenGrant {
            target: grant.target.clone(),
            role: grant.role,
            environments: grant.environments.clone(),
        })
        .collect()
    });
    TokenView {
        id: token.id.clone(),
        name: token.name.clone(),
        persona: token.persona.clone(),
        tier: token.tier,
        created_at: token.created_at,
        created_by: token.created_by.clone(),
        expires_at: token.expires_at,
        grants,
        limits: token.limits.clone(),
        revoked_at: token.revoked_at,
        last_used_at: token.last_used_at,
    }
}

/// Makes a token that reaches at most as far as the actor, now and later: what is taken from its
/// maker is taken from it.
pub async fn create_token(
    px: &Platform,
    actor: &Actor,
    cmd: CreateToken,
) -> Result<NewToken, Error> {
    authorise(px, actor, Action::CreateToken, Resource::Shown)?;
    if cmd.tier == Tier::Admin {
        people::require_recent_proof(px, actor, Action::CreateToken, Resource::System)?;
    }
    check(px, actor, &cmd)?;
    let secret = Secret::random();
    let maker = match actor.kind {
        ActorKind::User => Some(Subject::Account(actor.id.clone())),
        // The token of the configuration is nobody's, and stands in no table.
        ActorKind::Token if actor.chain.is_empty() => None,
        ActorKind::Token => Some(Subject::Token(actor.id.clone())),
        ActorKind::System => None,
    };
    let token = StoredToken {
        id: random_id(12),
        name: cmd.name.trim().to_owned(),
        persona: cmd.persona,
        tier: cmd.tier,
        secret_hash: sha256_hex(secret.expose()),
        created_at: px.now(),
        created_by: actor.name.clone(),
        owner: owner_of(px, actor).await?,
        expires_at: cmd.expires_at,
        revoked_at: None,
        last_used_at: None,
        maker,
        is_narrowed: cmd.only.is_some(),
        limits: cmd.limits,
    };
    let mut granted = Vec::new();
    let mut summary = format!("created the {} token '{}'", token.tier.as_str(), token.name);
    if let Some(only) = cmd.only {
        let (role, targets) = (only.role.as_str(), list(&only.targets));
        let places = places(only.environments.as_ref());
        summary = format!("{summary} with the role {role} in {targets}{places}");
        for target in only.targets {
            let new = NewGrant {
                subject: Subject::Token(token.id.clone()),
                target,
                role: only.role,
                environments: only.environments.clone(),
            };
            granted.push(record(px, actor, new));
        }
    }
    let resource = format!("token:{}", token.id);
    let audit = AuditEntry::new(px.now(), actor, Action::CreateToken, resource, summary);
    px.parts()
        .store
        .create_token(&token, &granted, &audit)
        .await?;
    crate::changes::tell_apart(px, &audit);
    Ok(NewToken {
        view: view(&token, &granted),
        secret: Secret::new(format!("fd_{}_{}", token.id, secret.expose())),
    })
}

/// Whose a token is that this actor makes. One that a token makes is its owner's: it must not outlive
/// the person.
async fn owner_of(px: &Platform, actor: &Actor) -> Result<Option<String>, Error> {
    Ok(match actor.kind {
        ActorKind::User => Some(actor.id.clone()),
        ActorKind::Token => px
            .parts()
            .store
            .token(&actor.id)
            .await?
            .and_then(|token| token.owner),
        ActorKind::System => None,
    })
}

fn list(targets: &[Target]) -> String {
    let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn check(px: &Platform, actor: &Actor, cmd: &CreateToken) -> Result<(), Error> {
    let mut faults = Vec::new();
    let name = cmd.name.trim();
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        faults.push(Invalid::new("name", "must have 1 to 64 characters"));
    }
    if cmd.persona.as_ref().is_some_and(|persona| {
        persona.is_empty()
            || persona.len() > 32
            || !persona
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    }) {
        faults.push(Invalid::new(
            "persona",
            "must have 1 to 32 letters, digits, '_' or '-'",
        ));
    }
    if cmd.expires_at.is_some_and(|expires| expires <= px.now()) {
        faults.push(Invalid::new("expires_at", "must lie in the future"));
    }
    if cmd.tier > actor.tier {
        let own = actor.tier.as_str();
        let problem = format!("must not be higher than the maker's own, {own}");
        faults.push(Invalid::new("tier", problem));
    }
    if actor.chain.len() >= MAX_CHAIN {
        let problem = "cannot be made: too many tokens were made with one another already";
        faults.push(Invalid::new("name", problem));
    }
    let limits = &cmd.limits;
    for (field, value) in [
        ("requests_per_minute", limits.requests_per_minute),
        ("deploys_per_hour", limits.deploys_per_hour),
        ("deploys_per_day", limits.deploys_per_day),
    ] {
        if value == Some(0) {
            faults.push(Invalid::new(field, "must be at least 1, or left out"));
        }
    }
    if limits.addresses.len() > 50 {
        faults.push(Invalid::new("addresses", "may name at most 50 networks"));
    }
    if let Some(only) = &cmd.only {
        if only.targets.is_empty() || only.targets.len() > MAX_TARGETS {
            let problem = format!("must name 1 to {MAX_TARGETS}, or be left out");
            faults.push(Invalid::new("apps", problem));
        }
        for target in &only.targets {
            let is_shown = match target {
                Target::App(app) => actor.rights.shows_app(app.as_str()),
                Target::Project(_) => actor.rights.is_everything(),
            };
            if !is_shown {
                faults.push(Invalid::new(
                    "apps",
                    format!("names the {target}, which there is not"),
                ));
            }
        }
        if let Err(Error::Invalid(more)) = check_environments(only.environments.as_ref()) {
            faults.extend(more);
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(faults))
    }
}

async fn own_token(px: &Platform, actor: &Actor, id: &str) -> Result<StoredToken, Error> {
    let all = px.parts().store.tokens().await?;
    let found = all.iter().find(|token| token.id == id);
    found
        .filter(|token| is_own(actor, token, &all))
        .cloned()
        .ok_or_else(no_such_token)
}

/// What was made with it ends too.
pub async fn revoke_token(px: &Platform, actor: &Actor, id: &str) -> Result<(), Error> {
    authorise(px, actor, Action::RevokeToken, Resource::Shown)?;
    let token = own_token(px, actor, id).await?;
    let audit = AuditEntry::new(
        px.now(),
        actor,
        Action::RevokeToken,
        format!("token:{id}"),
        format!("revoked the token '{}' ({id})", token.name),
    );
    if px.parts().store.revoke_token(id, px.now(), &audit).await? {
        crate::changes::tell_apart(px, &audit);
        px.parts().rechecks.announce();
        Ok(())
    } else {
        Err(no_such_token())
    }
}

/// Makes a token in the place of another one, which is good for so much longer: time to hand the
/// new one out. Everything but the secret is the same.
pub async fn rotate_token(
    px: &Platform,
    actor: &Actor,
    id: &str,
    overlap_seconds: u64,
) -> Result<NewToken, Error> {
    authorise(px, actor, Action::CreateToken, Resource::Shown)?;
    if overlap_seconds > MAX_OVERLAP_SECONDS {
        let problem = format!("must be at most {MAX_OVERLAP_SECONDS}, not {overlap_seconds}");
        return Err(Error::invalid("overlap_seconds", problem));
    }
    let old = own_token(px, actor, id).await?;
    if old.tier == Tier::Admin {
        people::require_recent_proof(px, actor, Action::CreateToken, Resource::System)?;
    }
    let now = px.now();
    if old.revoked_at.is_some() || old.expires_at.is_some_and(|at| at <= now) {
        return Err(no_such_token());
    }
    let subject = Subject::Token(old.id.clone());
    let all = px.parts().store.grants().await?;
    let secret = Secret::random();
    let new = StoredToken {
        id: random_id(12),
        secret_hash: sha256_hex(secret.expose()),
        created_at: now,
        created_by: actor.name.clone(),
        last_used_at: None,
        ..old.clone()
    };
    let mut granted = Vec::new();
    for grant in all.into_iter().filter(|grant| grant.subject == subject) {
        let its = NewGrant {
            subject: Subject::Token(new.id.clone()),
            target: grant.target,
            role: grant.role,
            environments: grant.environments,
        };
        granted.push(record(px, actor, its));
    }
    let resource = format!("token:{}", new.id);
    let summary = format!("created the token '{}' in the place of {id}", new.name);
    let created = AuditEntry::new(now, actor, Action::CreateToken, resource, summary);
    let overlap = i64::try_from(overlap_seconds).unwrap_or(i64::MAX);
    let until = now + Duration::seconds(overlap);
    let until = old.expires_at.map_or(until, |end| end.min(until));
    let summary = format!(
        "lets the token '{}' ({id}) end in {overlap_seconds} s",
        old.name
    );
    let resource = format!("token:{id}");
    let ended = AuditEntry::new(now, actor, Action::RevokeToken, resource, summary).with_change(
        "expires_at",
        old.expires_at.map(to_wire),
        Some(to_wire(until)),
    );
    let store = &px.parts().store;
    store
        .replace_token(&new, &granted, id, until, [&created, &ended])
        .await?;
    crate::changes::tell_apart(px, &created);
    crate::changes::tell_apart(px, &ended);
    px.parts().rechecks.announce();
    Ok(NewToken {
        view: view(&new, &granted),
        secret: Secret::new(format!("fd_{}_{}", new.id, secret.expose())),
    })
}

fn no_such_token() -> Error {
    Error::NotFound {
        what: "token of that id that is still good".to_owned(),
    }
}

/// The first start's token for an agent (tier advanced, persona OPERATOR); made once.
pub async fn first_agent_token(px: &Platform) -> Result<Option<Secret>, Error> {
    if px
        .parts()
        .store
        .remembered(AGENT_TOKEN_MADE)
        .await?
        .is_some()
    {
        return Ok(None);
    }
    let cmd = CreateToken {
        name: "first agent".to_owned(),
        persona: Some("OPERATOR".to_owned()),
        tier: Tier::Advanced,
        expires_at: None,
        only: None,
        limits: Limits::default(),
    };
    let token = create_token(px, &Actor::system(), cmd).await?;
    px.parts()
        .store
        .remember(AGENT_TOKEN_MADE, &token.view.id)
        .await?;
    Ok(Some(token.secret))
}
