//! People: how they come in, prove who they are, and are managed.
//!
//! [`identity`](crate::identity) says whom a session or a token belongs to; what is here makes,
//! changes and ends those.

mod account;
mod administration;
mod common;
mod device;
mod invitations;
mod limits;
mod origin;
mod passwords;
mod proof;
mod provider;
mod second_factor;
mod sign_in;
mod totp;
mod views;

pub use account::{
    account, change_password, end_other_sessions, end_session, rename, sessions, signed_out,
};
pub use administration::{
    delete_person, list_people, person, reset_second_factor, set_administrator, switch_person,
};
pub use device::token as device_token;
pub use invitations::{
    Invite, NewInvitation, accept_invitation, invitation, invite, list_invitations,
    revoke_invitation,
};
pub use origin::Origin;
pub use passwords::{MAX_PASSWORD, MIN_PASSWORD};
pub use proof::{Proof, confirm, require_recent_proof};
pub use provider::{
    Answer, Arrived, Begun, Flow, Wanted, begin as begin_elsewhere, finish as finish_elsewhere,
    identity, provider_name, unbind,
};
pub use second_factor::{
    Offer, confirm_second_factor, new_recovery_codes, offer_second_factor, turn_off_second_factor,
};
pub use sign_in::{Entered, HalfSignedIn, awaits_code, second_step, sign_in};
pub use views::{
    AccountView, IdentityView, InvitationState, InvitationView, PersonView, SessionView,
};

pub(crate) use limits::SignInLimits;
pub(crate) use passwords::{NO_PASSWORD, PasswordChecks, check_new, hash, verify};
pub(crate) use provider::Provider;
pub(crate) use sign_in::signed_in;

use flukedeploy_domain::names::Invalid;

/// How many passwords were compared with a hash since the start: what a sign-in costs, and that it
/// costs the same whether there is such an account or not.
pub fn password_checks(px: &crate::Platform) -> u64 {
    px.parts().password_checks.count()
}

/// Longest name of an account.
pub(crate) const MAX_NAME: usize = 64;

pub(crate) fn check_name(name: &str) -> Option<Invalid> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@');
    (name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fits)).then(|| {
        Invalid::new(
            "name",
            format!("must have 1 to {MAX_NAME} letters, digits or . _ - @"),
        )
    })
}

/// A name as others see it; nothing typed is none.
pub(crate) fn display_name(text: Option<&str>) -> Result<Option<String>, Invalid> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.chars().count() > MAX_NAME || text.chars().any(is_unfit) {
        return Err(Invalid::new(
            "display_name",
            format!("must have {MAX_NAME} characters at most, and none that cannot be seen"),
        ));
    }
    Ok(Some(text.to_owned()))
}

/// Control characters, and those that turn the direction of text around: names stand in lists and
/// in the audit trail.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
