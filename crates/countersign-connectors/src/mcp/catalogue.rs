//! What a server defines, held against what was reviewed.

use super::conversation::{Asking, Conversation};
use super::headers::{self, Mirror};
use super::{McpSystem, Server, Trouble};
use countersign_core::id::Digest;
use countersign_core::port::DefinitionChange;
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::tool::{Defined, Pin};
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use similar::TextDiff;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Most pages of a list, and most that all of them define.
const PAGES_MAX: usize = 100;
const DEFINITIONS_MAX: usize = 10_000;
/// Most bytes of one page.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most changes that wait to be recorded; what changes again and again is told of as it is last.
const CHANGES_MAX: usize = 1_024;
/// Most bytes of how a definition differs that people are shown.
const DIFF_BYTES_MAX: usize = 8 * 1024;

/// Longest definition that is compared line by line, in bytes, and for how long.
const COMPARED_BYTES_MAX: usize = 256 * 1024;
const COMPARED_FOR_MAX: Duration = Duration::from_millis(100);
/// Most bytes of all that is defined.
const DEFINED_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(super) type Named = (Defined, String);

/// What is known of the definitions.
#[derive(Debug)]
pub(super) struct Catalogue {
    pins: Vec<Arc<Pin>>,
    mirrors: BTreeMap<Digest, Result<Vec<Mirror>, String>>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What is not as it was reviewed, and what it is instead.
    differing: BTreeMap<Named, Option<Digest>>,
    changes: BTreeMap<Named, DefinitionChange>,
}

