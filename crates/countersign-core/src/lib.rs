//! The reference monitor: the vocabulary of a governed call, and the only road from an agent's
//! proposal to an effect in production.
//!
//! No I/O, no runtime, no clock, no randomness: whatever is outside reaches in through [`port`].
//! Start reading at [`call`]; everything else is what it speaks of.

#![cfg_attr(
    not(test),
    deny(clippy::wildcard_enum_match_arm, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

pub mod absence;
pub mod act;
pub mod alert;
pub mod args;
pub mod bound;
pub mod call;
pub mod chain;
mod definition;
pub mod draft;
pub mod id;
pub mod ladder;
pub mod person;
pub mod port;
pub mod posture;
pub mod principal;
pub mod quota;
pub mod reading;
pub mod recipient;
pub mod record;
pub mod refusal;
pub mod relaying;
pub mod scope;
pub mod screen;
pub mod sight;
pub mod tool;
mod trail;
