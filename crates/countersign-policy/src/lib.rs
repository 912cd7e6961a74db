//! The policy decision point, and the only crate that names Cedar.
//!
//! [`Bundle::compile`] turns a checked posture into Cedar text, one slice of policies and one of
//! schema per tool, and validates each slice strictly. A decision is then a pure function of the
//! bundle and the question: [`Bundle`] implements [`countersign_core::port::Pdp`].
//!
//! Policies that people write stand beside the generated ones of the tools they bear on. They only
//! narrow: what is wrong with them, and what would widen, is a [`Mistake`] with its place.

#![cfg_attr(
    not(test),
    deny(clippy::wildcard_enum_match_arm, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

mod authored;
mod bundle;
mod decide;
#[cfg(test)]
mod fixture;
mod input;
mod text;

pub use authored::{
    Mistake, MistakeKind, NAMES_PER_POLICY_MAX, POLICIES_PER_TOOL_MAX, PolicyFile, Unknown,
};
pub use bundle::{Authored, Bundle, CompileError, mistakes, schema, schema_beside};
pub use text::groups;
