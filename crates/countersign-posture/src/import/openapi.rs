//! An OpenAPI document (3.0, 3.1) → a draft for each operation.

use super::argument::{Schemas, members};
use super::{
    Argument, Draft, Drafted, Tool, argument_name, comment, described, items, list, may_say_whose,
    object, quoted, snake, system, text, untaken, word,
};
use crate::bound::DRAFTS_MAX;
use crate::request::{METHODS, header_name};
use countersign_core::id::SystemName;
use countersign_core::tool::Method;
use serde_json::Value;
use std::collections::BTreeSet;

/// Makes drafts for the system `name` of a document, which calls itself `file`.
///
/// # Errors
/// It is no OpenAPI document of a version that is read: a sentence.
pub fn drafts(document: &Value, file: &str, name: &SystemName) -> Result<Drafted, String> {
    let version = text(document, "openapi").unwrap_or_default();
    if !["3.0", "3.1"].iter().any(|known| version.starts_with(known)) {
        let said = if version.is_empty() { "nothing" } else { version };
        return Err(format!(
            "it is no OpenAPI 3.0 or 3.1: under `openapi` it says `{}`",
            comment(said)
        ));
    }
    let mut api = Api {
        document,
        file,
        name,
        base: base(document),
        taken: BTreeSet::new(),
        found: Drafted::default(),
    };
    api.paths();
    let Api { mut found, .. } = api;
    // Reads first, each in the document's order.
    found.drafts.sort_by_key(|draft| draft.missing.iter().any(|what| what == "effect"));
    found.drafts.insert(0, of_system(document, name));
    Ok(found)
}

struct Api<'a> {
    document: &'a Value,
    file: &'a str,
    name: &'a SystemName,
    /// What stands before every path.
    base: String,
    taken: BTreeSet<String>,
    found: Drafted,
}

/// The path of the first server.
fn base(document: &Value) -> String {
    let url = items(document, "servers").next().and_then(|server| text(server, "url"));
    let url = url.unwrap_or_default();
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => url,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
    let whole = !path.is_empty() && !path.contains(['{', '}']) && super::one_line(path) == path;
    if whole { format!("/{path}") } else { String::new() }
}

fn of_system(document: &Value, name: &SystemName) -> Draft {
    let servers = items(document, "servers").filter_map(|server| text(server, "url"));
    let servers: Vec<_> = servers.map(str::to_owned).collect();
    let mut remarks = Vec::new();
    if !servers.is_empty() {
        remarks.push(format!("The document names as servers: {}.", list(&servers)));
    }
    remarks.push(format!(
        "countersign.yaml says where: references: {{ {name}: {{ value: \"https://…\" }} }}"
    ));
    let components = document.get("components").unwrap_or(&Value::Null);
    let schemes: Vec<_> = object(components, "securitySchemes")
        .map(|(_, scheme)| {
            let of = text(scheme, "type").unwrap_or_default();
            let how = text(scheme, "scheme").or(text(scheme, "name")).unwrap_or_default();
            format!("{of} {how}").trim().to_owned()
        })
        .collect();
    if !schemes.is_empty() {
        remarks.push(format!(
            "TODO auth: the document asks for {}; as auth: {{ bearer: {name}-token }}",
            list(&schemes)
        ));
    }
    system(name, (&format!("http: {{ origin: {} }}\n", word(name.as_str())), &remarks))
}

/// Where a parameter stands.
enum Stands {
    Path,
    Query,
    Header,
    Cookie,
}

