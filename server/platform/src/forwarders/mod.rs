//! Log entries for others: the use cases, and the workers that bring the entries.
//!
//! A forwarder remembers one number, the place in the log store up to which everything is through,
//! and moves it on only when the receiver has taken what is before it. So after a crash, or an
//! answer that got lost, entries come twice; they never come in another order, and none is left out
//! in silence.

mod batch;
mod commands;
mod otlp;
mod syslog;
mod worker;

pub use commands::{
    ChangeForwarder, CreateForwarder, NewForwarder, TestResult, change_forwarder, create_forwarder,
    delete_forwarder, get_forwarder, list_forwarders, test_forwarder,
};
pub(crate) use worker::run;
