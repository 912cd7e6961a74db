//! Agents that are not the suite's own: the team's program, and a model.

use crate::bound::{ANSWER_BYTES_MAX, COMMAND_MAX, TURNS_MAX};
use crate::script::Session;
use reqwest::RequestBuilder;
use serde_json::{Map, Value, json};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Which of the providers' interfaces a model is spoken to by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Responses.
    Responses,
    /// OpenAI's Chat Completions, which many others speak as well.
    Chat,
}

/// A model, and where it is.
#[derive(Clone)]
pub struct Model {
    /// How it is spoken to.
    pub api: Api,
    /// Scheme, host and whatever comes before `/v1`.
    pub base_url: String,
    /// Its name there.
    pub model: String,
    /// What it is paid by.
    pub key: String,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is nobody's to read in a log.
        f.debug_struct("Model").field("api", &self.api).field("model", &self.model).finish()
    }
}

/// A tool that a model asks for: the provider's own name of the call, the tool, and its arguments.
type Wanted = (String, String, Map<String, Value>);

impl Session<'_, '_> {
    /// Has the team's program answer the message: the gateway's address and a token in its environment,
    /// the message on standard input, the answer on standard output.
    pub(crate) fn outside(&mut self, program: &str) -> Result<(), String> {
        let caller = self.case.caller.clone();
        let (token, ..) = self.token(&caller)?;
        let url = &self.site.doors.url;
        let child = Command::new("sh")
            .args(["-c", program])
            .env("COUNTERSIGN_URL", url)
            .env("COUNTERSIGN_MCP_URL", format!("{url}/mcp"))
            .env("COUNTERSIGN_TOKEN", token.unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child =
            child.map_err(|error| format!("the agent could not be started: {error}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read its message may still answer.
            drop(stdin.write_all(self.case.message.as_bytes()));
        }
        let answer = awaited(&mut child)?;
        self.observed.told.push(answer);
        self.look(&caller.tenant);
        Ok(())
    }

    /// Has a model answer the message, by a loop of the suite's own.
    pub(crate) fn converse(&mut self, model: &Model) -> Result<(), String> {
        let caller = self.case.caller.clone();
        let (token, ..) = self.token(&caller)?;
        let listed = self.site.doors.tools(token.as_deref().unwrap_or_default())?;
        let tools = listed.get("tools").and_then(Value::as_array).cloned().unwrap_or_default();
        let tools: Vec<Value> = tools.iter().map(|tool| model.declared(tool)).collect();
        let mut said = vec![json!({ "role": "user", "content": self.case.message })];
        for _ in 0..TURNS_MAX {
            let answer = self.asked(model, model.body(&said, &tools))?;
            self.observed.tokens = self.observed.tokens.saturating_add(model.tokens(&answer));
            let wanted = model.wanted(&answer);
            said.extend(model.turn(&answer));
            if wanted.is_empty() {
                self.observed.told.push(model.words(&answer));
                return Ok(());
            }
            let mut results = Vec::new();
            for (id, tool, arguments) in wanted {
                let made = self.call(None, &caller, (&tool, arguments))?;
                results.push((id, made.told.text));
            }
            said.extend(model.results(results));
        }
        Err(format!("the model came to no end in {TURNS_MAX} turns"))
    }

    fn asked(&self, model: &Model, body: Value) -> Result<Value, String> {
        let request = model.request(&self.site.doors.http).json(&body);
        let asked = self.site.doors.runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.text().await?))
        });
        let (status, text) =
            asked.map_err(|error| format!("the model did not answer: {}", error.without_url()))?;
        if !status.is_success() {
            let start: String = text.chars().take(200).collect();
            return Err(format!("the model answered {status}: {start}"));
        }
        serde_json::from_str(&text)
            .map_err(|error| format!("the model's answer is no JSON: {error}"))
    }
}

/// What a program says until it ends, which it must in time.
fn awaited(child: &mut Child) -> Result<String, String> {
    let Some(stdout) = child.stdout.take() else { return Ok(String::new()) };
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut text);
        read.map(|_| String::from_utf8_lossy(&text).into_owned())
    });
    let mut left = COMMAND_MAX;
    let step = Duration::from_millis(50);
    while !reader.is_finished() {
        if left.is_zero() {
            drop(child.kill());
            drop(child.wait());
            return Err("the agent did not come to an end in time".to_owned());
        }
        std::thread::sleep(step);
        left = left.saturating_sub(step);
    }
    let ended = child.wait().map_err(|error| error.to_string())?;
    let answer = reader.join().map_err(|_panicked| "the agent's answer was lost")?;
    match ended.success() {
        true => answer.map_err(|error| error.to_string()),
        false => Err(format!("the agent ended with {ended}")),
    }
}

