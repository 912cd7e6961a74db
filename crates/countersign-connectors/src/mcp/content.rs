//! What a server answered made into a result, within bounds, held against what was reviewed.

use super::Trouble;
use crate::gather::Gathered;
use crate::http::rows;
use countersign_core::args::parse_answer;
use countersign_core::port::{Report, Shape};
use countersign_core::refusal::{Applied, SystemFaultKind};
use countersign_core::tool::{McpAsk, McpPlan};
use serde_json::{Map, Value};

/// Most bytes of a server's words that an agent is told with an error.
const SAID_BYTES_MAX: usize = 2 * 1024;

/// The result of a request, or why there is none.
pub(super) fn report(mut result: Map<String, Value>, plan: &McpPlan) -> Result<Report, Trouble> {
    check_complete(&result)?;
    match &plan.ask {
        McpAsk::Tool { .. } => tool(result, plan),
        McpAsk::Resource(_) => {
            let contents = list(result.remove("contents"), "contents")?;
            let kept = contents.into_iter().map(|item| resource(&item));
            blocks(kept, plan)
                .map(|gathered| Report { shape: Shape::Contents, ..gathered.report() })
        }
        McpAsk::Prompt { .. } => {
            let messages = list(result.remove("messages"), "messages")?;
            let kept = messages.into_iter().map(|item| message(&item));
            blocks(kept, plan)
                .map(|gathered| Report { shape: Shape::Messages, ..gathered.report() })
        }
    }
}

/// A result that says it is not one is none. The server may have done something before it asked.
fn check_complete(result: &Map<String, Value>) -> Result<(), Trouble> {
    match result.get("resultType").map(Value::as_str) {
        None | Some(Some("complete")) => Ok(()),
        Some(Some("input_required")) => {
            let requests = result.get("inputRequests").and_then(Value::as_object);
            let methods = requests.into_iter().flat_map(Map::values);
            let methods = methods.filter_map(|request| request.get("method")?.as_str());
            let methods: Vec<_> = methods.take(4).map(|method| format!("`{method}`")).collect();
            Err(Trouble::refused(asks(&methods.join(", ")), Applied::Unknown))
        }
        Some(_) => Err(failed("the result is of a type that is not known here")),
    }
}

/// That a server asks something of its client.
pub(super) fn asks(what: &str) -> String {
    format!(
        "The server asks its client for something ({what}), and this gateway never answers that."
    )
}

fn tool(mut result: Map<String, Value>, plan: &McpPlan) -> Result<Report, Trouble> {
    let content = match result.remove("content") {
        None => Vec::new(),
        content => list(content, "content")?,
    };
    if result.get("isError") == Some(&Value::Bool(true)) {
        let applied = if plan.undone_on_error { Applied::NotApplied } else { Applied::Unknown };
        return Err(Trouble::refused(words(&content), applied));
    }
    let structured = result.remove("structuredContent");
    check_output(structured.as_ref(), plan)?;
    if let Some(pointer) = &plan.rows {
        let found = match structured {
            Some(structured) => structured,
            None => only_text(&content)?,
        };
        return rows(found, (pointer, &plan.pick), plan.bounds).map_err(|why| failed(&why));
    }
    let gathered = blocks(content.into_iter().map(|item| block(&item)), plan)?;
    if structured.as_ref().is_some_and(|value| value.to_string().len() > bytes_max(plan)) {
        return Err(failed("the structured content is longer than the system's `bytes`"));
    }
    Ok(Report { shape: Shape::Content(structured), ..gathered.report() })
}

/// What was reviewed says what may come back.
fn check_output(structured: Option<&Value>, plan: &McpPlan) -> Result<(), Trouble> {
    let Some(schema) = &plan.pin.output else { return Ok(()) };
    let structured = structured.ok_or_else(|| failed("there is no structured content, and the definition as it was reviewed says that there is"))?;
    match schema.issues(structured).first() {
        None => Ok(()),
        Some(issue) => {
            let (path, expected) = (&issue.path, &issue.expected);
            Err(failed(&format!(
                "the structured content does not fit the output schema as it was reviewed: {path} must {expected}"
            )))
        }
    }
}

/// The value that a result's one text is, for servers that know no structured content.
fn only_text(content: &[Value]) -> Result<Value, Trouble> {
    let text = match content {
        [only] => only.get("text").and_then(Value::as_str),
        _ => None,
    };
    let text =
        text.ok_or_else(|| failed("there is no structured content, and not one text alone"))?;
    let value = parse_answer(text.as_bytes());
    value.map_err(|error| {
        failed(&format!("the text is no JSON that everybody reads alike: {error}"))
    })
}

