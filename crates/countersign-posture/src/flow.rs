//! `flow:` of a tool: what flows through it, by the word of its author.

use crate::decode::{Decoder, Item};
use crate::finding::Code;
use crate::tool::{Asked, ToolFile};
use countersign_core::tool::{Effect, Flow, Holds, Reads, Sends};

pub(crate) const READS: [(&str, Reads); 3] = [
    (Reads::Trusted.as_str(), Reads::Trusted),
    (Reads::Internal.as_str(), Reads::Internal),
    (Reads::Untrusted.as_str(), Reads::Untrusted),
];

pub(crate) const HOLDS: [(&str, Holds); 3] = [
    (Holds::Public.as_str(), Holds::Public),
    (Holds::Internal.as_str(), Holds::Internal),
    (Holds::Confidential.as_str(), Holds::Confidential),
];

pub(crate) const SENDS: [(&str, Sends); 3] = [
    (Sends::Nowhere.as_str(), Sends::Nowhere),
    (Sends::Internal.as_str(), Sends::Internal),
    (Sends::External.as_str(), Sends::External),
];

/// Reads it; what is not said is the strictest that can be of such a tool.
pub(crate) fn decode(decoder: &mut Decoder, item: Option<Item<'_>>, tool: &ToolFile) -> Flow {
    // Whose an API, a server or a decision point is the posture does not know. A database is reached by
    // the deployment's own reference and sends nothing on.
    let database = tool.call.asked() == Some(Asked::Statement)
        && tool.asked().all(|(_, asked)| asked == Asked::Statement);
    let sends = if database { Sends::Internal } else { Sends::External };
    let strictest = Flow { sends, ..Flow::STRICTEST };
    let Some(mut fields) = item.and_then(|item| decoder.fields(item)) else { return strictest };
    let reads = fields.optional("reads").and_then(|item| decoder.choice(item, &READS));
    let holds = fields.optional("holds").and_then(|item| decoder.choice(item, &HOLDS));
    let sends = fields.optional("sends");
    let said = sends.and_then(|item| decoder.choice(item, &SENDS));
    fields.finish(decoder);
    let stays = database && tool.effect == Some(Effect::Read);
    if let (Some(item), Some(Sends::Nowhere), false) = (sends, said, stays) {
        let message = "what this tool is sent goes somewhere: into rows, or to whoever it asks";
        decoder.report(Code::UnderstatedFlow, item.span(), message);
        decoder.help("write `internal`, or `external` if it leaves the company; only a read of databases sends `nowhere`");
    }
    Flow {
        reads: reads.unwrap_or(strictest.reads),
        holds: holds.unwrap_or(strictest.holds),
        sends: said.unwrap_or(strictest.sends),
    }
}
