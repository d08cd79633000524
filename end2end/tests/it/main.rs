//! The product from outside, on a real Swarm. One binary, so that it is linked once.

mod access_entries;
mod acts;
mod approvals;
mod bad_input;
mod bed;
mod building;
mod building_classic;
mod building_far;
mod canaries;
mod client;
mod client_terminal;
mod crash;
mod diagnoses;
mod doors_agree;
mod environments;
mod everyday;
mod flukebase;
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "shared with the tests of the client"
)]
#[path = "../../../server/flukebase/tests/it/stand_in.rs"]
mod flukebase_stand_in;
mod forwarding;
mod full_disk;
mod health_entries;
mod hostile_builds;
mod hostile_logs;
mod hostile_names;
mod hostile_sources;
mod house;
mod ingress_alone;
mod jobs;
mod linked_data;
mod live;
mod log_command;
mod numbered_lines;
mod redaction;
mod search;
mod secrets;
mod soak;
mod sources;
mod strategies;
mod two_nodes;
mod validating;
mod webhooks;
mod yard;
mod zero_drop;