impl Api<'_> {
    fn paths(&mut self) {
        let document = self.document;
        for (path, item) in object(document, "paths") {
            let schemas = Schemas::new(document);
            let item = match schemas.resolved(item) {
                Ok(item) => item,
                Err(why) => {
                    self.leave_out(path, &why);
                    continue;
                }
            };
            for (key, method) in METHODS {
                let Some(operation) = item.get(key).filter(|found| found.is_object()) else {
                    continue;
                };
                let called = format!("{} {}", method.as_str(), comment(path));
                if self.found.drafts.len() >= DRAFTS_MAX {
                    self.leave_out(&called, &format!("{DRAFTS_MAX} drafts are the most"));
                } else if let Err(why) = self.operation((path, method), (item, operation)) {
                    self.leave_out(&called, &why);
                }
            }
        }
    }

    fn leave_out(&mut self, what: &str, why: &str) {
        self.found.left_out.push(format!("{}: {why}", comment(what)));
    }

    fn operation(
        &mut self,
        (path, method): (&str, Method),
        (item, operation): (&Value, &Value),
    ) -> Result<(), String> {
        let mut schemas = Schemas::new(self.document);
        let mut asked = Asked::default();
        for parameter in items(item, "parameters").chain(items(operation, "parameters")) {
            asked.parameter(&mut schemas, parameter)?;
        }
        let segments = asked.path(&mut schemas, path)?;
        if let Some(body) = operation.get("requestBody") {
            match method {
                Method::Get | Method::Delete => {
                    asked
                        .remarks
                        .push("TODO: its body was left out; such a request has none.".to_owned());
                }
                Method::Post | Method::Put | Method::Patch => asked.body(&mut schemas, body)?,
            }
        }
        let called = text(operation, "operationId").map(snake).filter(|name| !name.is_empty());
        let by_path = || {
            let name = snake(&format!("{} {path}", method.as_str()));
            if name.is_empty() { "operation".to_owned() } else { name }
        };
        let name = untaken(&called.unwrap_or_else(by_path), &mut self.taken);
        let words = text(operation, "summary").or(text(operation, "description"));
        let description = described(words.unwrap_or_default());
        if operation.get("deprecated") == Some(&Value::Bool(true)) {
            asked.remarks.push("The document calls it deprecated.".to_owned());
        }
        let whose: Vec<_> = asked.whose();
        let scope = match whose.as_slice() {
            [] => "what ties it to its caller; or `public`, with why anybody may".to_owned(),
            names => format!(
                "what ties it to its caller. It takes {}, which may say whose; bound from the token, as {}: {{ bind: caller.tenant }}, it leaves `input`",
                list(names),
                names.first().map_or("", String::as_str)
            ),
        };
        let mut call = vec![format!(
            "{}: {}",
            method_key(method),
            quoted(&format!("{}{segments}", self.base))
        )];
        asked.write(&mut call);
        if let Some(pointer) = rows(&schemas, operation) {
            call.push(format!("# result: {pointer}   # if its elements are the rows"));
        }
        let tool = Tool {
            name,
            from: format!("{} {} of {}", method.as_str(), comment(path), comment(self.file)),
            remarks: asked.remarks,
            description,
            reads: method == Method::Get,
            effect: match method {
                Method::Post => {
                    "read, if it only searches; reversible, persistent or irreversible".to_owned()
                }
                Method::Delete => "irreversible, unless it can be undone".to_owned(),
                _ => "reversible, persistent or irreversible".to_owned(),
            },
            inputs: asked.inputs,
            scope,
            system: self.name,
            call,
        };
        self.found.take(tool.draft());
        Ok(())
    }
}

fn method_key(method: Method) -> &'static str {
    METHODS.iter().find(|(_, of)| *of == method).map_or("get", |(key, _)| *key)
}

const HIDDEN: &str = "TODO: an argument whose name holds what no name does was left out.";

/// What a request is asked by.
#[derive(Default)]
struct Asked {
    taken: BTreeSet<String>,
    inputs: Vec<(String, Argument)>,
    /// By the document's name, with the argument's.
    in_path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<(String, String)>,
    /// The argument that is the whole body.
    whole: Option<String>,
    remarks: Vec<String>,
}

impl Asked {
    fn parameter(&mut self, schemas: &mut Schemas<'_>, parameter: &Value) -> Result<(), String> {
        let parameter = schemas.resolved(parameter)?;
        let Some(name) = text(parameter, "name") else { return Ok(()) };
        let stands = match text(parameter, "in") {
            Some("path") => Stands::Path,
            Some("query") => Stands::Query,
            Some("header") => Stands::Header,
            _ => Stands::Cookie,
        };
        let list = match stands {
            Stands::Path => &self.in_path,
            Stands::Query => &self.query,
            Stands::Header | Stands::Cookie => &self.headers,
        };
        // What an operation says again of its path's parameter is the same parameter.
        if list.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        if super::one_line(name) != name {
            self.remarks.push(HIDDEN.to_owned());
            return Ok(());
        }
        let sent = match stands {
            Stands::Header => header_name(name).map_err(|(_, why)| why),
            Stands::Cookie => Err("is a cookie, and none is sent"),
            Stands::Path | Stands::Query => Ok(name.to_owned()),
        };
        if let Err(why) = sent {
            self.remarks.push(format!("`{name}` {why}: it was left out."));
            return Ok(());
        }
        let content = object(parameter, "content").find_map(|(_, content)| content.get("schema"));
        let schema = parameter.get("schema").or(content).unwrap_or(&Value::Null);
        let mut argument = schemas.argument(schema);
        argument.optional = !matches!(stands, Stands::Path)
            && parameter.get("required") != Some(&Value::Bool(true));
        if let Some(Ok(words)) = text(parameter, "description").map(described)
            && !argument.keys.iter().any(|(key, _)| *key == "description")
        {
            argument.key("description", quoted(&words));
        }
        let own = argument_name(name, &mut self.taken);
        let at = (name.to_owned(), own.clone());
        match stands {
            Stands::Path => self.in_path.push(at),
            Stands::Query => self.query.push(at),
            Stands::Header | Stands::Cookie => self.headers.push(at),
        }
        self.inputs.push((own, argument));
        Ok(())
    }