impl Model {
    fn request(&self, http: &reqwest::Client) -> RequestBuilder {
        let base = self.base_url.trim_end_matches('/');
        match self.api {
            Api::Messages => http
                .post(format!("{base}/v1/messages"))
                .header("x-api-key", &self.key)
                .header("anthropic-version", "2023-06-01"),
            Api::Responses => http.post(format!("{base}/v1/responses")).bearer_auth(&self.key),
            Api::Chat => http.post(format!("{base}/v1/chat/completions")).bearer_auth(&self.key),
        }
    }

    /// A tool as MCP lists it, as this provider wants it.
    fn declared(&self, tool: &Value) -> Value {
        let of = |key: &str| tool.get(key).cloned().unwrap_or_default();
        let (name, description, schema) = (of("name"), of("description"), of("inputSchema"));
        match self.api {
            Api::Messages => {
                json!({ "name": name, "description": description, "input_schema": schema })
            }
            Api::Responses => json!({
                "type": "function", "name": name, "description": description, "parameters": schema,
                "strict": false,
            }),
            Api::Chat => json!({ "type": "function", "function": {
                "name": name, "description": description, "parameters": schema,
            } }),
        }
    }

    fn body(&self, said: &[Value], tools: &[Value]) -> Value {
        match self.api {
            Api::Messages => json!({
                "model": self.model, "max_tokens": 4_096, "messages": said, "tools": tools,
            }),
            Api::Responses => {
                json!({ "model": self.model, "input": said, "tools": tools, "store": false })
            }
            Api::Chat => json!({ "model": self.model, "messages": said, "tools": tools }),
        }
    }

    /// The parts of an answer.
    fn parts<'v>(&self, answer: &'v Value) -> Vec<&'v Value> {
        let list = match self.api {
            Api::Messages => answer.get("content"),
            Api::Responses => answer.get("output"),
            Api::Chat => answer.pointer("/choices/0/message/tool_calls"),
        };
        list.and_then(Value::as_array).into_iter().flatten().collect()
    }

    fn wanted(&self, answer: &Value) -> Vec<Wanted> {
        let parts = self.parts(answer).into_iter();
        let wanted = parts.filter_map(|part| {
            let (kind, id, name, arguments) = match self.api {
                Api::Messages => ("tool_use", part.get("id"), part.get("name"), part.get("input")),
                Api::Responses => {
                    ("function_call", part.get("call_id"), part.get("name"), part.get("arguments"))
                }
                Api::Chat => (
                    "function",
                    part.get("id"),
                    part.pointer("/function/name"),
                    part.pointer("/function/arguments"),
                ),
            };
            let fits = part.get("type").and_then(Value::as_str) == Some(kind);
            let arguments = match arguments? {
                Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
                value => value.clone(),
            };
            let arguments = arguments.as_object().cloned().unwrap_or_default();
            fits.then_some((id?.as_str()?.to_owned(), name?.as_str()?.to_owned(), arguments))
        });
        wanted.collect()
    }

    /// What the model said, for it to read again.
    fn turn(&self, answer: &Value) -> Vec<Value> {
        match self.api {
            Api::Messages => vec![json!({ "role": "assistant", "content": answer.get("content") })],
            Api::Responses => self.parts(answer).into_iter().cloned().collect(),
            Api::Chat => answer.pointer("/choices/0/message").cloned().into_iter().collect(),
        }
    }

    fn results(&self, results: Vec<(String, String)>) -> Vec<Value> {
        match self.api {
            Api::Messages => {
                let results = results.into_iter().map(|(id, text)| {
                    json!({ "type": "tool_result", "tool_use_id": id, "content": text })
                });
                vec![json!({ "role": "user", "content": results.collect::<Vec<_>>() })]
            }
            Api::Responses => results
                .into_iter()
                .map(|(id, text)| json!({ "type": "function_call_output", "call_id": id, "output": text }))
                .collect(),
            Api::Chat => results
                .into_iter()
                .map(|(id, text)| json!({ "role": "tool", "tool_call_id": id, "content": text }))
                .collect(),
        }
    }

    /// What it says to the person.
    fn words(&self, answer: &Value) -> String {
        let text =
            |part: &Value| part.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
        match self.api {
            Api::Messages => self.parts(answer).into_iter().map(text).collect(),
            Api::Responses => {
                let parts = self
                    .parts(answer)
                    .into_iter()
                    .filter_map(|part| part.get("content")?.as_array());
                parts.flatten().map(text).collect()
            }
            Api::Chat => {
                let content = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
                content.unwrap_or_default().to_owned()
            }
        }
    }

    /// How many tokens an answer cost, as the provider counts them.
    fn tokens(&self, answer: &Value) -> u64 {
        let names = match self.api {
            Api::Messages | Api::Responses => ["input_tokens", "output_tokens"],
            Api::Chat => ["prompt_tokens", "completion_tokens"],
        };
        let usage = |name: &&str| answer.get("usage")?.get(*name)?.as_u64();
        names.iter().filter_map(usage).fold(0, u64::saturating_add)
    }
}
