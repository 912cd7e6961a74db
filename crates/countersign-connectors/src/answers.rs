//! Answers to look-ups that are good for a while, where the posture says for how long.

use countersign_core::call::Inquiry;
use countersign_core::id::{Digest, Timestamp};
use countersign_core::port::Found;
use lru::LruCache;
use serde_json::Value;
use std::{num::NonZeroUsize, sync::Mutex};

/// Most answers remembered; the least recently used goes first.
const ANSWERS_MAX: NonZeroUsize = match NonZeroUsize::new(1_024) {
    Some(max) => max,
    None => NonZeroUsize::MIN,
};

/// What was answered before. It dies with the systems' settings: other systems, other answers.
#[derive(Debug)]
pub(crate) struct Answers(Mutex<LruCache<[u8; 32], Answer>>);

#[derive(Debug)]
struct Answer {
    found: Found,
    /// A clock that went back to before has no part in how long it holds.
    from: Timestamp,
    /// Exclusive.
    until: Timestamp,
}

/// What makes two inquiries one question: system, what is asked, tenant and values.
pub(crate) fn question(inquiry: &Inquiry) -> Digest {
    let query = inquiry.query();
    let mut values = Value::Object(inquiry.values().clone());
    values.sort_all_objects();
    Digest::of(
        "countersign/look-up/1",
        &[
            query.system.as_str().as_bytes(),
            query.plan.bounds.rows_max.to_be_bytes().as_slice(),
            query.plan.statement.as_bytes(),
            inquiry.tenant().as_str().as_bytes(),
            values.to_string().as_bytes(),
        ],
    )
}

impl Answers {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(ANSWERS_MAX)))
    }

    /// The answer, if it holds now. A poisoned list is left alone: every question is then asked.
    pub(crate) fn get(&self, question: &Digest, now: Timestamp) -> Option<Found> {
        let mut answers = self.0.lock().ok()?;
        let Answer { found, from, until } = answers.get(question.as_bytes())?;
        (from <= &now && &now < until).then(|| Found { cached: true, ..found.clone() })
    }

    pub(crate) fn put(&self, question: &Digest, found: &Found, from: Timestamp, held_ms: u32) {
        let micros = from.micros().saturating_add(i64::from(held_ms).saturating_mul(1_000));
        let answer = Answer { found: found.clone(), from, until: Timestamp::from_micros(micros) };
        if let Ok(mut answers) = self.0.lock() {
            answers.put(*question.as_bytes(), answer);
        }
    }
}
