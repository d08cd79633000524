//! The product from outside, on a real Swarm. One binary, so that it is linked once.

mod acts;
mod bad_input;
mod bed;
mod building;
mod crash;
mod diagnoses;
mod doors_agree;
mod environments;
mod everyday;
mod hostile_builds;
mod hostile_names;
mod hostile_sources;
mod house;
mod ingress_alone;
mod jobs;
mod search;
mod soak;
mod sources;
mod strategies;
mod two_nodes;
mod webhooks;
mod yard;
mod zero_drop;
