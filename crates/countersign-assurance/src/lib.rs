//! The evaluation suite: cases run against the real gateway, over copies of the systems, and judged by
//! what the journal and the systems' own logs say.
//!
//! [`isolate`](overlay::isolate) puts the run's own in the place of everything that reaches the real
//! world. [`run`](run::run) starts gateways as child processes and has an agent call them. [`judge`]
//! holds what happened against the case, and against what must hold of every case.

pub mod blast;
pub mod bound;
pub mod diff;
mod door;
pub mod fit;
pub mod generate;
mod hijacked;
pub mod judge;
mod markup;
pub mod mutate;
pub mod outside;
pub mod overlay;
mod own;
pub mod permission;
pub mod picture;
mod plant;
pub mod port;
mod preflight;
pub mod proof;
pub mod report;
pub mod review;
pub mod run;
mod sample;
pub mod script;
mod site;
pub mod solver;
mod stand_in;
pub mod svg;
pub mod threat;
pub mod whole;
mod world;

pub use door::Told;
pub use site::Ran;
pub use stand_in::Asked;
pub use world::Change;
