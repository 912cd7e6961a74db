//! The journal: what happened, kept so that nobody can change it unnoticed.
//!
//! [`SqliteStore`] writes it, [`audit`] reads it and verifies it, [`Index`] finds things in it. What
//! the tests of other crates and the conformance suite measure against is [`MemoryJournal`], and for the
//! index [`Scan`]. The bytes are a published format: `docs/audit-format.md`.

mod answer;
pub mod audit;
mod bound;
mod codec;
mod counters;
mod desk;
mod disk;
mod file;
mod index;
mod key;
mod memory;
mod place;
mod refusals;
mod scan;
mod sqlite;
mod witness;

pub use disk::Disk;
pub use index::Index;
pub use key::{KeyError, PublicKey};
pub use memory::MemoryJournal;
pub use scan::Scan;
pub use sqlite::{Config, SqliteStore, StoreError};
pub use witness::Witness;
