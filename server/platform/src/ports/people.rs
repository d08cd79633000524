use async_trait::async_trait;
use flukedeploy_domain::access::Tier;
use flukedeploy_domain::audit::AuditEntry;
use time::OffsetDateTime;

use super::store::{Account, StoreError};
use crate::secret::Secret;

/// What the control plane remembers of people beside their accounts: the part of
/// [`Store`](super::Store) that signing in needs. Each method is one transaction.
#[async_trait]
pub trait People: Send + Sync + 'static {
    /// By name.
    async fn accounts(&self) -> Result<Vec<Account>, StoreError>;
    /// False if there is none.
    async fn set_display_name(
        &self,
        account: &str,
        display_name: Option<&str>,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Stores a new password; every session of the account but this one is over.
    async fn change_password(
        &self,
        account: &str,
        password_hash: &str,
        keep_session: Option<&str>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    /// Turns an account off, with all its sessions and unused invitations, or on again; false if it
    /// is so already, or there is none.
    ///
    /// # Errors
    /// [`StoreError::LastAdministrator`].
    async fn switch_account(
        &self,
        account: &str,
        disabled_at: Option<OffsetDateTime>,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Makes somebody an administrator, or takes that away, with the unused invitations; false if it
    /// is so already, or there is none.
    ///
    /// # Errors
    /// [`StoreError::LastAdministrator`].
    async fn set_tier(
        &self,
        account: &str,
        tier: Tier,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Removes an account with its sessions; its tokens are revoked, and so are its unused
    /// invitations. False if there is none.
    ///
    /// # Errors
    /// [`StoreError::LastAdministrator`].
    async fn delete_account(&self, account: &str, audit: &AuditEntry) -> Result<bool, StoreError>;

    // Invitations.

    /// Newest first: those that can be used still, and the last that were.
    async fn invitations(&self) -> Result<Vec<Invitation>, StoreError>;
    async fn create_invitation(
        &self,
        invitation: &Invitation,
        secret_hash: &str,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
    async fn invitation_by_secret(
        &self,
        secret_hash: &str,
    ) -> Result<Option<Invitation>, StoreError>;
    /// False if there is none that can be used still.
    async fn revoke_invitation(
        &self,
        id: &str,
        at: OffsetDateTime,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Uses an invitation up and makes the account, both or neither; false if it cannot be used
    /// any more.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the name is taken: the invitation is as good as before.
    async fn accept_invitation(
        &self,
        id: &str,
        account: &Account,
        identity: Option<&Identity>,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;

    // Identities of a sign-in provider.

    async fn account_by_identity(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Account>, StoreError>;
    /// What the account is bound to at this issuer.
    async fn identity_of(
        &self,
        account: &str,
        issuer: &str,
    ) -> Result<Option<Identity>, StoreError>;
    /// False if the account has one of this issuer, or the identity is bound already.
    async fn bind_identity(
        &self,
        identity: &Identity,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// False if there was none. All sessions of the account but this one are over.
    async fn unbind_identity(
        &self,
        account: &str,
        issuer: &str,
        keep_session: &str,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;

    // Second factors.

    async fn second_factor(&self, account: &str) -> Result<Option<SecondFactor>, StoreError>;
    /// Keeps a secret of which no code was seen yet, in the place of one like it. False if the
    /// account has a confirmed one: that stays.
    async fn offer_second_factor(&self, account: &str, secret: &Secret)
    -> Result<bool, StoreError>;
    /// A code of this time step was right: the factor counts from now on, with these recovery
    /// codes. False if there is none to confirm.
    async fn confirm_second_factor(
        &self,
        account: &str,
        step: u64,
        recovery_hashes: &[String],
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Uses a time step up; false if it, or a later one, was used before.
    async fn use_step(&self, account: &str, step: u64) -> Result<bool, StoreError>;
    /// Uses a recovery code up; false if there is none of this hash.
    async fn use_recovery_code(
        &self,
        account: &str,
        hash: &str,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// False if the account has no confirmed second factor.
    async fn replace_recovery_codes(
        &self,
        account: &str,
        hashes: &[String],
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// False if there was none. With `end_sessions`, all of the account's are over.
    async fn remove_second_factor(
        &self,
        account: &str,
        end_sessions: bool,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;

    // Sessions.

    /// Those of an account that are not over, the last used first.
    async fn sessions_of(
        &self,
        account: &str,
        now: OffsetDateTime,
    ) -> Result<Vec<StoredSession>, StoreError>;
    /// False if the account has no such session.
    async fn end_session(
        &self,
        account: &str,
        session: &str,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;
    /// How many were ended; nothing is written where there was none.
    async fn end_other_sessions(
        &self,
        account: &str,
        keep: &str,
        audit: &AuditEntry,
    ) -> Result<u64, StoreError>;

    /// Writes what was done, or tried, where nothing else changes.
    async fn note(&self, audit: &AuditEntry) -> Result<(), StoreError>;
}

/// A way in for somebody who has no account yet, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub id: String,
    /// The account's name, where the inviter chose it.
    pub name: Option<String>,
    pub display_name: Option<String>,
    pub is_administrator: bool,
    pub created_at: OffsetDateTime,
    pub created_by: String,
    /// The account that invited, if it was a person.
    pub inviter: Option<String>,
    pub expires_at: OffsetDateTime,
    pub revoked_at: Option<OffsetDateTime>,
    pub accepted_at: Option<OffsetDateTime>,
    pub accepted_as: Option<String>,
}

impl Invitation {
    pub fn is_open(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_none() && self.accepted_at.is_none() && self.expires_at > now
    }
}

/// An account's identity at a sign-in provider: issuer and subject are the whole of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
    /// Of the account.
    pub account: String,
    /// As the provider called the person when it was bound.
    pub shown: Option<String>,
    pub bound_at: OffsetDateTime,
}

/// What makes codes; no `Debug` beyond the secret's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// In base32.
    pub secret: Secret,
    pub confirmed_at: Option<OffsetDateTime>,
    pub recovery_codes_left: u32,
}

/// What a session says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The session's own data.
    pub signed_in: crate::identity::SignedIn,
    pub seen_at: OffsetDateTime,
    /// Without another request.
    pub expires_at: OffsetDateTime,
}
