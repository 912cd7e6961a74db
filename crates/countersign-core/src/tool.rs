//! A tool as the posture declares it: what a model may ask for, and the plan that answers it.

use crate::args::{Arguments, ArgumentsError};
use crate::id::{Digest, SystemName, ToolName};
use crate::ladder::{Ladder, Phrase};
use crate::quota::Limits;
use crate::scope::{LookUp, ResultRule, ScopeRule};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// A declared tool, compiled and immutable.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: ToolName,
    /// What a model reads.
    pub description: String,
    /// The JSON Schema of its arguments as declared: closed, and without bound arguments.
    pub input: Map<String, Value>,
    /// The same, compiled.
    pub schema: Arc<dyn InputSchema>,
    /// What binds the arguments to the caller.
    pub scope: Vec<ScopeRule>,
    /// What a system has to confirm of the arguments first.
    pub look_ups: Vec<Arc<LookUp>>,
    /// What every row that comes back must carry.
    pub result: Vec<ResultRule>,
    /// What a call changes; the least rung follows from it.
    pub effect: Effect,
    /// What flows through it.
    pub flow: Flow,
    /// What has to be so before and after an effect.
    pub ladder: Ladder,
    /// The system it reaches.
    pub system: SystemName,
    /// How.
    pub plan: Plan,
    /// Limits over all agents, per tenant.
    pub limits: Limits,
    /// As what an MCP client is offered it.
    pub offered: Offered,
}

/// As what an MCP client is offered a tool. It is the same tool, called by the same pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// A tool: `tools/list`, `tools/call`.
    Tool,
    /// A resource, or a template of several: `resources/read` of a URI that fits.
    Resource(ResourceUri),
    /// A prompt: `prompts/list`, `prompts/get`.
    Prompt,
}

/// The URI of a resource, with places for arguments (RFC 6570, level 1: `{name}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceUri(pub Vec<UriPart>);

impl ResourceUri {
    /// Whether it is of several resources.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.0.iter().any(|part| matches!(part, UriPart::Argument(_)))
    }

    /// The arguments by which a URI is one of these; `None` if it is not.
    #[must_use]
    pub fn arguments_in(&self, uri: &str) -> Option<Map<String, Value>> {
        let mut arguments = Map::new();
        let mut rest = uri;
        for part in &self.0 {
            match part {
                UriPart::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                UriPart::Argument(name) => {
                    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
                    let ends = rest.find(|c| !plain(c)).unwrap_or(rest.len());
                    let (value, after) = rest.split_at_checked(ends).filter(|_| ends > 0)?;
                    arguments.insert(name.clone(), unescaped(value)?.into());
                    rest = after;
                }
            }
        }
        rest.is_empty().then_some(arguments)
    }
}

/// Percent-decoding (RFC 3986 §2.1); `None` for what nobody would have written so.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let digits = str::from_utf8(digits)
            .ok()
            .filter(|text| text.chars().all(|c| c.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            UriPart::Text(text) => f.write_str(text),
            UriPart::Argument(name) => write!(f, "{{{name}}}"),
        })
    }
}

/// A part of a [`ResourceUri`]. Two arguments never stand side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UriPart {
    /// The author's text.
    Text(String),
    /// An argument, which is a text: anything but unreserved characters (RFC 3986 §2.3) is escaped.
    Argument(String),
}

/// A compiled JSON Schema (2020-12), as the pipeline sees it.
pub trait InputSchema: Send + Sync + fmt::Debug {
    /// Every way in which `arguments` do not fit, or nothing. The messages name what was expected
    /// and never repeat a value that was sent.
    fn issues(&self, arguments: &Value) -> Vec<Issue>;
}

/// One argument that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Which: a dotted path with `[0]` for array elements, `(arguments)` for the whole.
    pub path: String,
    /// What was expected, as a phrase that follows "must": `be an integer from 1 to 365`.
    pub expected: String,
    /// Whether it is a text of the right type that is not among those allowed (enumeration,
    /// pattern, length), and nothing else is wrong with it.
    pub membership: bool,
}