impl Catalogue {
    pub(super) fn new(pins: Vec<Arc<Pin>>) -> Self {
        let schema = |pin: &Pin| pin.definition.get("inputSchema").cloned().unwrap_or_default();
        let mirrors = pins.iter().map(|pin| (pin.digest, headers::mirrors(&schema(pin)))).collect();
        Self { pins, mirrors, known: Mutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is known that the server defines it otherwise.
    pub(super) fn differs(&self, pin: &Pin) -> bool {
        self.known().differing.contains_key(&pin.of)
    }

    pub(super) fn changes(&self) -> Vec<DefinitionChange> {
        std::mem::take(&mut self.known().changes).into_values().collect()
    }

    /// The arguments that are said again in headers.
    pub(super) fn mirrored(
        &self,
        pin: &Pin,
        params: &Map<String, Value>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Trouble> {
        match self.mirrors.get(&pin.digest) {
            Some(Ok(mirrors)) if mirrors.is_empty() => Ok(Vec::new()),
            Some(Ok(mirrors)) => Ok(headers::mirrored(mirrors, params)),
            Some(Err(why)) => Err(Trouble::unasked(SystemFaultKind::Failed, why)),
            None => {
                let detail = "its definition is none of those that are looked after";
                Err(Trouble::unasked(SystemFaultKind::Failed, detail))
            }
        }
    }

    /// Asks what the server defines, and holds it against what was reviewed. What is found to differ
    /// is withdrawn for everybody; what is found to be as it was is back only if it is found in the
    /// gateway's own conversation: a server may tell one caller one thing and another another.
    pub(super) async fn hold(
        &self,
        server: &Server,
        (conversation, own): (&Conversation, bool),
    ) -> Result<BTreeSet<Named>, Trouble> {
        let kinds: BTreeSet<_> = self.pins.iter().map(|pin| pin.of.0).collect();
        let mut found = BTreeMap::new();
        for kind in kinds {
            for definition in list(server, conversation, kind).await? {
                let named = (kind, kind.name(&definition).unwrap_or_default().to_owned());
                // Two of one name are nothing that anybody reviewed.
                let alone = !found.contains_key(&named);
                found.insert(named, alone.then_some(definition));
            }
        }
        let now = |pin: &Pin| {
            let definition = found.get(&pin.of).cloned().flatten()?;
            pin.of.0.pin(&definition).ok()
        };
        let now: Vec<_> = self.pins.iter().map(|pin| (pin, now(pin))).collect();
        let differs = |(pin, now): &(&Arc<Pin>, Option<(_, Digest)>)| {
            let same = now.as_ref().is_some_and(|(_, digest)| *digest == pin.digest);
            (!same).then(|| pin.of.clone())
        };
        let differing: BTreeSet<Named> = now.iter().filter_map(differs).collect();
        for (pin, now) in now {
            let digest = now.as_ref().map(|(_, digest)| *digest);
            if self.is_news(pin, digest, own) {
                // Beside the lock: whoever lists tools does not wait for it.
                let diff = diff(&pin.definition, now.map(|(definition, _)| definition));
                self.tell(DefinitionChange {
                    of: pin.of.clone(),
                    pinned: pin.digest,
                    found: digest,
                    diff,
                });
            }
        }
        Ok(differing)
    }

    /// Withdraws what differs, and brings back what is as it was; says whether that is news.
    fn is_news(&self, pin: &Pin, digest: Option<Digest>, own: bool) -> bool {
        let mut known = self.known();
        if digest == Some(pin.digest) {
            return own && known.differing.remove(&pin.of).is_some();
        }
        known.differing.insert(pin.of.clone(), digest) != Some(digest)
    }

    fn tell(&self, change: DefinitionChange) {
        tracing::warn!(
            of = change.of(),
            mended = change.is_mended(),
            "a definition is not what it was"
        );
        let changes = &mut self.known().changes;
        if changes.len() < CHANGES_MAX {
            changes.insert(change.of.clone(), change);
        }
    }
}

/// How a definition differs from what was reviewed, a line for each line.
fn diff(pinned: &Map<String, Value>, now: Option<Map<String, Value>>) -> String {
    let text =
        |definition: &Map<String, Value>| format!("{:#}\n", Value::Object(definition.clone()));
    let (before, after) = (text(pinned), now.as_ref().map(text).unwrap_or_default());
    if after.len() > COMPARED_BYTES_MAX {
        return format!("it is {} bytes long now, and was {}", after.len(), before.len());
    }
    let diff = TextDiff::configure().timeout(COMPARED_FOR_MAX).diff_lines(&before, &after);
    let diff = diff.unified_diff().context_radius(2).header("reviewed", "now").to_string();
    match diff.get(..diff.floor_char_boundary(DIFF_BYTES_MAX)) {
        Some(cut) if cut.len() < diff.len() => format!("{cut}\n(and more)"),
        _ => diff,
    }
}

/// All that the server defines of a kind.
async fn list(
    server: &Server,
    conversation: &Conversation,
    kind: Defined,
) -> Result<Vec<Map<String, Value>>, Trouble> {
    let (method, key) = match kind {
        Defined::Tool => ("tools/list", "tools"),
        Defined::Resource => ("resources/list", "resources"),
        Defined::Template => ("resources/templates/list", "resourceTemplates"),
        Defined::Prompt => ("prompts/list", "prompts"),
    };
    let odd = |why: &str| Trouble::unasked(SystemFaultKind::Failed, &format!("{method}: {why}"));
    let (mut all, mut bytes) = (Vec::new(), 0usize);
    let mut cursor: Option<String> = None;
    for _page in 0..PAGES_MAX {
        let params = cursor.iter().map(|at| ("cursor".to_owned(), at.as_str().into())).collect();
        let sent = AtomicU64::new(0);
        let asking = Asking::beside(PAGE_BYTES_MAX, &sent);
        let mut page = match conversation.ask(server, (method, params), asking).await {
            Ok(page) => page,
            // A server without any of them need not know the method.
            Err(trouble) if trouble.kind == SystemFaultKind::Refused && cursor.is_none() => {
                return Ok(all);
            }
            Err(trouble) => return Err(Trouble { applied: Applied::NotApplied, ..trouble }),
        };
        let Some(Value::Array(items)) = page.remove(key) else {
            return Err(odd("there is no list"));
        };
        for item in items {
            let Value::Object(mut definition) = item else {
                return Err(odd("a definition is none"));
            };
            definition.retain(|name, _| kind.pinned().contains(&name.as_str()));
            bytes = bytes.saturating_add(Value::Object(definition.clone()).to_string().len());
            all.push(definition);
        }
        if all.len() > DEFINITIONS_MAX || bytes > DEFINED_BYTES_MAX {
            return Err(odd("there is more than anybody reviews"));
        }
        match page.remove("nextCursor") {
            None | Some(Value::Null) => return Ok(all),
            Some(Value::String(next)) if Some(&next) != cursor.as_ref() => cursor = Some(next),
            Some(_) => return Err(odd("the list does not go on")),
        }
    }
    Err(odd("the list does not end"))
}

/// All that a server defines: for whoever reviews it.
///
/// # Errors
/// [`SystemFault`], if it could not be asked within its time.
pub async fn definitions(
    system: &McpSystem,
) -> Result<Vec<(Defined, Map<String, Value>)>, SystemFault> {
    let server = Server::new(system.clone());
    let asked = server.in_time(async {
        let (_, conversation) = server.common().await?;
        let mut all = Vec::new();
        for kind in Defined::ALL {
            let found = list(&server, &conversation, kind).await?;
            all.extend(found.into_iter().map(|definition| (kind, definition)));
        }
        Ok(all)
    });
    Ok(asked.await?)
}
