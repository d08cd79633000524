//! The `People` port: each method one transaction.

use async_trait::async_trait;
use flukedeploy_domain::access::Tier;
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_platform::ports::{
    Account, Identity, Invitation, People, SecondFactor, StoreError, StoredSession,
};
use flukedeploy_platform::secret::Secret;
use time::OffsetDateTime;

use crate::error::{Doing, exists};
use crate::store::SqliteStore;
use crate::{accounts, audit, identities, invitations, second_factors, sessions, tokens};

#[async_trait]
impl People for SqliteStore {
    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let mut db = self.database().read("reading the accounts").await?;
        accounts::all(&mut db).await
    }

    async fn set_display_name(
        &self,
        account: &str,
        display_name: Option<&str>,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "storing a name";
        let mut db = self.database().write(DOING).await?;
        if !accounts::set_display_name(&mut db, account, display_name).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn change_password(
        &self,
        account: &str,
        password_hash: &str,
        keep_session: Option<&str>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "storing a password";
        let mut db = self.database().write(DOING).await?;
        accounts::set_password(&mut db, account, password_hash, audit.at).await?;
        sessions::end_all_but(&mut db, account, keep_session).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn switch_account(
        &self,
        account: &str,
        disabled_at: Option<OffsetDateTime>,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "turning an account off or on";
        let mut db = self.database().write(DOING).await?;
        if !accounts::switch(&mut db, account, disabled_at).await? {
            return Ok(false);
        }
        if disabled_at.is_some() {
            accounts::keep_an_administrator(&mut db).await?;
            sessions::end_all_but(&mut db, account, None).await?;
            invitations::revoke_all_of(&mut db, account, audit.at).await?;
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn delete_account(&self, account: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        const DOING: &str = "removing an account";
        let mut db = self.database().write(DOING).await?;
        if !accounts::delete(&mut db, account).await? {
            return Ok(false);
        }
        accounts::keep_an_administrator(&mut db).await?;
        sessions::end_all_but(&mut db, account, None).await?;
        tokens::revoke_all_of(&mut db, account, audit.at).await?;
        invitations::revoke_all_of(&mut db, account, audit.at).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn invitations(&self) -> Result<Vec<Invitation>, StoreError> {
        let mut db = self.database().read("reading the invitations").await?;
        invitations::newest(&mut db).await
    }

    async fn create_invitation(
        &self,
        invitation: &Invitation,
        secret_hash: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        const DOING: &str = "storing an invitation";
        let mut db = self.database().write(DOING).await?;
        invitations::create(&mut db, invitation, secret_hash).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }

    async fn invitation_by_secret(
        &self,
        secret_hash: &str,
    ) -> Result<Option<Invitation>, StoreError> {
        let mut db = self.database().read("reading an invitation").await?;
        invitations::by_secret(&mut db, secret_hash).await
    }

    async fn revoke_invitation(
        &self,
        id: &str,
        at: OffsetDateTime,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "revoking an invitation";
        let mut db = self.database().write(DOING).await?;
        if !invitations::revoke(&mut db, id, at).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn accept_invitation(
        &self,
        id: &str,
        account: &Account,
        identity: Option<&Identity>,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "accepting an invitation";
        let mut db = self.database().write(DOING).await?;
        if !invitations::accept(&mut db, id, audit.at, &account.name).await? {
            return Ok(false);
        }
        accounts::create(&mut db, account, false).await?;
        if let Some(identity) = identity
            && !identities::bind(&mut db, identity).await?
        {
            return Err(exists("an account of this identity"));
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn account_by_identity(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Account>, StoreError> {
        let mut db = self.database().read("reading an identity").await?;
        accounts::by_identity(&mut db, issuer, subject).await
    }

    async fn identity_of(
        &self,
        account: &str,
        issuer: &str,
    ) -> Result<Option<Identity>, StoreError> {
        let mut db = self.database().read("reading an identity").await?;
        identities::of(&mut db, account, issuer).await
    }

    async fn bind_identity(
        &self,
        identity: &Identity,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "binding an identity";
        let mut db = self.database().write(DOING).await?;
        if !identities::bind(&mut db, identity).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn unbind_identity(
        &self,
        account: &str,
        issuer: &str,
        keep_session: &str,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "unbinding an identity";
        let mut db = self.database().write(DOING).await?;
        if !identities::unbind(&mut db, account, issuer).await? {
            return Ok(false);
        }
        sessions::end_all_but(&mut db, account, Some(keep_session)).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn set_tier(
        &self,
        account: &str,
        tier: Tier,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "changing who is an administrator";
        let mut db = self.database().write(DOING).await?;
        if !accounts::set_tier(&mut db, account, tier).await? {
            return Ok(false);
        }
        if tier < Tier::Admin {
            accounts::keep_an_administrator(&mut db).await?;
            invitations::revoke_all_of(&mut db, account, audit.at).await?;
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn second_factor(&self, account: &str) -> Result<Option<SecondFactor>, StoreError> {
        let mut db = self.database().read("reading a second factor").await?;
        second_factors::get(&mut db, self.database().sealer(), account).await
    }

    async fn offer_second_factor(
        &self,
        account: &str,
        secret: &Secret,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "storing a second factor";
        let mut db = self.database().write(DOING).await?;
        let kept =
            second_factors::offer(&mut db, self.database().sealer(), account, secret).await?;
        db.commit().await.doing(DOING)?;
        Ok(kept)
    }

    async fn confirm_second_factor(
        &self,
        account: &str,
        step: u64,
        recovery_hashes: &[String],
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "confirming a second factor";
        let mut db = self.database().write(DOING).await?;
        if !second_factors::confirm(&mut db, account, step, audit.at).await? {
            return Ok(false);
        }
        second_factors::set_recovery(&mut db, account, recovery_hashes).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn use_step(&self, account: &str, step: u64) -> Result<bool, StoreError> {
        const DOING: &str = "using a code up";
        let mut db = self.database().write(DOING).await?;
        let used = second_factors::use_step(&mut db, account, step).await?;
        db.commit().await.doing(DOING)?;
        Ok(used)
    }

    async fn use_recovery_code(
        &self,
        account: &str,
        hash: &str,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "using a recovery code up";
        let mut db = self.database().write(DOING).await?;
        if !second_factors::use_recovery(&mut db, account, hash).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn replace_recovery_codes(
        &self,
        account: &str,
        hashes: &[String],
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "storing recovery codes";
        let mut db = self.database().write(DOING).await?;
        if !second_factors::is_confirmed(&mut db, account).await? {
            return Ok(false);
        }
        second_factors::set_recovery(&mut db, account, hashes).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn remove_second_factor(
        &self,
        account: &str,
        end_sessions: bool,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "removing a second factor";
        let mut db = self.database().write(DOING).await?;
        if !second_factors::remove(&mut db, account).await? {
            return Ok(false);
        }
        if end_sessions {
            sessions::end_all_but(&mut db, account, None).await?;
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn sessions_of(
        &self,
        account: &str,
        now: OffsetDateTime,
    ) -> Result<Vec<StoredSession>, StoreError> {
        let mut db = self.database().read("reading the sessions").await?;
        sessions::of(&mut db, account, now).await
    }

    async fn end_session(
        &self,
        account: &str,
        session: &str,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "ending a session";
        let mut db = self.database().write(DOING).await?;
        if !sessions::end(&mut db, account, session).await? {
            return Ok(false);
        }
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)?;
        Ok(true)
    }

    async fn end_other_sessions(
        &self,
        account: &str,
        keep: &str,
        audit: &AuditEntry,
    ) -> Result<u64, StoreError> {
        const DOING: &str = "ending sessions";
        let mut db = self.database().write(DOING).await?;
        let ended = sessions::end_all_but(&mut db, account, Some(keep)).await?;
        if ended > 0 {
            audit::append(&mut db, audit).await?;
            db.commit().await.doing(DOING)?;
        }
        Ok(ended)
    }

    async fn note(&self, audit: &AuditEntry) -> Result<(), StoreError> {
        const DOING: &str = "writing the audit trail";
        let mut db = self.database().write(DOING).await?;
        audit::append(&mut db, audit).await?;
        db.commit().await.doing(DOING)
    }
}
