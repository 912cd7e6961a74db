//! Drafts in the index: when each was proposed, when and how it ceased to wait, and which records are
//! about it. Who decided is a body of the journal that can be erased: it is read there.

use crate::answer::ends;
use countersign_core::record::Kind;
use rusqlite::{Connection, params};
use serde_json::{Map, Value};

/// Takes notice of a record, if it is about a draft.
pub(super) fn take(
    index: &Connection,
    (place, at): (i64, i64),
    header: &Map<String, Value>,
) -> rusqlite::Result<()> {
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    let Some(draft) = text("draft") else { return Ok(()) };
    let kind = text("kind").and_then(Kind::parse);
    index.prepare_cached("INSERT INTO of_drafts VALUES (?1, ?2, ?3)")?.execute(params![
        draft,
        place,
        kind == Some(Kind::DraftPreviewed)
    ])?;
    match kind {
        Some(Kind::DraftProposed) => {
            index
                .prepare_cached(
                    "INSERT INTO drafts VALUES (?1, ?2, ?3, ?4, NULL, NULL) ON CONFLICT DO NOTHING",
                )?
                .execute(params![draft, text("tenant"), at, i64::MAX])?;
        }
        Some(kind) if ends(kind) => {
            index
                .prepare_cached(
                    "UPDATE drafts SET ended = ?2, how = ?3, place = ?4
                     WHERE draft = ?1 AND how IS NULL",
                )?
                .execute(params![draft, at, kind.as_str(), place])?;
        }
        _ => {}
    }
    Ok(())
}
