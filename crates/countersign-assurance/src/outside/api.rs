//! The interfaces by which models are spoken to: what is sent, and what an answer says.

use crate::bound::MODEL_TOKENS_MAX;
use serde_json::{Map, Value, json};

/// One of the providers' interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Responses.
    Responses,
    /// OpenAI's Chat Completions, which many others speak as well.
    Chat,
}

/// How many tokens were paid for, as the provider counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// That the model read.
    pub input: u64,
    /// That it wrote.
    pub output: u64,
}

impl Tokens {
    /// Both sums.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
        }
    }
}

/// One answer of a model.
#[derive(Debug)]
pub(super) struct Turn {
    /// What it asks for; nothing, if it has come to its end.
    pub(super) wanted: Vec<Wanted>,
    /// What it says to the person.
    pub(super) words: String,
    /// All of it, for it to read again.
    pub(super) said: Vec<Value>,
    pub(super) tokens: Tokens,
}

/// A call that a model asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The provider's own name of it.
    pub(super) id: String,
    pub(super) tool: String,
    /// `None` if what it wrote is no object.
    pub(super) arguments: Option<Map<String, Value>>,
}

impl Wanted {
    fn of(id: Option<&Value>, tool: Option<&Value>, arguments: Option<&Value>) -> Option<Self> {
        let arguments = match arguments {
            Some(Value::String(text)) => serde_json::from_str(text).ok(),
            other => other.cloned(),
        };
        let arguments = arguments.and_then(|value| value.as_object().cloned());
        let text = |value: Option<&Value>| Some(value?.as_str()?.to_owned());
        Some(Self { id: text(id)?, tool: text(tool)?, arguments })
    }
}

/// What came of a call, for the model: the provider's name of it, what it is told, whether that is an
/// error.
pub(super) type Answered = (String, String, bool);

impl Api {
    /// Where requests go, below the base URL.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::Responses => "/responses",
            Self::Chat => "/chat/completions",
        }
    }

    /// A tool as MCP lists it, as this provider wants it.
    pub(super) fn declared(self, tool: &Value) -> Value {
        let of = |key: &str| tool.get(key).cloned().unwrap_or_default();
        let (name, description, schema) = (of("name"), of("description"), of("inputSchema"));
        match self {
            Self::Messages => {
                json!({ "name": name, "description": description, "input_schema": schema })
            }
            // Strict tools allow of JSON Schema a part alone.
            Self::Responses => json!({
                "type": "function", "name": name, "description": description, "parameters": schema,
                "strict": false,
            }),
            Self::Chat => json!({ "type": "function", "function": {
                "name": name, "description": description, "parameters": schema,
            } }),
        }
    }

    pub(super) fn body(self, model: &str, (said, tools): (&[Value], &[Value])) -> Value {
        match self {
            Self::Messages => json!({
                "model": model, "max_tokens": MODEL_TOKENS_MAX, "messages": said, "tools": tools,
            }),
            // Nothing of a run stays with the provider.
            Self::Responses => json!({
                "model": model, "max_output_tokens": MODEL_TOKENS_MAX, "input": said, "tools": tools,
                "store": false,
            }),
            Self::Chat => json!({ "model": model, "messages": said, "tools": tools }),
        }
    }

    /// What an answer says.
    ///
    /// # Errors
    /// A sentence, if it is none of this interface's, or not whole.
    pub(super) fn read(self, answer: &Value) -> Result<Turn, String> {
        match self {
            Self::Messages => messages(answer),
            Self::Responses => responses(answer),
            Self::Chat => chat(answer),
        }
    }

    /// What came of its calls, for the model to read.
    pub(super) fn results(self, results: Vec<Answered>) -> Vec<Value> {
        let one = |(id, text, error): Answered| match self {
            Self::Messages => json!({
                "type": "tool_result", "tool_use_id": id, "content": text, "is_error": error,
            }),
            Self::Responses => {
                json!({ "type": "function_call_output", "call_id": id, "output": text })
            }
            Self::Chat => json!({ "role": "tool", "tool_call_id": id, "content": text }),
        };
        let results: Vec<_> = results.into_iter().map(one).collect();
        match self {
            Self::Messages => vec![json!({ "role": "user", "content": results })],
            Self::Responses | Self::Chat => results,
        }
    }
}

