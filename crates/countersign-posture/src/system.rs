//! `systems/NAME.yaml`: one production system and the bounds of everything that is asked of it.

use crate::bound::{
    CONCURRENCY_DEFAULT, CONCURRENCY_MAX, RESULT_BYTES_MAX, ROWS_MAX, TIMEOUT_MS_MAX,
};
use crate::decode::{Decoder, Item, Spanned};
use crate::finding::Place;
use countersign_core::id::SystemName;
use countersign_core::tool::ResultBounds;

/// A production system of the posture. Its tools' plans carry the timeout and bounds already.
#[derive(Debug, Clone)]
pub struct SystemSpec {
    /// Its name.
    pub name: SystemName,
    /// What it is, and where by reference.
    pub backend: Backend,
    /// How long one statement may run, in milliseconds.
    pub timeout_ms: u32,
    /// What may come back from a tool that does not say otherwise.
    pub bounds: ResultBounds,
    /// Most statements at once.
    pub concurrency: u32,
    /// Where the reference is written.
    pub place: Place,
}

/// How a system is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// An SQLite database.
    Sqlite {
        /// The deployment's reference that resolves to its file.
        database: String,
    },
}

impl Backend {
    /// The deployment's reference that it needs.
    #[must_use]
    pub fn reference(&self) -> &str {
        match self {
            Self::Sqlite { database } => database,
        }
    }
}

/// What a system's file says.
#[derive(Debug)]
pub(crate) struct SystemFile {
    pub(crate) name: Option<Spanned<SystemName>>,
    pub(crate) spec: Option<SystemSpec>,
}

pub(crate) fn decode(decoder: &mut Decoder) -> Option<SystemFile> {
    let node = decoder.read()?;
    let mut fields = decoder.fields(Item { name: "the system", node: &node })?;
    let name =
        fields.required(decoder, "system").and_then(|item| decoder.name(item, SystemName::new));
    if let Some(name) = &name {
        decoder.named_after_file(name.value.as_str(), name.span);
    }
    let backend = fields.required(decoder, "sqlite").and_then(|item| decode_sqlite(decoder, item));
    let timeout_ms = fields
        .required(decoder, "timeout")
        .and_then(|item| decoder.quantity(item, &DURATIONS, TIMEOUT_MS_MAX));
    let rows_max = fields.required(decoder, "rows").and_then(|item| decoder.count(item, ROWS_MAX));
    let bytes_max = fields
        .required(decoder, "bytes")
        .and_then(|item| decoder.quantity(item, &SIZES, RESULT_BYTES_MAX));
    let concurrency = match fields.optional("concurrency") {
        Some(item) => decoder.count(item, CONCURRENCY_MAX),
        None => Some(CONCURRENCY_DEFAULT),
    };
    fields.finish(decoder);
    let spec = || {
        let Spanned { value: reference, span } = backend?;
        Some(SystemSpec {
            name: name.as_ref()?.value.clone(),
            backend: Backend::Sqlite { database: reference },
            timeout_ms: timeout_ms?,
            bounds: ResultBounds { rows_max: rows_max?, bytes_max: bytes_max? },
            concurrency: concurrency?,
            place: decoder.place(span),
        })
    };
    let spec = spec();
    Some(SystemFile { name, spec })
}

fn decode_sqlite(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<String>> {
    let mut fields = decoder.fields(item)?;
    let database = fields.required(decoder, "database").and_then(|item| {
        // A reference is a name like any other; the deployment's keys are checked the same way.
        let name = decoder.name(item, SystemName::new)?;
        Some(Spanned { value: name.value.to_string(), span: name.span })
    });
    fields.finish(decoder);
    database
}

pub(crate) const DURATIONS: [(&str, u32); 3] = [("m", 60_000), ("s", 1_000), ("ms", 1)];
pub(crate) const SIZES: [(&str, u32); 3] = [("MiB", 1024 * 1024), ("KiB", 1024), ("B", 1)];
