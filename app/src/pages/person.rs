use flukedeploy_platform::people::{self, PersonView};
use leptos::prelude::*;

use super::{page, parameter};
use crate::components::{Crumb, Field, PageHead, Section, frame, removal};
use crate::context::Desk;
use crate::paths;

/// `/people/{id}/delete`: an account that is gone does not come back.
#[component]
pub(crate) fn DeletePersonPage() -> impl IntoView {
    let id = parameter("id");
    page(Desk::take(), async move |desk| {
        let person = people::person(&desk.px, &desk.actor, &id).await?;
        Ok(delete(&desk, &person))
    })
}

fn delete(desk: &Desk, person: &PersonView) -> AnyView {
    let name = &person.name;
    let more = view! {
        <ul class="soft">
            <li>"The sessions of this person end at once, and the tokens are revoked."</li>
            <li>"Invitations that were not used yet are revoked."</li>
            <li>"What was done stays in the audit trail."</li>
        </ul>
        {Field::new(&desk.typed, "confirm", "Type the person's name").placeholder(name.clone()).mono().autofocus().view()}
    };
    let content = view! {
        {PageHead::new(format!("Delete {name}"))
            .crumbs(vec![Crumb::new("People", paths::PEOPLE)])
            .lead("There is no way back; the person can be invited anew.")
            .view()}
        {removal(&desk.typed, paths::delete_person(&person.id), more, format!("Delete {name}"), paths::PEOPLE.to_owned())}
    };
    frame(desk, Section::People, content)
}

/// `/people/{id}/reset`: for somebody who lost the telephone.
#[component]
pub(crate) fn ResetPersonPage() -> impl IntoView {
    let id = parameter("id");
    page(Desk::take(), async move |desk| {
        let person = people::person(&desk.px, &desk.actor, &id).await?;
        Ok(reset(&desk, &person))
    })
}

fn reset(desk: &Desk, person: &PersonView) -> AnyView {
    let name = &person.name;
    let content = view! {
        {PageHead::new(format!("Take the second factor of {name} away"))
            .crumbs(vec![Crumb::new("People", paths::PEOPLE)])
            .lead("Be sure that it is this person who asks. A password is all that signing in takes then, and all sessions of this person end.")
            .view()}
        {removal(&desk.typed, paths::reset_person(&person.id), (), "Take it away".to_owned(), paths::PEOPLE.to_owned())}
    };
    frame(desk, Section::People, content)
}
