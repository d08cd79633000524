//! One file per subcommand.

pub mod audit;
pub mod doctor;
pub mod down;
pub mod ingress;
pub mod mcp;
pub mod sample_app;
pub mod secrets;
pub mod serve;
pub mod up;

pub(crate) mod apps;
pub(crate) mod completions;
pub(crate) mod deploy;
pub(crate) mod env;
pub(crate) mod history;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
pub(crate) mod open;
pub(crate) mod rollback;
pub(crate) mod scale;
pub(crate) mod servers;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod tokens;
pub(crate) mod validate;

mod process;
