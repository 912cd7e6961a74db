//! `mcp:` of a system: an MCP server, reached over HTTP or started as a program.

use crate::bound::{PROGRAM_WORDS_MAX, RECHECK_MS_DEFAULT, RECHECK_MS_MAX};
use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::finding::Code;
use crate::gate::whole;
use crate::http::{Auth, Way};
use crate::input::identifier;
use crate::lint;
use crate::node::{Entry, Kind};
use crate::request::literal_path;
use crate::system::{Backend, DURATIONS, reference};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// An MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpSpec {
    /// How it is reached.
    pub reach: McpReach,
    /// How old the knowledge may be that its definitions are as they were reviewed, in milliseconds: 0
    /// to look before every call.
    pub recheck_ms: u32,
    /// Why it keeps nothing of a caller, so that one connection, or one process, may serve all. Without
    /// it one serves a tenant and principal alone.
    pub shared: Option<String>,
}

/// How an MCP server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpReach {
    /// Over HTTP.
    Http {
        /// The deployment's reference that resolves to scheme, host and port.
        origin: String,
        /// The path of its endpoint.
        path: String,
        /// What its requests are authorised by.
        auth: Option<Auth>,
        /// Where its addresses may lie; without any, anywhere public.
        networks: Vec<IpNet>,
        /// Whether it may be spoken to without encryption on other machines.
        plaintext: bool,
    },
    /// As a program that is started.
    Stdio {
        /// The deployment's reference that resolves to the absolute path of the program.
        program: String,
        /// What it is started with.
        arguments: Vec<String>,
        /// All of its environment: variables, and the references that resolve to their values.
        environment: BTreeMap<String, String>,
        /// The reference that resolves to whom it runs as, `uid:gid`, if not as the gateway.
        user: Option<String>,
    },
}

impl McpSpec {
    /// The references that it takes.
    #[must_use]
    pub fn references(&self) -> Vec<&str> {
        match &self.reach {
            McpReach::Http { origin, auth, .. } => {
                let auth = auth.iter().flat_map(Auth::references);
                std::iter::once(origin.as_str()).chain(auth).collect()
            }
            McpReach::Stdio { program, environment, user, .. } => {
                let beside = environment.values().chain(user);
                std::iter::once(program).chain(beside).map(String::as_str).collect()
            }
        }
    }
}

pub(crate) fn decode(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<Backend>> {
    let mut fields = decoder.fields(item)?;
    let reach = decode_reach(decoder, &mut fields);
    let recheck_ms = fields.optional("recheck").map(|item| recheck(decoder, item));
    let shared = fields.optional("shared").map(|item| {
        lint::sentence(decoder, item);
        decoder.line(item)
    });
    fields.finish(decoder);
    let Spanned { value: reach, span } = reach?;
    let recheck_ms = recheck_ms.unwrap_or(Some(RECHECK_MS_DEFAULT))?;
    let spec = McpSpec { reach, recheck_ms, shared: whole(shared)? };
    Some(Spanned { value: Backend::Mcp(Box::new(spec)), span })
}

fn decode_reach(decoder: &mut Decoder, fields: &mut Fields<'_>) -> Option<Spanned<McpReach>> {
    let origin = fields.optional("origin");
    let path = fields.optional("path");
    let over_http = ["auth", "networks", "plaintext"].map(|key| fields.optional(key));
    let program = fields.optional("program");
    let of_program = ["arguments", "environment", "user"].map(|key| fields.optional(key));
    match (origin, program) {
        (Some(origin), None) => {
            idle(decoder, of_program, "a server that is reached over HTTP");
            let origin = reference(decoder, origin);
            let path = path.map_or_else(|| Some("/mcp".to_owned()), |item| endpoint(decoder, item));
            let way = Way::decode(decoder, fields);
            let (Spanned { value: origin, span }, path) = (origin?, path?);
            let Way { auth, networks, plaintext } = way?;
            Some(Spanned {
                value: McpReach::Http { origin, path, auth, networks, plaintext },
                span,
            })
        }
        (None, Some(program)) => {
            idle(decoder, [path].into_iter().chain(over_http), "a program");
            decode_program(decoder, program, of_program)
        }
        (None, None) => {
            let message = "an MCP server needs one of `origin` and `program`";
            decoder.report(Code::MissingKey, fields.open(), message);
            None
        }
        (Some(_), Some(program)) => {
            let message = "a server is reached at its `origin` or started as a `program`";
            decoder.report(Code::BadValue, program.span(), message);
            None
        }
    }
}

fn idle<'a>(decoder: &mut Decoder, items: impl IntoIterator<Item = Option<Item<'a>>>, of: &str) {
    for item in items.into_iter().flatten() {
        let message = format!("`{}` has no part in {of}", item.name);
        decoder.report(Code::BadValue, item.span(), message);
    }
}

fn endpoint(decoder: &mut Decoder, item: Item<'_>) -> Option<String> {
    let segments = literal_path(decoder, item)?;
    Some(segments.iter().map(|segment| format!("/{segment}")).collect())
}

fn decode_program(
    decoder: &mut Decoder,
    program: Item<'_>,
    [arguments, environment, user]: [Option<Item<'_>>; 3],
) -> Option<Spanned<McpReach>> {
    let program = reference(decoder, program);
    let arguments = arguments.map(|item| words(decoder, item));
    let environment = environment.map(|item| variables(decoder, item));
    let user = user.map(|item| reference(decoder, item));
    let Spanned { value: program, span } = program?;
    let value = McpReach::Stdio {
        program,
        arguments: arguments.unwrap_or(Some(Vec::new()))?,
        environment: environment.unwrap_or(Some(BTreeMap::new()))?,
        user: whole(user)?.map(|user| user.value),
    };
    Some(Spanned { value, span })
}

/// What a program is started with: no shell reads it.
fn words(decoder: &mut Decoder, item: Item<'_>) -> Option<Vec<String>> {
    let count = decoder.list(item)?.len();
    if count > PROGRAM_WORDS_MAX {
        let message = format!("`arguments` are at most {PROGRAM_WORDS_MAX}");
        decoder.report(Code::BadValue, item.span(), message);
        return None;
    }
    let words = decoder.lines(item);
    (words.len() == count).then(|| words.into_iter().map(|word| word.value).collect())
}

fn variables(decoder: &mut Decoder, item: Item<'_>) -> Option<BTreeMap<String, String>> {
    let variables = decoder.entries(item)?.iter().map(|Entry { key, key_span, value }| {
        let named = match identifier(key) {
            None => true,
            Some(problem) => {
                decoder.report(Code::BadName, *key_span, format!("`{key}` {problem}"));
                false
            }
        };
        let value = reference(decoder, Item { name: key, node: value })?.value;
        named.then(|| (key.clone(), value))
    });
    // All of them are read, so that every mistake is told.
    variables.collect::<Vec<_>>().into_iter().collect()
}

/// A time that may be none.
fn recheck(decoder: &mut Decoder, item: Item<'_>) -> Option<u32> {
    match &item.node.kind {
        Kind::Text(text) if text == "0s" => Some(0),
        _ => decoder.quantity(item, &DURATIONS, RECHECK_MS_MAX),
    }
}
