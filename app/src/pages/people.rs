use flukedeploy_platform::Error;
use flukedeploy_platform::people::{self, InvitationState, InvitationView, PersonView};
use leptos::prelude::*;
use time::OffsetDateTime;

use super::page;
use crate::components::{
    Choice, Field, Mark, PageHead, Section, Tint, age, code, frame, new_one, notice, select, state,
    table, tick_box,
};
use crate::context::Desk;
use crate::forms::people::NEW_LINK;
use crate::paths;

/// `/people`: who may come in, and who was invited.
#[component]
pub(crate) fn PeoplePage() -> impl IntoView {
    page(Desk::take(), people)
}

async fn people(desk: Desk) -> Result<AnyView, Error> {
    let people = people::list_people(&desk.px, &desk.actor).await?;
    let invitations = people::list_invitations(&desk.px, &desk.actor).await?;
    let link = desk.typed.get(NEW_LINK).map(ToOwned::to_owned).map(|link| {
        view! {
            <div class="aside">
                {notice(
                    Tint::Good,
                    "The invitation is made.".to_owned(),
                    Some("Send this link: it makes one account. It will not be shown again.".to_owned()),
                )}
                {code("new-link", link)}
            </div>
        }
    });
    let rows: Vec<_> = people
        .iter()
        .map(|person| person_row(person, desk.now).into_any())
        .collect();
    let content = view! {
        {PageHead::new("People")
            .lead("Who may sign in here.")
            .actions(view! { <a class="button" href=paths::PERMISSIONS>"Permissions"</a> })
            .view()}
        {link}
        {table(&["Name", "State", "May", "Second factor", "Since"], rows)}
        {invitation_list(&invitations, desk.now)}
        {new_one(&desk.typed, "Invite somebody", invite_form(&desk))}
    };
    Ok(frame(&desk, Section::People, content))
}

fn person_row(person: &PersonView, now: OffsetDateTime) -> impl IntoView + use<> {
    let mark = if person.disabled_at.is_some() {
        Mark::valid(false, "Turned off")
    } else {
        Mark::valid(true, "Active")
    };
    let sub = match (&person.display_name, person.is_you) {
        (Some(name), true) => format!("{name}, you"),
        (Some(name), false) => name.clone(),
        (None, true) => "you".to_owned(),
        (None, false) => String::new(),
    };
    let may = if person.is_administrator {
        "Everything"
    } else {
        "What is granted"
    };
    let factor = if person.has_second_factor {
        "On"
    } else {
        "Off"
    };
    view! {
        <tr>
            <td data-label="" class="cell-title"><span class="cell-main">{person.name.clone()}<span class="cell-sub">{sub}</span></span></td>
            <td data-label="State">{state(mark)}</td>
            <td data-label="May">{may}</td>
            <td data-label="Second factor">{factor}</td>
            <td data-label="Since">{age(person.created_at, now)}</td>
            <td data-label="" class="actions">{(!person.is_you).then(|| acts(person))}</td>
        </tr>
    }
}

fn acts(person: &PersonView) -> impl IntoView + use<> {
    let name = &person.name;
    let (word, disabled) = if person.disabled_at.is_some() {
        ("Turn on", "false")
    } else {
        ("Turn off", "true")
    };
    let (role, role_word) = if person.is_administrator {
        ("false", "no administrator")
    } else {
        ("true", "administrator")
    };
    let reset = person.has_second_factor.then(|| {
        let words = format!("Take the second factor of {name} away");
        view! { <a class="button button-small" href=paths::reset_person(&person.id) aria-label=words>"Reset"</a> }
    });
    view! {
        <div class="row-acts">
            <form method="post" action=paths::switch_person(&person.id)>
                <input type="hidden" name="disabled" value=disabled/>
                <button class="button button-small" aria-label=format!("{word} {name}")>{word}</button>
            </form>
            <form method="post" action=paths::role_of_person(&person.id)>
                <input type="hidden" name="is_administrator" value=role/>
                <button class="button button-small" aria-label=format!("Make {role_word}: {name}")>{format!("Make {role_word}")}</button>
            </form>
            {reset}
            <a class="button button-small button-danger" href=paths::delete_person(&person.id) aria-label=format!("Delete {name}")>"Delete"</a>
        </div>
    }
}

fn invitation_list(
    invitations: &[InvitationView],
    now: OffsetDateTime,
) -> Option<impl IntoView + use<>> {
    let rows: Vec<_> = invitations
        .iter()
        .map(|invitation| invitation_row(invitation, now).into_any())
        .collect();
    (!rows.is_empty()).then(|| {
        view! {
            <section class="section" aria-labelledby="invitations">
                <div class="section-head"><h2 id="invitations">"Invitations"</h2></div>
                {table(&["For", "State", "May", "By", "Until"], rows)}
            </section>
        }
    })
}

fn invitation_row(invitation: &InvitationView, now: OffsetDateTime) -> impl IntoView + use<> {
    let whom = match (
        &invitation.accepted_as,
        &invitation.name,
        &invitation.display_name,
    ) {
        (Some(name), _, _) | (None, Some(name), _) | (None, None, Some(name)) => name.clone(),
        (None, None, None) => "Anybody with the link".to_owned(),
    };
    let mark = match invitation.state {
        InvitationState::Open => Mark::valid(true, "Open"),
        InvitationState::Accepted => Mark::valid(false, "Accepted"),
        InvitationState::Revoked => Mark::valid(false, "Revoked"),
        InvitationState::Expired => Mark::valid(false, "Expired"),
    };
    let may = if invitation.is_administrator {
        "Everything"
    } else {
        "Read"
    };
    let revoke = (invitation.state == InvitationState::Open).then(|| {
        let words = format!("Revoke the invitation for {whom}");
        view! {
            <form method="post" action=paths::revoke_invitation(&invitation.id)>
                <button class="button button-small button-danger" aria-label=words>"Revoke"</button>
            </form>
        }
    });
    view! {
        <tr>
            <td data-label="" class="cell-title"><span class="cell-main">{whom.clone()}</span></td>
            <td data-label="State">{state(mark)}</td>
            <td data-label="May">{may}</td>
            <td data-label="By">{invitation.created_by.clone()}</td>
            <td data-label="Until">{age(invitation.expires_at, now)}</td>
            <td data-label="" class="actions">{revoke}</td>
        </tr>
    }
}

fn invite_form(desk: &Desk) -> impl IntoView + use<> {
    let typed = &desk.typed;
    let ages = vec![
        Choice::new("24", "A day"),
        Choice::new("72", "Three days"),
        Choice::new("168", "A week"),
    ];
    let is_administrator = typed.has("is_administrator", "true");
    view! {
        <form class="form" method="post" action=paths::PEOPLE>
            <div class="row">
                {Field::new(typed, "name", "Name").optional().hint("Signs in with it; left empty, the person chooses.").view()}
                {Field::new(typed, "display_name", "Name to show").optional().hint("As others see it.").view()}
            </div>
            {tick_box("is_administrator", "May do everything", Some("People, tokens, credentials and the audit trail included. Otherwise nothing, before something is granted."), is_administrator)}
            {select(typed, "expires_in_hours", "The link works for", None, ages, "72")}
            <div class="form-end"><button class="button button-primary">"Make the link"</button></div>
        </form>
    }
}
