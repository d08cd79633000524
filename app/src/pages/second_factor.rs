use std::fmt::Write as _;

use flukedeploy_domain::access::has_recent_proof;
use flukedeploy_platform::Error;
use flukedeploy_platform::people::{self, Offer};
use leptos::prelude::*;
use qrcode::{Color, EcLevel, QrCode};

use super::page;
use crate::components::{Crumb, Field, PageHead, Section, Tint, code, frame, notice, problem};
use crate::context::Desk;
use crate::forms::CODE;
use crate::forms::account::NEW_CODES;
use crate::paths;

/// White around a QR code that cameras need, in its squares.
const QUIET: usize = 4;

/// `/account/second-factor`: turn it on, make new recovery codes, turn it off.
#[component]
pub(crate) fn SecondFactorPage() -> impl IntoView {
    page(Desk::take(), second_factor)
}

async fn second_factor(desk: Desk) -> Result<AnyView, Error> {
    let account = people::account(&desk.px, &desk.actor).await?;
    let body = if account.has_second_factor {
        let left = account.recovery_codes_left;
        view! {
            {new_codes(&desk)}
            {present(left)}
        }
        .into_any()
    } else if has_recent_proof(&desk.actor, desk.now) {
        let offer = people::offer_second_factor(&desk.px, &desk.actor).await?;
        set_up(&desk, &offer).into_any()
    } else {
        ask_first().into_any()
    };
    let content = view! {
        {PageHead::new("Second factor")
            .crumbs(vec![Crumb::new("Your account", paths::ACCOUNT)])
            .lead("A code of an app on your telephone, beside the password.")
            .view()}
        {problem(&desk.typed)}
        {body}
    };
    Ok(frame(&desk, Section::None, content))
}

fn ask_first() -> impl IntoView {
    view! {
        <p class="soft">"Before you set it up, confirm that it is you."</p>
        <div class="form-end">
            <a class="button button-primary" href=paths::confirm_then(paths::SECOND_FACTOR)>"Confirm"</a>
        </div>
    }
}

fn set_up(desk: &Desk, offer: &Offer) -> impl IntoView + use<> {
    view! {
        <section class="section" aria-labelledby="scan">
            <div class="section-head"><h2 id="scan">"Scan this with your authenticator"</h2></div>
            {qr(offer.address.expose())}
            <p class="soft">"Or type this into it:"</p>
            {code("factor-secret", offer.secret.expose().to_owned())}
        </section>
        <section class="section" aria-labelledby="prove">
            <div class="section-head"><h2 id="prove">"Then type the code that it shows"</h2></div>
            <form class="form" method="post" action=paths::SECOND_FACTOR>
                {Field::new(&desk.typed, CODE, "Code").autocomplete("one-time-code").number().view()}
                <div class="form-end"><button class="button button-primary">"Turn it on"</button></div>
            </form>
        </section>
    }
}

fn present(left: u32) -> impl IntoView {
    view! {
        <section class="section" aria-labelledby="codes">
            <div class="section-head"><h2 id="codes">"Recovery codes"</h2></div>
            <p class="soft">{format!("For when the telephone is not at hand. {left} are left; new ones void the old.")}</p>
            <form class="form-end" method="post" action=paths::RECOVERY_CODES>
                <button class="button">"Make new recovery codes"</button>
            </form>
        </section>
        <section class="section danger" aria-labelledby="off">
            <div>
                <h2 id="off">"Turn it off"</h2>
                <p>"A password is all that signing in takes then."</p>
            </div>
            <form method="post" action=paths::SECOND_FACTOR_OFF>
                <button class="button button-danger">"Turn off"</button>
            </form>
        </section>
    }
}

fn new_codes(desk: &Desk) -> Option<impl IntoView + use<>> {
    let codes: Vec<&str> = desk.typed.all(NEW_CODES).collect();
    (!codes.is_empty()).then(|| {
        view! {
            <div class="aside">
                {notice(
                    Tint::Good,
                    "The second factor is on. Keep these recovery codes.".to_owned(),
                    Some("Each lets you in once without your telephone. They will not be shown again.".to_owned()),
                )}
                {code("recovery-codes", codes.join("\n"))}
            </div>
        }
    })
}

/// One path of squares: an image that needs neither a script nor another request.
fn qr(text: &str) -> Option<impl IntoView + use<>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let mut squares = String::new();
    for (at, colour) in code.to_colors().into_iter().enumerate() {
        if colour == Color::Dark {
            let (x, y) = (at % width + QUIET, at / width + QUIET);
            // Writing to a String cannot fail.
            let _ = write!(squares, "M{x} {y}h1v1h-1z");
        }
    }
    let side = width + 2 * QUIET;
    Some(view! {
        <svg class="qr" viewBox=format!("0 0 {side} {side}") role="img" aria-label="QR code for an authenticator" shape-rendering="crispEdges">
            <path d=squares></path>
        </svg>
    })
}