/// The words of an error result.
fn words(content: &[Value]) -> String {
    let texts = content.iter().filter_map(|item| item.get("text").and_then(Value::as_str));
    cut(&texts.collect::<Vec<_>>().join("\n"))
}

pub(super) fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(SAID_BYTES_MAX)).unwrap_or(text).to_owned()
}

fn blocks(
    kept: impl Iterator<Item = Result<Map<String, Value>, Trouble>>,
    plan: &McpPlan,
) -> Result<Gathered, Trouble> {
    let mut gathered = Gathered::within(plan.bounds);
    for block in kept {
        if !gathered.has_room() || !gathered.keep(block?) {
            break;
        }
    }
    Ok(gathered)
}

/// A block of content: of a type that is known, with what that type has and nothing else.
fn block(item: &Value) -> Result<Map<String, Value>, Trouble> {
    let kind = item.get("type").and_then(Value::as_str).unwrap_or_default();
    let (needed, others): (&[&str], &[&str]) = match kind {
        "text" => (&["text"], &["annotations"]),
        "image" | "audio" => (&["data", "mimeType"], &["annotations"]),
        "resource_link" => {
            (&["uri", "name"], &["title", "description", "mimeType", "size", "annotations"])
        }
        "resource" => {
            let inner = item.get("resource").ok_or_else(|| failed("a resource has no content"))?;
            let mut block = kept(item, (&["type"], &["annotations"]))?;
            block.insert("resource".to_owned(), Value::Object(resource(inner)?));
            return Ok(block);
        }
        _ => return Err(failed("a block of the content is of a type that is not known here")),
    };
    let mut block = kept(item, (needed, others))?;
    block.insert("type".to_owned(), kind.into());
    Ok(block)
}

/// The content of a resource: a text, or bytes in Base64.
fn resource(item: &Value) -> Result<Map<String, Value>, Trouble> {
    let body: &[&str] =
        if item.get("text").is_some() { &["uri", "text"] } else { &["uri", "blob"] };
    kept(item, (body, &["mimeType", "annotations"]))
}

/// A message of a prompt.
fn message(item: &Value) -> Result<Map<String, Value>, Trouble> {
    let content = item.get("content").ok_or_else(|| failed("a message has no content"))?;
    let mut message = kept(item, (&["role"], &[]))?;
    if !matches!(message.get("role").and_then(Value::as_str), Some("user" | "assistant")) {
        return Err(failed("a message is of nobody's who is known here"));
    }
    message.insert("content".to_owned(), Value::Object(block(content)?));
    Ok(message)
}

/// Those members of `item` that are texts and needed, and others that may be there.
fn kept(item: &Value, (needed, others): (&[&str], &[&str])) -> Result<Map<String, Value>, Trouble> {
    let mut kept = Map::new();
    for name in needed {
        let text = item.get(name).filter(|value| value.is_string());
        let text =
            text.ok_or_else(|| failed(&format!("a block of the content has no `{name}`")))?;
        kept.insert((*name).to_owned(), text.clone());
    }
    for name in others {
        let value = item.get(name).and_then(|value| beside(name, value));
        kept.extend(value.map(|value| ((*name).to_owned(), value)));
    }
    Ok(kept)
}

/// What may stand beside a block, if it is what MCP says it is: clients may take nothing else.
fn beside(name: &str, value: &Value) -> Option<Value> {
    match name {
        "size" => value.is_u64().then(|| value.clone()),
        "annotations" => {
            let audience = value.get("audience");
            let roles = audience.and_then(Value::as_array).into_iter().flatten();
            let known = roles.into_iter().all(|role| role == "user" || role == "assistant");
            let audience = audience.filter(|audience| audience.is_array() && known);
            let priority = value.get("priority").filter(|priority| priority.is_number());
            let kept = [("audience", audience), ("priority", priority)].into_iter();
            let kept = kept.filter_map(|(name, value)| Some((name.to_owned(), value?.clone())));
            Some(Value::Object(kept.collect())).filter(|kept| *kept != Value::Object(Map::new()))
        }
        _ => value.is_string().then(|| value.clone()),
    }
}

fn list(value: Option<Value>, name: &str) -> Result<Vec<Value>, Trouble> {
    match value {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(failed(&format!("the result has no list of `{name}`"))),
    }
}

fn bytes_max(plan: &McpPlan) -> usize {
    usize::try_from(plan.bounds.bytes_max).unwrap_or(usize::MAX)
}

/// The server answered, and not with what was reviewed: what it did is not known by that.
fn failed(detail: &str) -> Trouble {
    Trouble::new(SystemFaultKind::Failed, Applied::Unknown, detail)
}
