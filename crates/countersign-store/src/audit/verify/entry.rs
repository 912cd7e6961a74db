//! One entry: its header, its bodies, and what it says of other entries.

use crate::audit::verify::{StreamRow, Verifier, bytes, digest, text};
use crate::counters;
use crate::place::{self, intent_of};
use countersign_core::chain;
use countersign_core::id::Digest;
use countersign_core::record::{FORMAT, Kind};
use rusqlite::{OptionalExtension as _, params};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An entry as it is in its row.
pub(super) struct EntryRow {
    pub(super) seq: i64,
    pub(super) header: Vec<u8>,
    pub(super) hash: Digest,
    pub(super) at: i64,
    /// Empty if it is of none.
    pub(super) call: Vec<u8>,
}

impl Verifier<'_> {
    /// Checks an entry, and says what kind it is if that can be told.
    pub(super) fn entry(
        &mut self,
        stream: &StreamRow,
        entry: &EntryRow,
    ) -> rusqlite::Result<Option<Kind>> {
        let (name, seq) = (stream.stream.as_str(), entry.seq);
        let Ok(Value::Object(header)) = serde_json::from_slice(&entry.header) else {
            self.find(Some(name), Some(seq), "its header is not a JSON object");
            return Ok(None);
        };
        if serde_json_canonicalizer::to_vec(&header).ok().as_ref() != Some(&entry.header) {
            self.find(Some(name), Some(seq), "its header is not in canonical form");
        }
        if header.get("v").and_then(Value::as_u64) != Some(FORMAT) {
            self.find(Some(name), Some(seq), format!("its format is not {FORMAT}"));
        }
        if header.get("stream").and_then(Value::as_str) != Some(name)
            || header.get("seq").and_then(Value::as_i64) != Some(seq)
        {
            self.find(Some(name), Some(seq), "its header gives it another place");
        }
        if header.get("at").and_then(Value::as_i64) != Some(entry.at) {
            self.find(Some(name), Some(seq), "its header has no time, or its row another");
        }
        if header.get("call").and_then(Value::as_str).unwrap_or_default().as_bytes() != entry.call {
            self.find(Some(name), Some(seq), "its row is of another call than its header");
        }
        let told = self.bodies(stream, seq, &header)?;
        let kind = header.get("kind").and_then(Value::as_str).and_then(Kind::parse);
        if (kind == Some(Kind::StreamOpened)) != (seq == 0) {
            self.find(Some(name), Some(seq), "a stream begins with `stream_opened`, once");
        }
        match kind {
            None => self.find(Some(name), Some(seq), "its kind is not known"),
            Some(Kind::StreamOpened) => self.opened(stream, seq, &header)?,
            Some(Kind::Intent) => self.intent(name, seq, &header),
            Some(Kind::Outcome) => self.outcome(name, seq, &header),
            Some(Kind::Alerted) => self.alert(name, seq, &header),
            Some(_) => {}
        }
        if let Some(Err(what)) = kind.map(|kind| self.told.take(kind, &header, told)) {
            self.find(Some(name), Some(seq), what);
        }
        Ok(kind)
    }

    /// Each body that the header commits to is there and is that one, and there is no other. The digest
    /// of its arguments, or of a delegation's terms, if it has any.
    fn bodies(
        &mut self,
        stream: &StreamRow,
        seq: i64,
        header: &Map<String, Value>,
    ) -> rusqlite::Result<Option<Digest>> {
        let name = stream.stream.as_str();
        let mut told = None;
        let mut statement = self.connection.prepare_cached(
            "SELECT field, salt, body FROM bodies WHERE place >= ?1 AND place < ?2",
        )?;
        let places = place::body_rows(place::rows(stream.epoch).start.saturating_add(seq));
        let mut found: BTreeMap<String, Digest> = BTreeMap::new();
        let mut rows = statement.query([places.start, places.end])?;
        while let Some(row) = rows.next()? {
            let (field, salt, body) = (text(row, 0)?, bytes(row, 1)?, bytes(row, 2)?);
            match field.as_str() {
                counters::FIELD => self.charges(name, seq, header, &body),
                counters::RETURNED => self.given_back(name, seq, header, &body),
                "arguments" | "terms" => told = Some(Digest::sha256(&body)),
                _ => {}
            }
            match salt.as_slice().try_into() {
                Ok(salt) => {
                    let digest = chain::commit(&field, salt, &body);
                    if found.insert(field.clone(), digest).is_some() {
                        let what = format!("it has two bodies `{field}`");
                        self.find(Some(name), Some(seq), what);
                    }
                }
                Err(_other_length) => {
                    let what = format!("the salt of its body `{field}` has another length");
                    self.find(Some(name), Some(seq), what);
                }
            }
        }
        let Some(fields) = header.get("fields").and_then(Value::as_object) else {
            self.find(Some(name), Some(seq), "its header does not say which bodies it has");
            return Ok(told);
        };
        for (field, committed) in fields {
            let what = match found.remove(field) {
                Some(digest) if committed.as_str() == Some(&digest.to_string()) => continue,
                Some(_) => format!("its body `{field}` is not the one its header commits to"),
                None => format!("its body `{field}` is missing"),
            };
            self.find(Some(name), Some(seq), what);
        }
        for field in found.keys() {
            let what = format!("its header does not commit to the body `{field}`");
            self.find(Some(name), Some(seq), what);
        }
        Ok(told)
    }

    /// The heads that it names are the ends of those streams, so that a later cut is seen here.
    fn opened(
        &mut self,
        stream: &StreamRow,
        seq: i64,
        header: &Map<String, Value>,
    ) -> rusqlite::Result<()> {
        let name = stream.stream.as_str();
        if header.get("epoch").and_then(Value::as_i64) != Some(stream.epoch) {
            self.find(Some(name), Some(seq), "its epoch is another than its stream's");
        }
        let Some(earlier) = header.get("earlier").and_then(Value::as_array) else {
            self.find(Some(name), Some(seq), "it does not name the earlier streams");
            return Ok(());
        };
        for head in earlier {
            let other = head.get("stream").and_then(Value::as_str).unwrap_or_default();
            let at = head.get("seq").and_then(Value::as_i64);
            let hash = head.get("hash").and_then(Value::as_str).unwrap_or_default();
            let last: Option<(i64, Digest)> = self
                .connection
                .prepare_cached(
                    "SELECT place - (epoch << ?2), hash FROM entries JOIN streams
                       ON place >= epoch << ?2 AND place < (epoch + 1) << ?2
                     WHERE stream = ?1 ORDER BY place DESC LIMIT 1",
                )?
                .query_row(params![other, place::SEQUENCE_BITS], |row| {
                    Ok((row.get(0)?, digest(&bytes(row, 1)?)))
                })
                .optional()?;
            self.named.insert(other.to_owned());
            if last.is_none_or(|(seq, found)| Some(seq) != at || found.to_string() != hash) {
                let what = format!("it names an end of stream {other} that is not there any more");
                self.find(Some(name), Some(seq), what);
            }
        }
        Ok(())
    }

    /// An alert names a record before it, of which its rule raises no other.
    fn alert(&mut self, name: &str, seq: i64, header: &Map<String, Value>) {
        let rule = header.get("alert").and_then(Value::as_str).unwrap_or_default();
        let Some((stream, at)) = header.get("cause").and_then(intent_of) else {
            return self.find(Some(name), Some(seq), "it names no cause");
        };
        let last = match stream == name {
            true => seq.saturating_sub(1),
            false => {
                let earlier = self.streams.iter().find(|head| head.stream == stream);
                earlier.map_or(-1, |head| head.seq)
            }
        };
        if i64::try_from(at).is_ok_and(|at| at > last) {
            self.find(Some(name), Some(seq), "its cause is no entry before it");
        }
        if !self.alerts.insert((rule.to_owned(), stream.to_owned(), at)) {
            self.find(Some(name), Some(seq), "another alert of its rule has the same cause");
        }
    }

    fn intent(&mut self, name: &str, seq: i64, header: &Map<String, Value>) {
        match (header.get("call").and_then(Value::as_str), u64::try_from(seq)) {
            (Some(call), Ok(seq)) => {
                self.waiting.insert((name.to_owned(), seq), call.to_owned());
            }
            _ => self.find(Some(name), Some(seq), "it names no call"),
        }
    }

    /// An outcome belongs to an intent of the same call that has none yet; after one that recovery
    /// wrote, the real one may still follow.
    fn outcome(&mut self, name: &str, seq: i64, header: &Map<String, Value>) {
        let Some((stream, intent)) = header.get("intent").and_then(intent_of) else {
            return self.find(Some(name), Some(seq), "it names no intent");
        };
        let place = (stream.to_owned(), intent);
        let recovered = header.get("recovered").and_then(Value::as_bool) == Some(true);
        let call = match (self.waiting.remove(&place), recovered) {
            (Some(call), true) => {
                self.unknown.insert(place, call.clone());
                Some(call)
            }
            (Some(call), false) => Some(call),
            (None, true) => None,
            (None, false) => self.unknown.remove(&place),
        };
        match call {
            None => self.find(
                Some(name),
                Some(seq),
                format!("entry {intent} of stream {stream} is no intent that waits for an outcome"),
            ),
            Some(call) if header.get("call").and_then(Value::as_str) != Some(&call) => {
                self.find(Some(name), Some(seq), "it is of another call than its intent");
            }
            Some(_) => {}
        }
    }
}