/// What a call changes in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing.
    Read,
    /// Something small that can be put back.
    Reversible,
    /// Something that stays, is seen by a customer, or costs money.
    Persistent,
    /// Something that cannot be taken back.
    Irreversible,
}

impl Effect {
    /// The step of the approval ladder: 1 to 4.
    #[must_use]
    pub const fn rung(self) -> Rung {
        Rung(match self {
            Self::Read => 1,
            Self::Reversible => 2,
            Self::Persistent => 3,
            Self::Irreversible => 4,
        })
    }

    /// As the posture writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Reversible => "reversible",
            Self::Persistent => "persistent",
            Self::Irreversible => "irreversible",
        }
    }
}

/// What flows through a tool, by the word of its author.
///
/// It is declared and shown. No stage of a call follows it: that something untrusted was read keeps no
/// later call of the session from going out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Whose words come back.
    pub reads: Reads,
    /// What it lets an agent see or say.
    pub holds: Holds,
    /// How far the arguments go.
    pub sends: Sends,
}

impl Flow {
    /// What is taken of a tool of which nothing is known.
    pub const STRICTEST: Self =
        Self { reads: Reads::Untrusted, holds: Holds::Confidential, sends: Sends::External };
}

/// How far what a tool answers is to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reads {
    /// Nobody but the system wrote it: numbers, states, what staff keep.
    Trusted,
    /// People of the company wrote some of it.
    Internal,
    /// Somebody outside could have written some of it.
    Untrusted,
}

/// The class of the data that a tool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// Everybody may know it.
    Public,
    /// The company's own.
    Internal,
    /// Customers', people's, or secret.
    Confidential,
}

/// How far the arguments of a call go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sends {
    /// They select rows, and stay nowhere.
    Nowhere,
    /// Into a system of the company's.
    Internal,
    /// Out of the company.
    External,
}

impl Reads {
    /// As the posture writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Internal => "internal",
            Self::Untrusted => "untrusted",
        }
    }
}

impl Holds {
    /// As the posture writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
        }
    }
}

impl Sends {
    /// As the posture writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nowhere => "nowhere",
            Self::Internal => "internal",
            Self::External => "external",
        }
    }
}

/// A step of the approval ladder, 1 to 4; also the clearance a call holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rung(u8);

impl Rung {
    /// What a call holds without anybody's approval.
    pub const UNGATED: Self = Self(1);
    /// What a post-condition gives: nobody is asked, and an effect whose check fails is put back.
    pub const CHECKED: Self = Self(2);
    /// From here on a person agrees, or a decision point that stands in for one.
    pub const CONFIRMED: Self = Self(3);
    /// Here a named person agrees, who is not the one on whose behalf it is asked.
    pub const NAMED: Self = Self(4);

    /// From its number; anything beyond the ladder is its strictest step.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        match number {
            1..=4 => Self(number),
            _ => Self(4),
        }
    }
    /// 1 to 4.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// What a connector is to do. The statement is the posture's author's; arguments are only ever
/// bound to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// One SQL statement.
    Sql(SqlPlan),
    /// One HTTP request.
    Http(HttpPlan),
    /// One message.
    Email(EmailPlan),
    /// One request to an MCP server.
    Mcp(McpPlan),
}

impl Plan {
    /// What may come back.
    #[must_use]
    pub const fn bounds(&self) -> ResultBounds {
        match self {
            Self::Sql(plan) => plan.bounds,
            Self::Http(plan) => plan.bounds,
            Self::Email(plan) => plan.bounds,
            Self::Mcp(plan) => plan.bounds,
        }
    }
}

/// One request to an MCP server, for something that it defined and a person reviewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpPlan {
    /// What is asked for.
    pub ask: McpAsk,
    /// Its definition, as it was reviewed.
    pub pin: Arc<Pin>,
    /// Where in the structured content of a tool's result its rows are: a JSON pointer (RFC 6901).
    /// Without it the result is what the server says, as MCP writes it.
    pub rows: Option<String>,
    /// What of each row is kept, as in an [`HttpPlan`].
    pub pick: Vec<(String, String)>,
    /// Whether an error result says, by the word of the tool's author, that nothing was done.
    pub undone_on_error: bool,
    /// How long the whole of it may take, in milliseconds.
    pub timeout_ms: u32,
    /// What may come back: rows, or else blocks of content.
    pub bounds: ResultBounds,
}

