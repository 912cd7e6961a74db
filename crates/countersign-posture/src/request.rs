//! The HTTP request of a tool's `call:`. An argument stands in it as `{name}` and fills a whole place:
//! a segment of the path, a value of the query or of a header, a value in the body.

use crate::decode::{Decoder, Fields, Item};
use crate::finding::{Code, did_you_mean};
use crate::input::{Arguments, identifier};
use crate::node::{Entry, Kind, Node, Span};
use countersign_core::ladder::Expected;
use countersign_core::tool::{Effect, HttpPlan, Method, Parameter, Piece, ResultBounds, Template};
use serde_json::{Number, Value};
use std::collections::BTreeSet;

/// The key of each method.
pub(crate) const METHODS: [(&str, Method); 5] = [
    ("get", Method::Get),
    ("post", Method::Post),
    ("put", Method::Put),
    ("patch", Method::Patch),
    ("delete", Method::Delete),
];

/// Statuses that may say that there is nothing.
pub(crate) const EMPTY: [(&str, u16); 3] = [("204", 204), ("404", 404), ("410", 410)];

/// Longest name of a query's parameter or of a header, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// A request as it is written.
#[derive(Debug)]
pub(crate) struct Request {
    /// Without time and bounds, which are the system's. `None` if something is wrong with it.
    pub(crate) plan: Option<HttpPlan>,
    /// The arguments and bound names that it uses.
    pub(crate) names: BTreeSet<String>,
}

/// What may stand beside the method.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    query: Option<Item<'a>>,
    headers: Option<Item<'a>>,
    body: Option<Item<'a>>,
    result: Option<Item<'a>>,
    pick: Option<Item<'a>>,
    statuses: Option<Item<'a>>,
}

impl<'a> Parts<'a> {
    pub(crate) fn take(fields: &mut Fields<'a>) -> Self {
        Self {
            query: fields.optional("query"),
            headers: fields.optional("headers"),
            body: fields.optional("body"),
            result: fields.optional("result"),
            pick: fields.optional("pick"),
            statuses: fields.optional("statuses"),
        }
    }

    /// Reports them where there is no request.
    pub(crate) fn refuse(&self, decoder: &mut Decoder) {
        let Self { query, headers, body, result, pick, statuses } = self;
        for item in [query, headers, body, result, pick, statuses].into_iter().flatten() {
            let message = format!("`{}` has no part in a statement", item.name);
            decoder.report(Code::BadValue, item.span(), message);
        }
    }
}

/// Where the rows of an answer are, and their columns: `None` if something is wrong with them.
pub(crate) struct Rows {
    /// Nothing where the answer is no rows.
    pub(crate) at: Option<Option<String>>,
    pub(crate) pick: Option<Vec<(String, String)>>,
}

impl Parts<'_> {
    /// Where the rows are in what an MCP server answers, and their columns. The rest is reported; so are
    /// these in a call of what answers no rows (`whose`), or without the first.
    pub(crate) fn rows_only(&self, decoder: &mut Decoder, whose: Option<&str>) -> Rows {
        let Self { query, headers, body, result, pick, statuses } = self;
        let mut idle =
            [query, headers, body, statuses].map(|item| (item, "a call of a definition")).to_vec();
        match (whose, result) {
            (Some(whose), _) => idle.extend([(result, whose), (pick, whose)]),
            (None, None) => idle.push((pick, "a call without `result`: columns are of rows")),
            (None, Some(_)) => {}
        }
        for (item, of) in idle {
            if let Some(item) = item {
                let message = format!("`{}` has no part in {of}", item.name);
                decoder.report(Code::BadValue, item.span(), message);
            }
        }
        let at = result.map(|item| pointer(decoder, item));
        Rows { at, pick: pick.map_or(Some(Vec::new()), |item| decode_pick(decoder, item)) }
    }
}

