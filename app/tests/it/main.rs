//! Pages and forms against the real store, without a network: requests go straight to the router.

mod browser;
mod forms;
mod pages;
mod session;
mod support;