fn messages(answer: &Value) -> Result<Turn, String> {
    let parts = list(answer, "/content")?;
    whole(answer.get("stop_reason"), &["max_tokens", "model_context_window_exceeded"])?;
    let calls = of_type(parts, "tool_use");
    let wanted = calls.map(|part| Wanted::of(part.get("id"), part.get("name"), part.get("input")));
    Ok(Turn {
        wanted: all(wanted)?,
        words: of_type(parts, "text").filter_map(|part| part.get("text")?.as_str()).collect(),
        said: vec![json!({ "role": "assistant", "content": parts })],
        tokens: tokens(answer, ["input_tokens", "output_tokens"]),
    })
}

fn responses(answer: &Value) -> Result<Turn, String> {
    let parts = list(answer, "/output")?;
    whole(answer.get("status"), &["incomplete", "failed", "cancelled"])?;
    let calls = of_type(parts, "function_call");
    let wanted =
        calls.map(|part| Wanted::of(part.get("call_id"), part.get("name"), part.get("arguments")));
    let content = of_type(parts, "message").filter_map(|part| part.get("content")?.as_array());
    let text = |part: &Value| {
        let text = part.get("text").or_else(|| part.get("refusal"));
        text.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    // Items that are not stored have no id by which they could be meant, and what a model thought to
    // itself is taken by its id alone.
    let said = parts.iter().filter(|part| part.get("type") != Some(&json!("reasoning"))).cloned();
    let said = said.map(|mut part| {
        if let Some(members) = part.as_object_mut() {
            members.remove("id");
            members.remove("status");
        }
        part
    });
    Ok(Turn {
        wanted: all(wanted)?,
        words: content.flatten().map(text).collect(),
        said: said.collect(),
        tokens: tokens(answer, ["input_tokens", "output_tokens"]),
    })
}

fn chat(answer: &Value) -> Result<Turn, String> {
    let choice = list(answer, "/choices")?.first();
    let message = choice.and_then(|choice| choice.get("message")).filter(|m| m.is_object());
    let message = message.ok_or("the model's answer has no `message`")?;
    whole(choice.and_then(|choice| choice.get("finish_reason")), &["length"])?;
    let calls = message.get("tool_calls").and_then(Value::as_array);
    let wanted = calls.into_iter().flatten().map(|call| {
        let function = call.get("function")?;
        Wanted::of(call.get("id"), function.get("name"), function.get("arguments"))
    });
    let words = message.get("content").filter(|content| !content.is_null());
    let words = words.or_else(|| message.get("refusal")).and_then(Value::as_str);
    // Other members are not taken back by everybody who writes them.
    let mut said = json!({ "role": "assistant", "content": message.get("content") });
    if let (Some(said), Some(calls)) = (said.as_object_mut(), calls) {
        said.insert("tool_calls".to_owned(), json!(calls));
    }
    Ok(Turn {
        wanted: all(wanted)?,
        words: words.unwrap_or_default().to_owned(),
        said: vec![said],
        tokens: tokens(answer, ["prompt_tokens", "completion_tokens"]),
    })
}

fn list<'v>(answer: &'v Value, at: &str) -> Result<&'v Vec<Value>, String> {
    let found = answer.pointer(at).and_then(Value::as_array);
    found.ok_or_else(|| format!("the model's answer has no list `{}`", at.trim_start_matches('/')))
}

fn of_type<'v>(parts: &'v [Value], kind: &'static str) -> impl Iterator<Item = &'v Value> {
    parts.iter().filter(move |part| part.get("type").and_then(Value::as_str) == Some(kind))
}

fn all(wanted: impl Iterator<Item = Option<Wanted>>) -> Result<Vec<Wanted>, String> {
    let all: Option<Vec<_>> = wanted.collect();
    all.ok_or_else(|| "the model asks for a call without a name or an id".to_owned())
}

/// What was cut off is no answer: half of a call may be missing.
fn whole(ended: Option<&Value>, cut: &[&str]) -> Result<(), String> {
    match ended.and_then(Value::as_str).filter(|word| cut.contains(word)) {
        Some(word) => Err(format!("the model's answer is not whole: `{word}`")),
        None => Ok(()),
    }
}

fn tokens(answer: &Value, [input, output]: [&str; 2]) -> Tokens {
    let of = |name| answer.get("usage").and_then(|usage| usage.get(name)?.as_u64()).unwrap_or(0);
    Tokens { input: of(input), output: of(output) }
}
