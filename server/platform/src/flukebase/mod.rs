//! `FlukeBase`: which app belongs to which project, and all that goes there and comes from there.
//!
//! Whatever is sent about a deployment was queued in the transaction of its step and goes out later,
//! so that `FlukeBase` can be slow, away or wrong without any deployment noticing. Variables come from
//! what it said last: a deployment asks for fresh ones and waits for none.

mod commands;
mod link;
mod live;
mod outbox;
mod presence;
mod tasks;
mod variables;

pub use commands::{
    BindingChange, ChangeFlukebase, Connection, FlukebaseView, LiveState, OutboxView, TokenSource,
    TokenView, change_flukebase, view_flukebase,
};
pub(crate) use link::Link;
pub(crate) use variables::{borrow, wanted_soon};

use crate::platform::Platform;

/// Starts what works in the background.
pub(crate) fn start(px: &Platform) {
    let tasks = &px.parts().tasks;
    tasks.spawn(outbox::run(px.clone()));
    tasks.spawn(variables::run(px.clone()));
    tasks.spawn(presence::run(px.clone()));
    tasks.spawn(live::run(px.clone()));
}
