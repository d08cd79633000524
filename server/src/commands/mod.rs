//! One file per subcommand.

pub mod audit;
pub mod doctor;
pub mod down;
pub mod ingress;
pub mod logs;
pub mod mcp;
pub mod sample_app;
pub mod secrets;
pub mod serve;
pub mod up;

mod process;
mod token;