    /// The path with the arguments' names in it. One that the document does not speak of is asked for
    /// all the same.
    fn path(&mut self, schemas: &mut Schemas<'_>, path: &str) -> Result<String, String> {
        if super::one_line(path) != path {
            return Err("its path holds what no path does".to_owned());
        }
        let mut made = String::new();
        for segment in path.trim_start_matches('/').split('/') {
            made.push('/');
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let Some(name) = name.filter(|name| !name.contains(['{', '}'])) else {
                if segment.contains(['{', '}']) {
                    return Err("in its path something is joined to an argument".to_owned());
                }
                made.push_str(segment);
                continue;
            };
            let known = self.in_path.iter().find(|(known, _)| known == name);
            let own = match known {
                Some((_, own)) => own.clone(),
                None => {
                    let own = argument_name(name, &mut self.taken);
                    self.inputs.push((
                        own.clone(),
                        schemas.argument(&Value::Object(serde_json::Map::new())),
                    ));
                    self.in_path.push((name.to_owned(), own.clone()));
                    own
                }
            };
            made.push_str(&format!("{{{own}}}"));
        }
        Ok(made)
    }

    fn body(&mut self, schemas: &mut Schemas<'_>, body: &Value) -> Result<(), String> {
        let body = schemas.resolved(body)?;
        let is_json = |of: &str| {
            let of = of.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            of == "application/json" || of.ends_with("+json") || of == "*/*"
        };
        let content = object(body, "content").find(|(of, _)| is_json(of));
        let Some((_, content)) = content else {
            let of: Vec<_> = object(body, "content").map(|(of, _)| of.clone()).collect();
            return Err(format!("its body is {}, and only JSON is sent", list(&of)));
        };
        let schema = content.get("schema").unwrap_or(&Value::Null);
        match members(schemas, schema, &mut self.taken) {
            Some(members) => {
                for (name, own, argument) in members {
                    if super::one_line(&name) != name {
                        self.remarks.push(HIDDEN.to_owned());
                        continue;
                    }
                    self.body.push((name, own.clone()));
                    self.inputs.push((own, argument));
                }
            }
            None => {
                let own = argument_name("body", &mut self.taken);
                self.inputs.push((own.clone(), schemas.argument(schema)));
                self.whole = Some(own);
            }
        }
        Ok(())
    }

    /// Arguments that may say whose something is.
    fn whose(&self) -> Vec<String> {
        let names = self.inputs.iter().map(|(name, _)| name);
        names.filter(|name| may_say_whose(name)).cloned().collect()
    }

    fn write(&self, call: &mut Vec<String>) {
        for (key, pairs) in
            [("query", &self.query), ("headers", &self.headers), ("body", &self.body)]
        {
            if pairs.is_empty() {
                continue;
            }
            call.push(format!("{key}:"));
            let pairs =
                pairs.iter().map(|(name, own)| format!("  {}: \"{{{own}}}\"", quoted(name)));
            call.extend(pairs);
        }
        if let Some(own) = &self.whole {
            call.push(format!("body: \"{{{own}}}\""));
        }
    }
}

/// Where the rows of an answer may be: its only list.
fn rows(schemas: &Schemas<'_>, operation: &Value) -> Option<String> {
    let response = object(operation, "responses").find(|(status, _)| status.starts_with('2'))?.1;
    let response = schemas.resolved(response).ok()?;
    let (_, content) = object(response, "content").find(|(of, _)| of.contains("json"))?;
    let schema = schemas.resolved(content.get("schema")?).ok()?;
    let lists = object(schema, "properties").filter(|(_, of)| text(of, "type") == Some("array"));
    match lists.collect::<Vec<_>>()[..] {
        [(name, _)] if super::one_line(name) == **name && !name.contains(['~', '/', ' ']) => {
            Some(format!("/{name}"))
        }
        _ => None,
    }
}