/// What is asked of an MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpAsk {
    /// `tools/call`.
    Tool {
        /// The server's name of it.
        name: String,
        /// An object.
        arguments: Template,
    },
    /// `resources/read`.
    Resource(ResourceUri),
    /// `prompts/get`.
    Prompt {
        /// The server's name of it.
        name: String,
        /// The server's names of its arguments, which are texts. One that is left out is left out.
        arguments: Vec<(String, Piece)>,
    },
}

/// A definition of an MCP server's, as it was when a person reviewed it.
#[derive(Debug, Clone)]
pub struct Pin {
    /// Of which kind, and by which name (a resource's URI, or its template).
    pub of: (Defined, String),
    /// The definition as the server gave it, without what is not pinned.
    pub definition: Map<String, Value>,
    /// The digest of its canonical text (RFC 8785).
    pub digest: Digest,
    /// Its output schema, compiled.
    pub output: Option<Arc<dyn InputSchema>>,
}

impl PartialEq for Pin {
    /// The digest covers the schema.
    fn eq(&self, other: &Self) -> bool {
        (&self.of, self.digest) == (&other.of, other.digest)
    }
}

impl Eq for Pin {}

/// What an MCP server defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defined {
    /// A tool.
    Tool,
    /// A resource.
    Resource,
    /// A template of resources.
    Template,
    /// A prompt.
    Prompt,
}

impl Defined {
    /// What of a definition is pinned: what a model or a person may read of it, and what binds it. Icons
    /// and `_meta` are not: servers change them from day to day.
    #[must_use]
    pub const fn pinned(self) -> &'static [&'static str] {
        match self {
            Self::Tool => {
                &["name", "title", "description", "inputSchema", "outputSchema", "annotations"]
            }
            Self::Resource => &["uri", "name", "title", "description", "mimeType"],
            Self::Template => &["uriTemplate", "name", "title", "description", "mimeType"],
            Self::Prompt => &["name", "title", "description", "arguments"],
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tool, Self::Resource, Self::Template, Self::Prompt];

    /// What is pinned of a definition, and the digest of that: SHA-256 of its canonical text (RFC
    /// 8785). Whoever holds a live definition against a reviewed one asks here, so that both are read
    /// alike; both are to come from [`parse_answer`](crate::args::parse_answer).
    ///
    /// # Errors
    /// [`ArgumentsError::Malformed`] for a number, or a depth, that has no canonical text.
    pub fn pin(
        self,
        definition: &Map<String, Value>,
    ) -> Result<(Map<String, Value>, Digest), ArgumentsError> {
        let kept = self.pinned().iter().filter_map(|&name| definition.get_key_value(name));
        let kept = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        let kept = Arguments::new(kept)?;
        let digest = Digest::sha256(kept.canonical());
        Ok((kept.into_values(), digest))
    }

    /// By what a definition is known, if it says so.
    #[must_use]
    pub fn name(self, definition: &Map<String, Value>) -> Option<&str> {
        definition.get(self.key()).and_then(Value::as_str)
    }

    /// For people: `tool`, `resource`, `template`, `prompt`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Template => "template",
            Self::Prompt => "prompt",
        }
    }

    /// Which member of a definition names it.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "name",
            Self::Resource => "uri",
            Self::Template => "uriTemplate",
        }
    }
}

/// One SQL statement with named parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlPlan {
    /// The statement, with `:name` placeholders.
    pub statement: String,
    /// What is bound to it, each once, in order of first use.
    pub parameters: Vec<Parameter>,
    /// How long it may run, in milliseconds.
    pub timeout_ms: u32,
    /// What may come back.
    pub bounds: ResultBounds,
}

/// One message, as plain text. Who sends it is the system's, never the plan's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailPlan {
    /// The argument that says to whom: one address, or a list of them.
    pub to: String,
    /// The subject: one line.
    pub subject: Phrase,
    /// What it says.
    pub text: Phrase,
    /// How long the whole of it may take, in milliseconds.
    pub timeout_ms: u32,
    /// What may come back: one row that says what was sent.
    pub bounds: ResultBounds,
}

