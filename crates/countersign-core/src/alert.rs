//! What people are told of at once: the rules that watch the journal, and what they go by.
//!
//! How each counts stands in `countersign-relay`; in words, in `docs/alerts.md`.

/// A rule over the records of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// An agent reaches for what is not its caller's, again and again.
    OutOfScope,
    /// An agent calls far more often than it does.
    CallSpike,
    /// A write was attempted outside the approval flow.
    OutsideApprovalFlow,
    /// An agent tries tools that it was not granted.
    UnknownTool,
    /// Nobody knows whether an effect took place.
    OutcomeUnknown,
    /// A draft's time was over.
    DraftExpired,
    /// A system answered with rows that are not the caller's.
    ForeignRows,
    /// What a server defines is not what was reviewed.
    DefinitionChanged,
}

/// What a rule goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Over which span of time it counts, in seconds.
    pub window_s: u32,
    /// How many in a window are an alert; of [`Rule::CallSpike`], how many times as many calls as the
    /// agent usually makes.
    pub threshold: u32,
    /// How long it then says nothing more about the same, in seconds.
    pub cool_down_s: u32,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::OutOfScope,
        Self::CallSpike,
        Self::OutsideApprovalFlow,
        Self::UnknownTool,
        Self::OutcomeUnknown,
        Self::DraftExpired,
        Self::ForeignRows,
        Self::DefinitionChanged,
    ];

    /// As records and deployment files write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfScope => "out_of_scope",
            Self::CallSpike => "call_spike",
            Self::OutsideApprovalFlow => "outside_approval_flow",
            Self::UnknownTool => "unknown_tool",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::DraftExpired => "draft_expired",
            Self::ForeignRows => "foreign_rows",
            Self::DefinitionChanged => "definition_changed",
        }
    }

    /// As records and deployment files write it, read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == text)
    }

    /// What it goes by if nobody says otherwise.
    #[must_use]
    pub const fn usual(self) -> Limits {
        let (window_s, threshold, cool_down_s) = match self {
            Self::OutOfScope => (600, 10, 3_600),
            Self::CallSpike => (300, 4, 3_600),
            Self::UnknownTool => (600, 20, 3_600),
            Self::OutsideApprovalFlow | Self::OutcomeUnknown => (60, 1, 900),
            Self::DraftExpired | Self::ForeignRows => (60, 1, 3_600),
            Self::DefinitionChanged => (60, 1, 900),
        };
        Limits { window_s, threshold, cool_down_s }
    }

    /// What happened, in one sentence.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::OutOfScope => "An agent keeps asking for what is not its caller's.",
            Self::CallSpike => "An agent calls several times as often as it usually does.",
            Self::OutsideApprovalFlow => {
                "A client tried to get an effect without the approval that it takes."
            }
            Self::UnknownTool => "An agent keeps calling tools that it was not granted.",
            Self::OutcomeUnknown => "Nobody knows whether an effect took place.",
            Self::DraftExpired => {
                "A draft's time was over before it was decided, or before it could be carried out."
            }
            Self::ForeignRows => {
                "A system answered with rows that are not the caller's; the agent was not shown them."
            }
            Self::DefinitionChanged => {
                "An MCP server defines something otherwise than people reviewed, and the tool was withdrawn."
            }
        }
    }

    /// What to do about it, in one sentence.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::OutOfScope => {
                "Read the session's calls before the refusals: if it read something that told it to, suspend the agent and tell its owner."
            }
            Self::CallSpike => {
                "Ask the agent's owner whether they expect it; if not, suspend the agent."
            }
            Self::OutsideApprovalFlow => {
                "Find out who runs that client and what it answers by itself, and suspend the agent until they have mended it."
            }
            Self::UnknownTool => {
                "See whether a tool was withdrawn just now; if not, read what the agent read before, and suspend it."
            }
            Self::OutcomeUnknown => {
                "Look in the system whether it happened, and say so under unknown outcomes: the same call is refused until then."
            }
            Self::DraftExpired => {
                "Tell the tool's approvers, and see whether they are too few or their notifications go nowhere."
            }
            Self::ForeignRows => {
                "Mend the tool's statement or the system's row-level security, and suspend the tool until then."
            }
            Self::DefinitionChanged => {
                "Read how it differs in the record, ask whoever runs the server, and review and import it anew only if that is what you want."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_name_of_its_own_and_says_in_one_sentence_what_to_do() {
        for rule in Rule::ALL {
            assert_eq!(Rule::parse(rule.as_str()), Some(rule));
            for text in [rule.what(), rule.advice()] {
                assert!(text.ends_with('.') && !text.contains(". "), "{text}");
            }
        }
    }
}
