//! All that speaks a protocol to agents: identity, and the two doors to the one pipeline.
//!
//! A request passes [`guard`] (is it meant for us, and small enough?), then identity (whose is
//! it?), then its door, which turns it into a [`countersign_core::call::Proposed`] and writes the
//! [`countersign_core::call::Answer`] down. A door decides nothing.

pub mod bound;
mod connections;
mod console;
pub mod development;
pub mod door;
mod driver;
pub mod guard;
pub mod identity;
pub mod oidc;
mod patient;
pub mod resource;
pub mod serve;