/// A value that a statement or a request is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The argument's name, which is the placeholder's without colon or braces.
    pub name: String,
    /// Whether the agent may leave it out; it is then null in a statement.
    pub optional: bool,
}

/// One HTTP request and how its answer becomes rows. Scheme, host and port are the system's, never
/// the plan's. An argument fills a whole place: nothing is joined to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPlan {
    /// The method.
    pub method: Method,
    /// The path's segments, at least one; an empty text stands last or nowhere.
    pub path: Vec<Piece>,
    /// The query's parameters, in order. One whose argument is left out is left out.
    pub query: Vec<(String, Piece)>,
    /// Headers beside the connector's own, with names in lower case. One whose argument is left out
    /// is left out.
    pub headers: Vec<(String, Piece)>,
    /// The JSON body.
    pub body: Option<Template>,
    /// Where in the answer the result is: a JSON pointer (RFC 6901), empty for all of it.
    pub result: String,
    /// What of each row is kept: columns, and where in the row each is, as a JSON pointer. Empty for
    /// the row as it is.
    pub pick: Vec<(String, String)>,
    /// Statuses that say that there is nothing: no row, and no fault.
    pub empty_on: BTreeSet<u16>,
    /// How long the whole of it may take, in milliseconds.
    pub timeout_ms: u32,
    /// What may come back.
    pub bounds: ResultBounds,
}

/// A request method (RFC 9110 §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Whatever the system makes of it; for a read, a search with a body.
    Post,
    /// Puts in place.
    Put,
    /// Changes a part.
    Patch,
    /// Takes away.
    Delete,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// As requests write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One place of a path, a query or the headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The author's text.
    Literal(String),
    /// An argument, and nothing else: a text, a number or a truth value.
    Argument(Parameter),
}

/// A JSON body with places for arguments, which keep their JSON type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// A scalar of the author's.
    Literal(Value),
    /// An argument. A member whose argument is left out is left out; an element is null, so that its
    /// neighbours stay where they are.
    Argument(Parameter),
    /// An object, in order.
    Object(Vec<(String, Template)>),
    /// An array.
    Array(Vec<Template>),
}

/// The most that may come back from a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultBounds {
    /// Rows; the result is cut there and says so.
    pub rows_max: u32,
    /// Bytes as JSON; the result is cut before the row that would pass it, and says so.
    pub bytes_max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse_answer;

    fn pin(text: &str) -> (Map<String, Value>, Digest) {
        let Ok(Value::Object(definition)) = parse_answer(text.as_bytes()) else { panic!("{text}") };
        Defined::Tool.pin(&definition).unwrap()
    }

    #[test]
    fn a_pin_covers_what_a_model_may_read_whatever_its_order_and_nothing_else() {
        let (kept, digest) =
            pin(r#"{"name":"a","inputSchema":{"b":1.0,"a":[]},"icons":[],"_meta":{}}"#);
        assert_eq!(
            Value::Object(kept.clone()),
            serde_json::json!({"name":"a","inputSchema":{"a":[],"b":1}})
        );
        assert_eq!(digest, Digest::sha256(br#"{"inputSchema":{"a":[],"b":1},"name":"a"}"#));
        assert_eq!(
            pin(r#"{"inputSchema":{"a":[],"b":1},"name":"a","execution":{}}"#),
            (kept, digest)
        );
        for (member, value) in [
            ("title", "\"x\""),
            ("description", "\"x\""),
            ("outputSchema", "{}"),
            ("annotations", "{\"readOnlyHint\":true}"),
        ] {
            let other = format!(
                "{{\"name\":\"a\",\"inputSchema\":{{\"a\":[],\"b\":1}},\"{member}\":{value}}}"
            );
            assert_ne!(pin(&other).1, digest, "{member}");
        }
    }

    #[test]
    fn numbers_that_readers_round_are_pinned_as_they_were_sent() {
        let with = |number: &str| {
            pin(&format!(r#"{{"name":"a","inputSchema":{{"maximum":{number}}}}}"#)).1
        };
        assert_ne!(with("9007199254740993"), with("9007199254740992"));
    }
}
