//! One integration binary for the crate.

#[cfg(test)] // Clippy's `allow-*-in-tests` looks for this, and not at the folder.
mod absence;
#[cfg(test)]
mod call;
#[cfg(test)]
mod drafts;
#[cfg(test)]
mod world;
