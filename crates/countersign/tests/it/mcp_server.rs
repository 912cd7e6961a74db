//! An MCP server of ours, of both eras on one endpoint: what the conformance suite asks for by name,
//! definitions that the test changes while it serves, and a memory of its session.

use crate::plain::{Plain, defined};
use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    ElicitRequestParams, ErrorCode, ErrorData, GetPromptRequestParams, GetPromptResponse,
    GetPromptResult, InputRequiredResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam,
    ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
    ServerConfig, SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
};
use rmcp::service::{Peer, RequestContext, RoleServer, SubscriptionContext};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::sleep;

/// One red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

/// Which revisions a server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// All of them.
    Both,
    /// Up to 2025-11-25: with `initialize`, and sessions.
    Old,
    /// 2026-07-28 alone.
    New,
}

/// A running server, until it is dropped.
pub(crate) struct McpServer {
    pub(crate) origin: String,
    shared: Arc<Shared>,
    /// Its own, so that its end is that of every connection.
    runtime: Option<Runtime>,
}

impl Drop for McpServer {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

struct Shared {
    era: Era,
    /// `tools`, `resources`, `resourceTemplates`, `prompts`.
    defined: Mutex<Value>,
    /// What of `defined` has been announced to have changed.
    announced: watch::Sender<u64>,
    /// Clients with a session.
    peers: Mutex<Vec<Peer<RoleServer>>>,
    /// Every request, by what it called.
    called: Mutex<Vec<String>>,
}

impl McpServer {
    pub(crate) async fn serve(era: Era, defined: Value) -> Self {
        Self::serve_at("127.0.0.1:0", era, defined).await
    }

    /// Where it is to listen.
    pub(crate) async fn serve_at(address: &str, era: Era, defined: Value) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = address.to_owned();
        let bound = runtime.spawn(async move {
            loop {
                // Whoever was there before it may not be gone yet.
                match TcpListener::bind(&address).await {
                    Err(error) if error.kind() == ErrorKind::AddrInUse => {
                        sleep(Duration::from_millis(10)).await;
                    }
                    bound => return bound.unwrap(),
                }
            }
        });
        let listener = bound.await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            era,
            defined: Mutex::new(defined),
            announced: watch::Sender::new(0),
            peers: Mutex::default(),
            called: Mutex::default(),
        });
        let each = Arc::clone(&shared);
        let service = StreamableHttpService::new(
            move || Ok(Session { shared: Arc::clone(&each), told: Mutex::default() }),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default().with_allowed_origins([origin.clone()]),
        );
        let router = Router::new().nest_service("/mcp", service);
        runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { origin, shared, runtime: Some(runtime) }
    }

    /// With the names that the conformance suite asks for.
    pub(crate) async fn of_the_suite() -> Self {
        Self::serve(Era::Both, suite()).await
    }

    /// What it defines, as a client hears it: what is to be pinned.
    pub(crate) async fn defined(&self) -> Value {
        let mut client = Plain::over_http(&format!("{}/mcp", self.origin), None).await;
        defined(&mut client).await
    }

    /// Changes what is defined, and says so to nobody.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut defined = self.shared.defined.lock().unwrap();
        let before = defined.clone();
        change(&mut defined);
        assert_ne!(before, *defined, "nothing is changed");
    }

    /// Says to all who listen that tools have changed.
    pub(crate) async fn announce(&self) {
        self.shared.announced.send_modify(|count| *count += 1);
        let peers = self.shared.peers.lock().unwrap().clone();
        for peer in peers {
            drop(peer.notify_tool_list_changed().await); // It may be gone.
        }
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.shared.announced.receiver_count() + self.shared.peers.lock().unwrap().len()
    }

    /// What has been called, in order.
    pub(crate) fn called(&self) -> Vec<String> {
        self.shared.called.lock().unwrap().clone()
    }
}

/// Of one session, in the older era; of one request, in the newer.
struct Session {
    shared: Arc<Shared>,
    told: Mutex<Vec<String>>,
}

fn read<T: DeserializeOwned>(mut value: Value) -> T {
    if value.get("serverInfo").is_none() && value.get("inputRequests").is_none() {
        value["resultType"] = json!("complete"); // The older era is not told.
    }
    serde_json::from_value(value).unwrap()
}

fn no_such(what: &str) -> ErrorData {
    ErrorData::invalid_params(format!("there is no `{what}`"), None)
}