/// What a request may name.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) arguments: &'a Arguments,
    /// Put in from the token.
    pub(crate) bound: BTreeSet<&'a str>,
}

/// Reads a request.
pub(crate) fn decode(
    decoder: &mut Decoder,
    (method, path): (Method, Item<'_>),
    parts: &Parts<'_>,
    known: &Known<'_>,
) -> Request {
    let mut reader = Reader { decoder, known, names: BTreeSet::new() };
    let segments = reader.path(path);
    let query = parts.query.map_or(Some(Vec::new()), |item| reader.query(item));
    let headers = parts.headers.map_or(Some(Vec::new()), |item| reader.headers(item));
    let body = parts.body.map(|item| reader.body(item, method));
    let names = reader.names;
    let result = parts.result.map(|item| pointer(decoder, item));
    let pick = parts.pick.map_or(Some(Vec::new()), |item| decode_pick(decoder, item));
    let statuses = parts.statuses.map_or(Some(BTreeSet::new()), |item| statuses(decoder, item));
    let plan = || {
        Some(HttpPlan {
            method,
            path: segments?,
            query: query?,
            headers: headers?,
            body: body.map_or(Some(None), |known| known.map(Some))?,
            result: result.unwrap_or_else(|| Some(String::new()))?,
            pick: pick?,
            empty_on: statuses?,
            timeout_ms: 0,
            bounds: ResultBounds { rows_max: 0, bytes_max: 0 },
        })
    };
    Request { plan: plan(), names }
}

/// A read changes nothing: it gets, or searches by what it posts.
pub(crate) fn check_reads(
    decoder: &mut Decoder,
    effect: Option<Effect>,
    (method, item): (Method, Item<'_>),
) {
    let reads = matches!(method, Method::Get | Method::Post);
    if effect == Some(Effect::Read) && !reads {
        let message = format!("a tool that reads must not `{}`", item.name);
        decoder.report(Code::ReadStatement, item.span(), message);
        decoder.help("`get`, or `post` for a search with a body, or declare its effect");
    }
}

/// Where an argument stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    InPath,
    InText,
    InBody,
    AsBody,
}

pub(crate) struct Reader<'d, 'k> {
    pub(crate) decoder: &'d mut Decoder,
    pub(crate) known: &'k Known<'k>,
    /// The arguments and bound names that were met.
    pub(crate) names: BTreeSet<String>,
}

impl Reader<'_, '_> {
    fn path(&mut self, item: Item<'_>) -> Option<Vec<Piece>> {
        let text = self.decoder.line(item)?;
        let span = item.span();
        let Some(below) = text.strip_prefix('/') else {
            return self.refuse(
                span,
                format!("`{text}` is no path: it must begin with `/`"),
                "scheme, host and port are the system's",
            );
        };
        let mut pieces = Vec::new();
        let mut whole = true;
        let count = below.split('/').count();
        for (index, segment) in below.split('/').enumerate() {
            let last = index.saturating_add(1) == count;
            let piece = self.segment(segment, span, last);
            whole &= piece.is_some();
            pieces.extend(piece);
        }
        whole.then_some(pieces)
    }

    fn segment(&mut self, text: &str, span: Span, last: bool) -> Option<Piece> {
        let (message, help) = match text {
            "" if last => return Some(Piece::Literal(String::new())),
            "" => (
                "the path has an empty segment".to_owned(),
                "scheme, host and port are the system's",
            ),
            "." | ".." => (
                format!("the path has the segment `{text}`, which leads elsewhere"),
                "write the path that is meant",
            ),
            _ => {
                let piece = self.piece(text, span, Stands::InPath)?;
                let Piece::Literal(literal) = &piece else { return Some(piece) };
                let odd =
                    |c: &char| !(c.is_ascii_alphanumeric() || "-._~:@!$&'()*+,;=".contains(*c));
                let Some(odd) = literal.chars().find(odd) else { return Some(piece) };
                let help = match odd {
                    '?' => "parameters stand under `query`",
                    '%' => "write a segment as it is read, without escapes",
                    _ => "letters, digits and `-._~:@!$&'()*+,;=` may stand in a path",
                };
                (format!("`{odd}` cannot stand in a path"), help)
            }
        };
        self.refuse(span, message, help)
    }

    fn query(&mut self, item: Item<'_>) -> Option<Vec<(String, Piece)>> {
        let mut pairs = Vec::new();
        let entries = self.decoder.entries(item)?;
        for Entry { key, key_span, value } in entries {
            if key.is_empty() || key.len() > NAME_BYTES_MAX {
                let message =
                    format!("a parameter's name must be 1 to {NAME_BYTES_MAX} bytes long");
                self.refuse::<()>(*key_span, message, "");
            }
            let piece = self.scalar(Item { name: key, node: value });
            pairs.push(piece.map(|piece| (key.clone(), piece)));
        }
        pairs.into_iter().collect()
    }

    fn headers(&mut self, item: Item<'_>) -> Option<Vec<(String, Piece)>> {
        let mut headers = Vec::new();
        let mut seen = BTreeSet::new();
        let entries = self.decoder.entries(item)?;
        for Entry { key, key_span, value } in entries {
            let name = match header_name(key) {
                Ok(name) if !seen.insert(name.clone()) => {
                    let message = format!("the header `{name}` stands twice");
                    self.refuse(*key_span, message, "case makes no difference")
                }
                Ok(name) => Some(name),
                Err((_, why)) => self.refuse(*key_span, format!("`{key}` {why}"), ""),
            };
            let piece = self.scalar(Item { name: key, node: value });
            let visible = |c: char| matches!(c, ' '..='~');
            if let Some(Piece::Literal(text)) = &piece
                && !text.chars().all(visible)
            {
                let message = format!("the value of `{key}` is more than visible ASCII");
                self.refuse::<()>(value.span, message, "");
            }
            headers.push(name.zip(piece));
        }
        headers.into_iter().collect()
    }

    /// A text, a number or a truth value, or the argument that it is.
    pub(crate) fn scalar(&mut self, item: Item<'_>) -> Option<Piece> {
        match &item.node.kind {
            Kind::Bool(truth) => Some(Piece::Literal(truth.to_string())),
            Kind::Int(number) => Some(Piece::Literal(number.to_string())),
            Kind::Float(number) => Some(Piece::Literal(number.to_string())),
            Kind::Text(_) | Kind::Null | Kind::List(_) | Kind::Map(_) | Kind::Refused => {
                let text = self.decoder.line(item)?;
                self.piece(&text, item.span(), Stands::InText)
            }
        }
    }

    fn body(&mut self, item: Item<'_>, method: Method) -> Option<Template> {
        let span = item.span();
        if matches!(method, Method::Get | Method::Delete) {
            let message = format!("a {} has no body", method.as_str());
            return self.refuse(span, message, "a search with a body is a `post`");
        }
        if matches!(item.node.kind, Kind::Null) {
            self.decoder.report(Code::WrongType, span, "`body` has no value");
            return None;
        }
        match &item.node.kind {
            Kind::Text(text) => match self.piece(text, span, Stands::AsBody)? {
                Piece::Literal(text) => Some(Template::Literal(text.into())),
                Piece::Argument(parameter) => Some(Template::Argument(parameter)),
            },
            _ => self.template(item.node),
        }
    }

    fn expected(&mut self, item: Item<'_>) -> Option<Expected> {
        let literal = match &item.node.kind {
            Kind::Null => Value::Null,
            Kind::Bool(truth) => (*truth).into(),
            Kind::Int(number) => (*number).into(),
            Kind::Float(number) => Number::from_f64(*number)?.into(),
            Kind::Text(_) | Kind::List(_) | Kind::Map(_) | Kind::Refused => {
                let text = self.decoder.line(item)?;
                match self.piece(&text, item.span(), Stands::AsBody)? {
                    Piece::Literal(text) => text.into(),
                    Piece::Argument(parameter) => return Some(Expected::Argument(parameter.name)),
                }
            }
        };
        Some(Expected::Literal(literal))
    }

    pub(crate) fn template(&mut self, node: &Node) -> Option<Template> {
        match &node.kind {
            Kind::Refused => None,
            Kind::Null => Some(Template::Literal(Value::Null)),
            Kind::Bool(truth) => Some(Template::Literal((*truth).into())),
            Kind::Int(number) => Some(Template::Literal((*number).into())),
            Kind::Float(number) => {
                Number::from_f64(*number).map(|number| Template::Literal(number.into()))
            }
            Kind::Text(text) => match self.piece(text, node.span, Stands::InBody)? {
                Piece::Literal(text) => Some(Template::Literal(text.into())),
                Piece::Argument(parameter) => Some(Template::Argument(parameter)),
            },
            Kind::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.template(item)).collect();
                items.into_iter().collect::<Option<_>>().map(Template::Array)
            }
            Kind::Map(entries) => {
                let member =
                    |entry: &Entry| Some((entry.key.clone(), self.template(&entry.value)?));
                let members: Vec<_> = entries.iter().map(member).collect();
                members.into_iter().collect::<Option<_>>().map(Template::Object)
            }
        }
    }

    /// A text as it is, or the argument that it names as a whole.
    fn piece(&mut self, text: &str, span: Span, stands: Stands) -> Option<Piece> {
        if !text.contains(['{', '}']) {
            return Some(Piece::Literal(text.to_owned()));
        }
        let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let Some(name) = name.filter(|name| identifier(name).is_none()) else {
            let message = format!("`{text}` is neither a text nor an argument");
            return self.refuse(
                span,
                message,
                "`{name}` stands for the whole of a place: nothing is joined to it",
            );
        };
        self.names.insert(name.to_owned());
        self.check_place(name, span, stands)?;
        let optional = self.known.arguments.get(name).is_some_and(|argument| argument.optional);
        Some(Piece::Argument(Parameter { name: name.to_owned(), optional }))
    }

    /// The argument is one, and can stand there.
    pub(crate) fn check_place(&mut self, name: &str, span: Span, stands: Stands) -> Option<()> {
        let Known { arguments, bound } = self.known;
        let Some(argument) = arguments.get(name) else {
            if bound.contains(name) {
                return Some(()); // A text, and always there.
            }
            let message = format!("`{{{name}}}` is neither an argument nor bound");
            self.decoder.report(Code::UnknownPlaceholder, span, message);
            let known = arguments.keys().map(String::as_str).chain(bound.iter().copied());
            self.decoder.helped(did_you_mean(name, known));
            return None;
        };
        // Something else is wrong with the argument: that has been said.
        let schema = argument.schema.as_ref()?;
        let says = |keyword: &str| schema.get(keyword);
        let of = says("type").and_then(Value::as_str).unwrap_or_default();
        let free = of == "string" && ["pattern", "enum", "const"].map(says) == [None; 3];
        let why = match stands {
            Stands::InPath | Stands::AsBody if argument.optional => {
                "may be left out, and what stands there must be there"
            }
            Stands::InPath | Stands::InText if matches!(of, "array" | "object") => {
                "is no single value, and only the body holds others"
            }
            Stands::InPath if free => "is free text, and a path names something",
            Stands::InPath | Stands::InText | Stands::InBody | Stands::AsBody => return Some(()),
        };
        self.decoder.report(Code::ArgumentPlace, span, format!("`{{{name}}}` {why}"));
        None
    }

    pub(crate) fn refuse<T>(&mut self, span: Span, message: String, help: &str) -> Option<T> {
        self.decoder.report(Code::BadRequest, span, message);
        if !help.is_empty() {
            self.decoder.help(help);
        }
        None
    }
}

