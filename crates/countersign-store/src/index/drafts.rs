//! Drafts in the index: when each was proposed, when and how it ceased to wait, who decided, and which
//! records are about it.

use super::header::Header;
use crate::answer::{ends, known_by, said};
use crate::place;
use countersign_core::id::Digest;
use countersign_core::record::Kind;
use rusqlite::{Connection, params};

/// Takes notice of a record, if it is about a draft.
pub(super) fn take(
    (index, journal): (&Connection, &Connection),
    (place, at): (i64, i64),
    header: &Header<'_>,
) -> rusqlite::Result<()> {
    let Some(draft) = header.draft.as_deref() else { return Ok(()) };
    let kind = header.kind.as_deref().and_then(Kind::parse);
    let person = match kind {
        Some(Kind::DraftApproved | Kind::DraftRejected | Kind::DraftPreviewed) => {
            person(index, journal, place)?
        }
        _ => None,
    };
    let shown = person.filter(|_| kind == Some(Kind::DraftPreviewed));
    index
        .prepare_cached("INSERT INTO of_drafts VALUES (?1, ?2, ?3)")?
        .execute(params![draft, place, shown])?;
    match kind {
        Some(Kind::DraftProposed) => {
            index
                .prepare_cached(
                    "INSERT INTO drafts (draft, tenant, proposed, ended) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![draft, header.tenant.as_deref(), at, i64::MAX])?;
        }
        Some(kind) if ends(kind) => {
            index
                .prepare_cached(
                    "UPDATE drafts SET ended = ?2, how = ?3, place = ?4, person = ?5,
                       shown = EXISTS (SELECT 1 FROM of_drafts WHERE draft = ?1 AND person = ?5)
                     WHERE draft = ?1 AND how IS NULL",
                )?
                .execute(params![draft, at, kind.as_str(), place, person])?;
        }
        _ => {}
    }
    Ok(())
}

/// The number of the person that a record's body names.
fn person(index: &Connection, journal: &Connection, place: i64) -> rusqlite::Result<Option<i64>> {
    let bodies = place::body_rows(place);
    let mut person = journal.prepare_cached(
        "SELECT body FROM bodies WHERE place >= ?1 AND place < ?2 AND field = 'person'",
    )?;
    let mut rows = person.query((bodies.start, bodies.end))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let body = row.get_ref(0)?.as_bytes().unwrap_or_default();
    let Some(who) = said(body) else { return Ok(None) };
    let (issuer, id) = known_by(&who);
    let digest = Digest::of("countersign/decides/1", &[issuer.as_bytes(), id.as_bytes()]);
    index
        .prepare_cached("INSERT INTO people (digest) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([digest.as_bytes()])?;
    let mut number = index.prepare_cached("SELECT id FROM people WHERE digest = ?1")?;
    number.query_row([digest.as_bytes()], |row| row.get(0)).map(Some)
}