fn text(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

/// A second of silence.
fn wav() -> String {
    let mut bytes = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\x04\0\0\0".to_vec();
    bytes.extend([0x80; 4]);
    STANDARD.encode(bytes)
}

impl Session {
    fn defined<T: DeserializeOwned>(&self, list: &str) -> T {
        let defined = self.shared.defined.lock().unwrap();
        let of = defined.get(list).cloned().unwrap_or_else(|| json!([]));
        read(json!({ list: of, "ttlMs": 0, "cacheScope": "private" }))
    }

    fn called(&self, what: &str) {
        self.shared.called.lock().unwrap().push(what.to_owned());
    }

    /// What a tool answers that asks nobody.
    fn answer(&self, tool: &str, arguments: &Value) -> Option<Value> {
        let image = json!({ "type": "image", "data": PNG, "mimeType": "image/png" });
        let resource = |uri: &str| {
            let resource =
                json!({ "uri": uri, "mimeType": "text/plain", "text": "A text in a resource." });
            json!({ "type": "resource", "resource": resource })
        };
        Some(match tool {
            "test_simple_text" => text("This is a simple text response for testing."),
            "test_image_content" => json!({ "content": [image] }),
            "test_audio_content" => json!({
                "content": [{ "type": "audio", "data": wav(), "mimeType": "audio/wav" }]
            }),
            "test_embedded_resource" => {
                json!({ "content": [resource("test://embedded-resource")] })
            }
            "test_multiple_content_types" => json!({ "content": [
                { "type": "text", "text": "Several kinds:" }, image, resource("test://mixed-content-resource"),
            ] }),
            "test_error_handling" => json!({
                "isError": true,
                "content": [{ "type": "text", "text": "This tool intentionally returns an error for testing" }],
            }),
            "test_logging_tool" | "test_tool_with_logging" | "test_streaming_elicitation" => {
                text("done")
            }
            "echo" => json!({
                "content": [{ "type": "text", "text": arguments.to_string() }], "structuredContent": arguments
            }),
            "remember" => {
                let word = arguments["word"].as_str().unwrap_or_default().to_owned();
                self.told.lock().unwrap().push(word);
                text("remembered")
            }
            "recall" => text(&self.told.lock().unwrap().join(" ")),
            _ => return None,
        })
    }

    async fn progress(&self, cx: &RequestContext<RoleServer>) {
        let Some(token) = cx.meta.get_progress_token() else { return };
        for step in [0.0, 50.0, 100.0] {
            let param = ProgressNotificationParam::new(token.clone(), step).with_total(100.0);
            drop(cx.peer.notify_progress(param).await); // Whoever asked may be gone.
            sleep(Duration::from_millis(60)).await;
        }
    }

    #[expect(deprecated, reason = "servers in the field log so")]
    async fn log(cx: &RequestContext<RoleServer>) {
        for line in ["begun", "half way", "done"] {
            let said = read(json!({ "level": "info", "data": line }));
            drop(cx.peer.notify_logging_message(said).await); // Whoever asked may be gone.
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What a tool of the older era asks of the client.
    async fn asks(&self, tool: &str, cx: &RequestContext<RoleServer>) -> Option<Value> {
        let asked = match tool {
            "test_sampling" => {
                let message =
                    json!({ "role": "user", "content": { "type": "text", "text": "Hello" } });
                let asked = read(json!({ "messages": [message], "maxTokens": 100 }));
                #[expect(deprecated, reason = "servers in the field ask so")]
                let answered = cx.peer.create_message(asked).await;
                answered.map(|result| json!(result))
            }
            _ => {
                let schema = form(tool)?;
                let asked: ElicitRequestParams =
                    read(json!({ "mode": "form", "message": "What?", "requestedSchema": schema }));
                cx.peer.create_elicitation(asked).await.map(|result| json!(result))
            }
        };
        Some(match asked {
            Ok(answer) => text(&format!("answered: {answer}")),
            Err(error) => {
                json!({ "isError": true, "content": [{ "type": "text", "text": error.to_string() }] })
            }
        })
    }

    /// What a tool of the newer era wants before it answers.
    fn wants(tool: &str) -> Option<Value> {
        let (key, method, params) = match tool {
            "test_input_required_result_elicitation" => (
                "user_name",
                "elicitation/create",
                json!({ "mode": "form", "message": "Who?", "requestedSchema": {
                    "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"],
                } }),
            ),
            "test_input_required_result_sampling" => (
                "capital",
                "sampling/createMessage",
                json!({ "maxTokens": 100, "messages": [
                    { "role": "user", "content": { "type": "text", "text": "What is the capital of France?" } },
                ] }),
            ),
            "test_input_required_result_list_roots" => ("roots", "roots/list", json!({})),
            _ => return None,
        };
        Some(json!({
            "resultType": "input_required", "inputRequests": { key: { "method": method, "params": params } },
        }))
    }
}

impl ServerHandler for Session {
    fn get_info(&self) -> ServerConfig {
        let capabilities = json!({
            "tools": { "listChanged": true }, "resources": { "subscribe": true }, "prompts": {},
            "logging": {}, "completions": {},
        });
        read(json!({
            "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "serverInfo": { "name": "of-ours", "version": "1" },
        }))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        let old = ProtocolVersion::known_up_to(&ProtocolVersion::LATEST_WITH_INITIALIZE);
        match self.shared.era {
            Era::Both => ProtocolVersion::KNOWN_VERSIONS.into(),
            Era::Old => old.into(),
            Era::New => vec![ProtocolVersion::LATEST].into(),
        }
    }

    async fn on_initialized(&self, cx: rmcp::service::NotificationContext<RoleServer>) {
        self.shared.peers.lock().unwrap().push(cx.peer);
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(read(json!({ "toolsListChanged": asked.tools_list_changed.unwrap_or(false) })))
    }

    async fn listen(&self, cx: SubscriptionContext) -> Result<(), ErrorData> {
        let mut announced = self.shared.announced.subscribe();
        loop {
            tokio::select! {
                () = cx.cancelled() => return Ok(()),
                Ok(()) = announced.changed() => {
                    drop(cx.sink().notify_tool_list_changed().await); // Whoever listens may be gone.
                }
            }
        }
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Ok(read(json!({ "completion": { "values": ["parcel"] } })))
    }

    #[expect(deprecated, reason = "clients in the field set it")]
    async fn set_level(
        &self,
        _: rmcp::model::SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(
        &self,
        _: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(self.defined("tools"))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(self.defined("resources"))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(self.defined("resourceTemplates"))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(self.defined("prompts"))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = request.name.as_ref();
        self.called(tool);
        let arguments = Value::Object(request.arguments.clone().unwrap_or_default());
        if tool == "test_tool_with_progress" {
            self.progress(&cx).await;
            return Ok(read::<CallToolResult>(text("done")).into());
        }
        if tool == "test_tool_with_logging" {
            Self::log(&cx).await;
        }
        if let Some(answer) = self.answer(tool, &arguments) {
            return Ok(read::<CallToolResult>(answer).into());
        }
        if let Some(wanted) = Self::wants(tool) {
            let answered = json!(request.input_responses);
            return Ok(match answered.as_object().filter(|answers| !answers.is_empty()) {
                None => CallToolResponse::InputRequired(read::<InputRequiredResult>(wanted)),
                Some(_) => read::<CallToolResult>(text("answered")).into(),
            });
        }
        match self.asks(tool, &cx).await {
            Some(answer) => Ok(read::<CallToolResult>(answer).into()),
            None => Err(no_such(tool)),
        }
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        self.called(uri);
        let data = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let contents = match (uri, data) {
            ("test://static-text", _) => {
                json!({ "uri": uri, "mimeType": "text/plain", "text": "A text that stays as it is." })
            }
            ("test://static-binary", _) => {
                json!({ "uri": uri, "mimeType": "image/png", "blob": PNG })
            }
            (_, Some(id)) => {
                let said =
                    json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
                json!({ "uri": uri, "mimeType": "application/json", "text": said.to_string() })
            }
            _ => {
                let data = json!({ "uri": uri });
                return Err(ErrorData::new(
                    ErrorCode::INVALID_PARAMS,
                    "there is no such resource",
                    Some(data),
                ));
            }
        };
        let result = json!({ "contents": [contents], "ttlMs": 0, "cacheScope": "private" });
        Ok(read::<ReadResourceResult>(result).into())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let name = request.name.as_str();
        self.called(name);
        let arguments = json!(request.arguments);
        let says = |content: Value| json!({ "role": "user", "content": content });
        let text = |text: &str| says(json!({ "type": "text", "text": text }));
        let messages = match name {
            "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
            "test_prompt_with_arguments" => {
                let [one, two] =
                    ["arg1", "arg2"].map(|name| arguments[name].as_str().unwrap_or_default());
                vec![text(&format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
            }
            "test_prompt_with_embedded_resource" => {
                let uri =
                    arguments["resourceUri"].as_str().ok_or_else(|| no_such("resourceUri"))?;
                let resource = json!({ "uri": uri, "mimeType": "text/plain", "text": "A text in a resource." });
                vec![says(json!({ "type": "resource", "resource": resource })), text("Read it.")]
            }
            "test_prompt_with_image" => {
                vec![
                    says(json!({ "type": "image", "data": PNG, "mimeType": "image/png" })),
                    text("See it."),
                ]
            }
            _ => return Err(no_such(name)),
        };
        Ok(read::<GetPromptResult>(json!({ "messages": messages })).into())
    }
}

/// The form that a tool of the older era has filled in.
fn form(tool: &str) -> Option<Value> {
    let titled =
        json!([{ "const": "a", "title": "The first" }, { "const": "b", "title": "The second" }]);
    let properties = match tool {
        "test_elicitation" => json!({ "response": { "type": "string" } }),
        "test_elicitation_sep1034_defaults" => json!({
            "name": { "type": "string", "default": "John Doe" },
            "age": { "type": "integer", "default": 30 },
            "score": { "type": "number", "default": 95.5 },
            "status": { "type": "string", "enum": ["active", "inactive", "pending"], "default": "active" },
            "verified": { "type": "boolean", "default": true },
        }),
        "test_elicitation_sep1330_enums" => json!({
            "untitledSingle": { "type": "string", "enum": ["a", "b"] },
            "titledSingle": { "type": "string", "oneOf": titled },
            "legacyEnum": { "type": "string", "enum": ["a", "b"], "enumNames": ["The first", "The second"] },
            "untitledMulti": { "type": "array", "items": { "type": "string", "enum": ["a", "b"] } },
            "titledMulti": { "type": "array", "items": { "anyOf": titled } },
        }),
        _ => return None,
    };
    Some(json!({ "type": "object", "properties": properties, "required": [] }))
}

/// A tool that takes these properties, all of them required.
pub(crate) fn tool(name: &str, properties: Value) -> Value {
    let required: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
    json!({
        "name": name, "description": format!("What the suite knows as {name}."),
        "inputSchema": { "type": "object", "properties": properties, "required": required },
    })
}

/// What remembers, and says, what its session was told.
pub(crate) fn memory() -> Value {
    json!({ "tools": [tool("remember", json!({ "word": { "type": "string" } })), tool("recall", json!({}))] })
}

fn suite() -> Value {
    let plain = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_error_handling",
        "test_tool_with_logging",
        "test_logging_tool",
        "test_streaming_elicitation",
        "test_tool_with_progress",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_input_required_result_elicitation",
        "test_input_required_result_sampling",
        "test_input_required_result_list_roots",
    ];
    let mut tools: Vec<Value> = plain.iter().map(|name| tool(name, json!({}))).collect();
    tools.push(tool("test_sampling", json!({ "prompt": { "type": "string" } })));
    tools.push(tool("test_elicitation", json!({ "message": { "type": "string" } })));
    let argument = |name: &str| json!({ "name": name, "description": "A text.", "required": true });
    let prompt = |name: &str, arguments: &[&str]| {
        let arguments: Vec<Value> = arguments.iter().map(|name| argument(name)).collect();
        json!({ "name": name, "description": format!("What the suite knows as {name}."), "arguments": arguments })
    };
    json!({
        "tools": tools,
        "resources": [
            { "uri": "test://static-text", "name": "static-text", "description": "A text.", "mimeType": "text/plain" },
            { "uri": "test://static-binary", "name": "static-binary", "description": "A picture.", "mimeType": "image/png" },
        ],
        "resourceTemplates": [
            { "uriTemplate": "test://template/{id}/data", "name": "template", "description": "Data by its number.", "mimeType": "application/json" },
        ],
        "prompts": [
            prompt("test_simple_prompt", &[]),
            prompt("test_prompt_with_arguments", &["arg1", "arg2"]),
            prompt("test_prompt_with_embedded_resource", &["resourceUri"]),
            prompt("test_prompt_with_image", &[]),
        ],
    })
}
