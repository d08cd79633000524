//! Times: relative to read, exact in the title.

use flukedeploy_domain::timestamp::to_wire;
use leptos::prelude::*;
use time::OffsetDateTime;

use crate::words;

pub(crate) fn age(at: OffsetDateTime, now: OffsetDateTime) -> impl IntoView {
    view! {
        <time class="nowrap" datetime=to_wire(at) title=words::exact(at) data-relative="">
            {words::relative(at, now)}
        </time>
    }
}

/// How long something has been under way; counts on while the page is open.
pub(crate) fn ticking(since: OffsetDateTime, now: OffsetDateTime) -> impl IntoView {
    let ms = u64::try_from((now - since).whole_milliseconds()).unwrap_or(0);
    view! { <span data-since=to_wire(since)>{words::duration(ms / 1000 * 1000)}</span> }
}
