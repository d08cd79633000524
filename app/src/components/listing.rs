//! A page that lists what there is and can make another.

use leptos::prelude::*;

use super::problem;
use crate::forms::Typed;

/// A table of things, each with a button or a link in its last cell.
pub(crate) fn table(heads: &[&'static str], rows: Vec<AnyView>) -> impl IntoView + use<> {
    let heads: Vec<_> = heads
        .iter()
        .map(|head| view! { <th scope="col">{*head}</th> })
        .collect();
    view! {
        <div class="table-wrap">
            <table class="table">
                <thead>
                    <tr>{heads}<th scope="col"><span class="visually-hidden">"Action"</span></th></tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
}

/// The form for another one, below those there are.
pub(crate) fn new_one(typed: &Typed, title: &'static str, form: impl IntoView) -> impl IntoView {
    view! {
        <section class="section" aria-labelledby="new">
            <div class="section-head"><h2 id="new">{title}</h2></div>
            {problem(typed)}
            {form}
        </section>
    }
}
