//! The product from outside, on a real Swarm. One binary, so that it is linked once.

mod acts;
mod bad_input;
mod bed;
mod crash;
mod diagnoses;
mod doors_agree;
mod everyday;
mod house;
mod ingress_alone;
mod soak;
mod strategies;
mod two_nodes;
mod zero_drop;
