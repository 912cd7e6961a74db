//! One integration binary for the crate.

#[cfg(test)] // Clippy's `allow-*-in-tests` looks for this, and not at the folder.
mod call;
#[cfg(test)]
#[expect(dead_code, reason = "other crates' tests use it")]
mod nobody;
#[cfg(test)]
mod world;