/// A header's name in lower case; or why it is not the author's to send, and the name if it is one.
pub(crate) fn header_name(text: &str) -> Result<String, (Option<String>, &'static str)> {
    let name = text.to_ascii_lowercase();
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(token) {
        return Err((None, "is no name of a header"));
    }
    let begins = ["proxy-", "x-forwarded-", "sec-", "x-original-", "x-rewrite-", "x-http-method"];
    match OWN_HEADERS.contains(&name.as_str()) || begins.iter().any(|own| name.starts_with(own)) {
        true => Err((Some(name), "is a header that the gateway sends itself or nobody")),
        false => Ok(name),
    }
}

/// Headers that say where a request goes, how it is framed, or who sends it.
const OWN_HEADERS: [&str; 24] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "range",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-method-override",
    "x-real-ip",
];

/// A JSON pointer to something in an answer.
fn pointer(decoder: &mut Decoder, item: Item<'_>) -> Option<String> {
    let text = decoder.line(item)?;
    if is_pointer(&text) {
        return Some(text);
    }
    let message = format!("`{text}` is no JSON pointer into the answer");
    decoder.report(Code::BadValue, item.span(), message);
    decoder.help("write the name of a member after `/`, as in `/items`; without it the whole answer is taken");
    None
}

fn is_pointer(text: &str) -> bool {
    let escapes_are_whole = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    text.starts_with('/') && text.len() > 1 && escapes_are_whole && !text.contains(['\n', '\r'])
}

