//! Real MCP servers, asked by the same client with the same arguments, direct and with the gateway in
//! front: content, structured content and the flag of errors are the same. `scripts/test` installs them.

use crate::clients::installed;
use crate::drafted::{AGENT, Drafted, Upstream};
use crate::gateway::{Company, Gateway, Who};
use crate::plain::{Plain, defined};
use crate::server::free_port;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_core::tool::Defined;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const WHO: Who<'_> = Who { agent: AGENT, tenant: "ann", session: "same", depots: &[] };

/// A server's program, with nothing in its environment.
struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    fn node(script: &str, arguments: &[&str]) -> Self {
        let path = std::env::var_os("PATH").unwrap();
        let mut found = std::env::split_paths(&path).map(|folder| folder.join("node"));
        let script = installed("node_modules/@modelcontextprotocol").join(script);
        Self {
            path: found.find(|path| path.exists()).unwrap(),
            arguments: Self::words(&script.canonicalize().unwrap(), arguments),
        }
    }

    fn python(script: &str, arguments: &[&str]) -> Self {
        let bin = installed("venv/bin").canonicalize().unwrap();
        let script = installed(script).canonicalize().unwrap();
        Self { path: bin.join("python"), arguments: Self::words(&script, arguments) }
    }

    fn words(script: &Path, arguments: &[&str]) -> Vec<String> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        std::iter::once(script.to_str().unwrap().to_owned()).chain(arguments).collect()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env_clear();
        command
    }

    fn mcp(&self) -> Value {
        json!({ "program": "upstream", "arguments": self.arguments })
    }

    /// What stands for it in the deployment.
    fn reference(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// A program that listens, until it is dropped.
struct Listening {
    child: Child,
    origin: String,
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Listening {
    async fn at(port: u16, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let listening = Self { child, origin: format!("http://127.0.0.1:{port}") };
        for _ in 0..1_200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return listening;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not listen");
    }

    async fn client(&self) -> Plain {
        Plain::over_http(&format!("{}/mcp", self.origin), None).await
    }

    fn mcp() -> Value {
        json!({ "origin": "upstream", "networks": ["127.0.0.0/8"] })
    }
}

/// What is asked, and of what kind.
type Asked = (Defined, &'static str, Value);

/// A server's own client, and one of the gateway's in front of it.
struct Both {
    direct: Plain,
    through: Plain,
    drafted: Drafted,
    _gateway: Gateway,
    _company: Company,
}

impl Both {
    async fn of(mut direct: Plain, mcp: Value, reference: &str) -> Self {
        let defined = defined(&mut direct).await;
        let upstream = Upstream { mcp, references: &[("upstream", reference)], defined: &defined };
        let (company, drafted) = upstream.company(&[]);
        // What `import` hears is what the plain client heard: it fails if anything is another.
        let told = company.says(&["import", "mcp", "upstream"]);
        assert!(told.contains("Pinned 0 new definitions"), "{told}");
        let gateway = company.serve();
        let token = gateway.token(WHO).await;
        let through = Plain::over_http(&format!("{}/mcp", gateway.url), Some(&token)).await;
        Self { direct, through, drafted, _gateway: gateway, _company: company }
    }

    /// At least nine in ten of what is defined, and all of it tried.
    fn judge_coverage(&self, asked: &[Asked]) {
        let Drafted { granted, left } = &self.drafted;
        assert!(granted.len() >= 9 * left.len(), "left: {left:?}");
        let tried = |(of, name): &&(Defined, String)| {
            asked.iter().any(|(asked, what, _)| match of {
                // A template's URI is asked for with something in its place.
                Defined::Template => {
                    let (before, _) = name.split_once('{').unwrap();
                    asked == of && what.starts_with(before)
                }
                _ => asked == of && what == name,
            })
        };
        let untried: Vec<_> = granted.iter().filter(|one| !tried(one)).collect();
        assert!(untried.is_empty(), "{untried:?}");
    }

    async fn judge(&mut self, asked: &[Asked]) {
        let direct = said(&mut self.direct, asked).await;
        let through = said(&mut self.through, asked).await;
        self.compare(asked, &direct, &through);
    }

    fn compare(&self, asked: &[Asked], direct: &[Value], through: &[Value]) {
        let mut differ = Vec::new();
        for ((what, direct), through) in asked.iter().zip(direct).zip(through) {
            let same = match failure(direct) {
                None => direct == through,
                Some(words) => failure(through).is_some_and(|said| said.contains(&words)),
            };
            if !same {
                differ.push(format!("{what:?}\n  direct  {direct}\n  through {through}"));
            }
        }
        assert!(differ.is_empty(), "{} of {}:\n{}", differ.len(), asked.len(), differ.join("\n"));
        println!("{} calls are answered alike", asked.len());
    }
}

async fn said(client: &mut Plain, asked: &[Asked]) -> Vec<Value> {
    let mut answers = Vec::new();
    for (of, name, arguments) in asked {
        let answer = match of {
            Defined::Tool => client.call(name, arguments).await,
            Defined::Resource | Defined::Template => {
                client.ask("resources/read", json!({ "uri": name })).await
            }
            Defined::Prompt => {
                client.ask("prompts/get", json!({ "name": name, "arguments": arguments })).await
            }
        };
        answers.push(meant(answer));
    }
    answers
}

/// What of an answer is compared: without the time that a text says it was made at and the session that it
/// names, and with one spelling for a number, of which JSON has several.
fn meant(answer: Value) -> Value {
    let Some(result) = answer.get("result") else { return json!({ "error": answer["error"] }) };
    let mut meant = json!({ "isError": result["isError"].as_bool().unwrap_or(false) });
    for member in ["content", "structuredContent", "contents", "messages"] {
        if let Some(value) = result.get(member) {
            meant[member] = value.clone();
            plainly(&mut meant[member]);
        }
    }
    meant
}

fn plainly(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                *value = json!(number);
            }
        }
        Value::String(text) => {
            if let Ok(bytes) = STANDARD.decode(&text)
                && let Ok(decoded) = String::from_utf8(bytes)
                && decoded.contains(" created at ")
            {
                *text = decoded;
            }
            if let Some((before, _)) = text.split_once(" created at ") {
                *text = before.to_owned();
            }
            if let Some((before, session)) = text.split_once(" for session ") {
                *text = format!("{before}{}", session.get(36..).unwrap_or_default());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plainly),
        Value::Object(members) => members.values_mut().for_each(plainly),
        _ => {}
    }
}

/// In which words it failed, if it did: the gateway has the server's own beside its own.
fn failure(meant: &Value) -> Option<String> {
    if let Some(error) = meant.get("error") {
        return Some(error["data"]["said"].as_str().or(error["message"].as_str())?.to_owned());
    }
    let said = || meant["structuredContent"]["said"].as_str();
    (meant["isError"] == true)
        .then(|| said().or(meant["content"][0]["text"].as_str()).unwrap_or_default().to_owned())
}

fn tool(name: &'static str, arguments: Value) -> Asked {
    (Defined::Tool, name, arguments)
}

fn of_everything() -> Vec<Asked> {
    let document = "demo://resource/static/document/";
    let documents = [
        "architecture.md",
        "extension.md",
        "features.md",
        "how-it-works.md",
        "instructions.md",
        "startup.md",
        "structure.md",
    ];
    let documents = documents.map(|name| {
        let uri: &'static str = format!("{document}{name}").leak();
        (Defined::Resource, uri, Value::Null)
    });
    let others = [
        tool("echo", json!({ "message": "ü — 你\n😀" })),
        tool("get-annotated-message", json!({ "messageType": "error", "includeImage": true })),
        tool("get-annotated-message", json!({ "messageType": "debug" })),
        tool("get-env", json!({})),
        tool("get-resource-links", json!({ "count": 4 })),
        tool("get-resource-reference", json!({ "resourceType": "Text", "resourceId": 2 })),
        tool("get-resource-reference", json!({ "resourceType": "Blob", "resourceId": 1 })),
        tool("get-resource-reference", json!({ "resourceType": "Blob", "resourceId": -1 })),
        tool("get-structured-content", json!({ "location": "Chicago" })),
        tool("get-sum", json!({ "a": 1.5, "b": -4 })),
        tool("get-tiny-image", json!({})),
        tool(
            "gzip-file-as-resource",
            json!({
                "name": "hello.gz", "data": "data:text/plain,hello", "outputType": "resource",
            }),
        ),
        tool(
            "gzip-file-as-resource",
            json!({ "name": "bad.gz", "data": "data:", "outputType": "resource" }),
        ),
        tool("toggle-simulated-logging", json!({})),
        tool("toggle-simulated-logging", json!({})),
        tool("toggle-subscriber-updates", json!({})),
        tool("toggle-subscriber-updates", json!({})),
        tool("trigger-long-running-operation", json!({ "duration": 1, "steps": 3 })),
        tool("simulate-research-query", json!({ "topic": "parcels" })),
        (Defined::Template, "demo://resource/dynamic/text/3", Value::Null),
        (Defined::Template, "demo://resource/dynamic/blob/4", Value::Null),
        (Defined::Template, "demo://resource/dynamic/blob/none", Value::Null),
        (Defined::Prompt, "simple-prompt", json!({})),
        (Defined::Prompt, "args-prompt", json!({ "city": "Ulm", "state": "Württemberg" })),
        (Defined::Prompt, "args-prompt", json!({ "city": "Ulm" })),
        (Defined::Prompt, "completable-prompt", json!({ "department": "Sales", "name": "David" })),
        (Defined::Prompt, "resource-prompt", json!({ "resourceType": "Text", "resourceId": "1" })),
    ];
    documents.into_iter().chain(others).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_answers_through_as_it_does_direct_as_a_program_and_over_http() {
    let asked = of_everything();
    let script = "server-everything/dist/index.js";
    let program = Program::node(script, &["stdio"]);
    let mut both =
        Both::of(Plain::to(program.command()).await, program.mcp(), program.reference()).await;
    both.judge_coverage(&asked);
    both.judge(&asked).await;
    drop(both);
    let port = free_port();
    let mut command = Program::node(script, &["streamableHttp"]).command();
    command.env("PORT", port.to_string());
    let server = Listening::at(port, command).await;
    let mut both = Both::of(server.client().await, Listening::mcp(), &server.origin).await;
    both.judge_coverage(&asked);
    both.judge(&asked).await;
}

fn of_fast() -> Vec<Asked> {
    vec![
        tool("add", json!({ "a": 2, "b": -5 })),
        tool("scale", json!({ "numbers": [1, 2.5, -3], "factor": 0.5 })),
        tool("scale", json!({ "numbers": [] })),
        tool("parcel", json!({ "id": "p1", "weight": 12 })),
        tool("parcels", json!({ "count": 3 })),
        tool("parcels", json!({ "count": 0 })),
        tool("greet", json!({ "name": "Ann <b>&\"'" })),
        tool("greet", json!({ "name": "Ünsal", "tone": "cold" })),
        tool("nothing", json!({})),
        tool("weigh", json!({ "parcel": { "id": "p", "weight": 1.25, "tags": ["a"] } })),
        tool("picture", json!({})),
        tool("sound", json!({})),
        tool("mixed", json!({})),
        tool("untyped", json!({ "flag": true })),
        tool("long_text", json!({ "lines": 2_000 })),
        tool("refuse", json!({ "why": "it is late" })),
        tool("crash", json!({})),
        tool("slow", json!({ "steps": 5 })),
        (Defined::Resource, "fast://readme", Value::Null),
        (Defined::Resource, "fast://blob", Value::Null),
        (Defined::Template, "fast://parcels/p7/label", Value::Null),
        (Defined::Prompt, "ask", json!({ "topic": "parcels", "tone": "loud" })),
        (Defined::Prompt, "ask", json!({ "topic": "parcels" })),
        (Defined::Prompt, "plain", json!({})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fastmcp_server_answers_through_as_it_does_direct_as_a_program_and_over_http() {
    let asked = of_fast();
    let program = Program::python("fast.py", &[]);
    let mut both =
        Both::of(Plain::to(program.command()).await, program.mcp(), program.reference()).await;
    both.judge_coverage(&asked);
    both.judge(&asked).await;
    drop(both);
    let port = free_port();
    let command = Program::python("fast.py", &[&port.to_string()]).command();
    let server = Listening::at(port, command).await;
    let mut both = Both::of(server.client().await, Listening::mcp(), &server.origin).await;
    both.judge_coverage(&asked);
    both.judge(&asked).await;
}

/// The same files, whatever was done to them.
fn files(folder: &Path) {
    drop(std::fs::remove_dir_all(folder));
    std::fs::create_dir_all(folder.join("inner/deep")).unwrap();
    let lines: String = (0..50).map(|number| format!("line {number} ü\n")).collect();
    std::fs::write(folder.join("a.txt"), lines).unwrap();
    std::fs::write(folder.join("inner/b.json"), "{\"b\": 1}").unwrap();
    std::fs::write(folder.join("inner/deep/pixel.png"), b"\x89PNG\r\n\x1a\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_server_answers_through_as_it_does_direct_and_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    files(&root);
    let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let reads = vec![
        tool("read_file", json!({ "path": at("a.txt"), "head": 3 })),
        tool("read_text_file", json!({ "path": at("a.txt"), "tail": 2 })),
        tool("read_text_file", json!({ "path": at("a.txt") })),
        tool("read_text_file", json!({ "path": at("none.txt") })),
        tool("read_text_file", json!({ "path": "/etc/passwd" })),
        tool("read_media_file", json!({ "path": at("inner/deep/pixel.png") })),
        tool(
            "read_multiple_files",
            json!({ "paths": [at("a.txt"), at("none"), at("inner/b.json")] }),
        ),
        tool("list_directory", json!({ "path": at("") })),
        tool("list_directory_with_sizes", json!({ "path": at("inner"), "sortBy": "size" })),
        tool("directory_tree", json!({ "path": at("") })),
        tool("directory_tree", json!({ "path": at(""), "excludePatterns": ["deep"] })),
        tool("search_files", json!({ "path": at(""), "pattern": "**/*.json" })),
        tool("get_file_info", json!({ "path": at("a.txt") })),
        tool("list_allowed_directories", json!({})),
    ];
    let edit = json!([{ "oldText": "line 3 ü", "newText": "line three" }]);
    let writes = vec![
        tool("write_file", json!({ "path": at("new.txt"), "content": "neu\n" })),
        tool("edit_file", json!({ "path": at("a.txt"), "edits": edit, "dryRun": true })),
        tool("edit_file", json!({ "path": at("a.txt"), "edits": edit })),
        tool(
            "edit_file",
            json!({ "path": at("a.txt"), "edits": [{ "oldText": "nowhere", "newText": "" }] }),
        ),
        tool("create_directory", json!({ "path": at("made/within") })),
        tool("move_file", json!({ "source": at("new.txt"), "destination": at("made/moved.txt") })),
        tool("read_text_file", json!({ "path": at("a.txt") })),
        tool("directory_tree", json!({ "path": at("") })),
    ];
    let program = Program::node("server-filesystem/dist/index.js", &[root.to_str().unwrap()]);
    let mut both =
        Both::of(Plain::to(program.command()).await, program.mcp(), program.reference()).await;
    both.judge_coverage(&[reads.clone(), writes.clone()].concat());
    said(&mut both.direct, &reads).await; // The first read of a file changes when it was read last.
    both.judge(&reads).await;
    let direct = said(&mut both.direct, &writes).await;
    files(&root);
    let through = said(&mut both.through, &writes).await;
    both.compare(&writes, &direct, &through);
    assert_eq!(std::fs::read_to_string(root.join("made/moved.txt")).unwrap(), "neu\n");
}
