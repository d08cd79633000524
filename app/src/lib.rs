//! The dashboard: pages rendered on the server, forms that are plain posts, and the few scripts
//! that keep what is shown true.
//!
//! Every page and form works without JavaScript. This crate decides nothing and stores nothing: it
//! parses, calls a use case of `flukedeploy-platform` and draws the answer. It must never name
//! bollard or sqlx, and no value of a variable or token may reach a page, but for a token's one
//! appearance when it is made.
#![recursion_limit = "512"]

mod assets;
mod client;
mod components;
mod context;
mod csrf;
mod forms;
mod headers;
mod hosts;
mod offers;
mod origin;
mod pages;
mod paths;
mod render;
mod router;
mod routes;
mod session;
mod shell;
mod words;

pub use client::address as client_address;
pub use client::origin as person_origin;
pub use origin::origin_of;
pub use router::{
    DashboardSettings, FORM_ADDRESSES, accept_session, dashboard_router, page_addresses,
};
pub use session::{note_proof, owner_of, renew, still_signed_in};