/// Reads a path without arguments.
pub(crate) fn literal_path(decoder: &mut Decoder, item: Item<'_>) -> Option<Vec<String>> {
    let arguments = Arguments::new();
    let known = Known { arguments: &arguments, bound: BTreeSet::new() };
    let pieces = Reader { decoder, known: &known, names: BTreeSet::new() }.path(item)?;
    let literal = |piece| match piece {
        Piece::Literal(text) => Some(text),
        Piece::Argument(_) => None,
    };
    pieces.into_iter().map(literal).collect()
}

/// Reads `expect:`, by place in the row: a scalar, or `{name}` for what an argument was.
pub(crate) fn expectations(
    decoder: &mut Decoder,
    item: Item<'_>,
    known: &Known<'_>,
) -> Option<Vec<(String, Expected)>> {
    let entries = decoder.entries(item)?;
    if entries.is_empty() {
        let message = "`expect` must name at least one place of the answer";
        decoder.report(Code::BadValue, item.span(), message);
    }
    let mut reader = Reader { decoder, known, names: BTreeSet::new() };
    let expected = entries.iter().map(|Entry { key, key_span, value }| {
        if !is_pointer(key) {
            let message = format!("`{key}` is no JSON pointer into the answer");
            reader.decoder.report(Code::BadValue, *key_span, message);
        }
        Some((key.clone(), reader.expected(Item { name: key, node: value })?))
    });
    expected.collect::<Vec<_>>().into_iter().collect()
}

fn decode_pick(decoder: &mut Decoder, item: Item<'_>) -> Option<Vec<(String, String)>> {
    let entries = decoder.entries(item)?;
    let columns = entries.iter().map(|Entry { key, key_span, value }| {
        if let Some(problem) = identifier(key) {
            decoder.report(Code::BadName, *key_span, format!("`{key}` {problem}"));
        }
        Some((key.clone(), pointer(decoder, Item { name: key, node: value })?))
    });
    columns.collect::<Vec<_>>().into_iter().collect()
}

fn statuses(decoder: &mut Decoder, item: Item<'_>) -> Option<BTreeSet<u16>> {
    let mut fields = decoder.fields(item)?;
    let mut empty = BTreeSet::new();
    for (word, status) in EMPTY {
        if let Some(item) = fields.optional(word) {
            decoder.choice(item, &[("empty", ())])?;
            empty.insert(status);
        }
    }
    fields.finish(decoder);
    Some(empty)
}
