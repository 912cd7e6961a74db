//! The hash chain over the journal's records. `docs/audit-format.md` describes the same bytes for
//! those who write a verifier of their own.

use crate::id::Digest;

/// Random bytes beside each body, so that a digest does not give away a body that was erased.
pub const SALT_BYTES: usize = 16;

/// What stands before the first record of a stream.
pub const GENESIS: Digest = Digest::from_bytes([0; 32]);

/// The hash of a record: over the hash before it and the header's bytes as stored.
#[must_use]
pub fn link(previous: &Digest, header: &[u8]) -> Digest {
    Digest::of("countersign/entry/1", &[previous.as_bytes(), header])
}

/// The salted digest by which a header commits to one body beside it.
#[must_use]
pub fn commit(field: &str, salt: &[u8; SALT_BYTES], body: &[u8]) -> Digest {
    Digest::of("countersign/field/1", &[field.as_bytes(), salt, body])
}

/// The text that a stream's signed head is over: everything up to and with record `sequence`.
#[must_use]
pub fn checkpoint(stream: &str, sequence: u64, head: &Digest) -> String {
    format!("countersign/checkpoint/1\n{stream}\n{sequence}\n{head}\n")
}
