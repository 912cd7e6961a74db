//! The journal's Ed25519 key: it signs heads, and whoever has the public half can tell a journal
//! that was cut short or written anew from one that was not.

use crate::file::beside;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use countersign_core::port::Entropy;
use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes of a seed, and of a public key.
const KEY_BYTES: usize = 32;

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 32 bytes in hex.
    #[error("a key is 64 hexadecimal digits")]
    Format,
    /// 32 bytes that are no Ed25519 key.
    #[error("the bytes are no Ed25519 key")]
    Rejected,
}

/// The public half: 32 bytes, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Reads a public key, with or without white space around it.
    ///
    /// # Errors
    /// [`KeyError::Format`] for anything but 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Ok(Self(decode(text)?))
    }

    /// Where `create` writes it: beside the signing key, with `.pub` added to its name.
    #[must_use]
    pub fn beside(key: &Path) -> PathBuf {
        beside(key, ".pub")
    }

    /// What people compare: `SHA256:` and the digest of its 32 bytes in hexadecimal, as
    /// `sha256sum` would give it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", hex::encode(digest(&SHA256, &self.0)))
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn signed(&self, message: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message.as_bytes(), signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// The private half. It does not show itself.
pub(crate) struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Makes a key; the text is what [`SigningKey::parse`] reads.
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<(Self, String), KeyError> {
        let mut seed = [0; KEY_BYTES];
        entropy.fill(&mut seed);
        let text = hex::encode(seed);
        Ok((Self::parse(&text)?, text))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, KeyError> {
        match Ed25519KeyPair::from_seed_unchecked(&decode(text)?) {
            Ok(pair) => Ok(Self(pair)),
            Err(_the_library_gives_no_reason) => Err(KeyError::Rejected),
        }
    }

    pub(crate) fn public(&self) -> Result<PublicKey, KeyError> {
        match self.0.public_key().as_ref().try_into() {
            Ok(bytes) => Ok(PublicKey(bytes)),
            Err(_other_length) => Err(KeyError::Rejected),
        }
    }

    pub(crate) fn sign(&self, message: &str) -> Vec<u8> {
        self.0.sign(message.as_bytes()).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

fn decode(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    let mut bytes = [0; KEY_BYTES];
    match hex::decode_to_slice(text.trim(), &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_which_digit_does_not_matter) => Err(KeyError::Format),
    }
}

/// The text whose signature says which stream is the newest, so that the last stream cannot be
/// taken out whole. `epoch` 0 and no name: no stream has begun.
pub(crate) fn latest(epoch: i64, stream: &str) -> String {
    format!("countersign/latest/1\n{epoch}\n{stream}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed;
    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[test]
    fn a_signature_holds_for_its_text_and_key_alone() {
        let (key, text) = SigningKey::generate(&Fixed).unwrap();
        let public = key.public().unwrap();
        let signature = SigningKey::parse(&text).unwrap().sign("a");
        assert!(public.signed("a", &signature));
        assert!(!public.signed("b", &signature));
        assert!(!PublicKey::parse(&hex::encode([1; 32])).unwrap().signed("a", &signature));
        assert_eq!(PublicKey::parse(&format!(" {public}\n")), Ok(public));
        // printf 07…07 | xxd -r -p | sha256sum
        assert_eq!(
            PublicKey::parse(&"07".repeat(32)).unwrap().fingerprint(),
            "SHA256:4bb06f8e4e3a7715d201d573d0aa423762e55dabd61a2c02278fa56cc6d294e0"
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "00", "zz", &"0".repeat(63), &"0".repeat(66)] {
            assert_eq!(PublicKey::parse(text), Err(KeyError::Format), "{text}");
        }
    }
}
