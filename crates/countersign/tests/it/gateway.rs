//! The real binary serving a copy of the example company, and what a test needs to look at it from
//! all sides: as an agent, as an auditor, as the systems themselves.

use crate::server::{self, Database, Server};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use tempfile::TempDir;

/// The example company in a folder of its own, made by the program itself.
pub(crate) struct Company {
    dir: TempDir,
    /// Those of its systems that are on PostgreSQL, by name.
    pub(crate) databases: BTreeMap<&'static str, Database<'static>>,
}

impl Company {
    /// A fresh company: posture, databases, an empty journal.
    pub(crate) fn new() -> Self {
        let company = Self { dir: tempfile::tempdir().unwrap(), databases: BTreeMap::new() };
        let made = company.run(&["demo", "--dir", ".", "--listen", "127.0.0.1:0", "--only-make"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        company
    }

    /// The same with freight and support on PostgreSQL, in the files' own way.
    pub(crate) fn on_postgres() -> Self {
        Self::on(server::shared())
    }

    /// The same on a server that the test may stop.
    pub(crate) fn on(server: &'static Server) -> Self {
        let mut company = Self::new();
        let acme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/acme");
        for (system, script) in [("freight-db", "freight.sql"), ("support-db", "support.sql")] {
            let script = std::fs::read_to_string(acme.join("data/postgres").join(script)).unwrap();
            let role = "alter role acme_gateway password 'made-up';";
            let database = server.database(&format!("{script}{role}"));
            let secret = format!("{system}.secret");
            std::fs::write(company.path().join(&secret), database.of("acme_gateway")).unwrap();
            let file = format!("data/{}.db", system.strip_suffix("-db").unwrap());
            company.edit("countersign.yaml", |text| {
                text.replace(&format!("{{ value: {file} }}"), &format!("{{ file: {secret} }}"))
            });
            company.databases.insert(system, database);
        }
        for folder in ["systems", "tools"] {
            for file in std::fs::read_dir(acme.join("postgres").join(folder)).unwrap() {
                let file = file.unwrap();
                let to = company.path().join("posture").join(folder).join(file.file_name());
                std::fs::copy(file.path(), to).unwrap();
            }
        }
        company
    }

    /// Another one, file by file as this one is.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self { dir: tempfile::tempdir().unwrap(), databases: BTreeMap::new() };
        let copied =
            Command::new("cp").arg("-r").arg(self.path().join(".")).arg(copy.path()).status();
        assert!(copied.unwrap().success());
        copy
    }

    /// What `init` writes.
    pub(crate) fn empty() -> Self {
        let company = Self { dir: tempfile::tempdir().unwrap(), databases: BTreeMap::new() };
        company.says(&["init", "."]);
        company
    }

    /// What `init --profile` writes, to be served on a free port.
    pub(crate) fn of_profile(profile: &str) -> Self {
        let company = Self { dir: tempfile::tempdir().unwrap(), databases: BTreeMap::new() };
        company.says(&["init", ".", "--profile", profile]);
        company.edit("countersign.yaml", |text| {
            text.replace("listen: 127.0.0.1:8787", "listen: 127.0.0.1:0")
        });
        company
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Changes one file of the company, e.g. a limit in its posture.
    pub(crate) fn edit(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = change(text.clone());
        assert_ne!(text, changed, "the edit of {file} changes nothing");
        std::fs::write(&path, changed).unwrap();
    }

    /// A deployment in production, with an issuer whose key this is; nothing is signed yet.
    pub(crate) fn in_production(&self) -> EncodingKey {
        let key = self.issued();
        self.for_production();
        key
    }

    /// The same of its issuer alone.
    pub(crate) fn issued(&self) -> EncodingKey {
        // A made-up Ed25519 key: the PKCS#8 prefix (RFC 8410 §7) and a seed of sevens.
        let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let key = EncodingKey::from_ed_der(&[prefix.as_slice(), &[7; 32]].concat());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap();
        jwk.common.key_id = Some("k1".to_owned());
        let keys = json!({"keys": [jwk]}).to_string();
        std::fs::write(self.path().join("keys.json"), keys).unwrap();
        self.edit("countersign.yaml", |text| {
            text.replace("environment: development", "environment: production").replace(
                "development_issuer: true",
                "issuers: [{ issuer: 'https://login.acme.example', audience: 'https://gateway.acme.example', \
                 keys: keys.json, algorithms: [EdDSA] }]",
            )
        });
        key
    }

    /// What production asks for beside issuers: an exporter, somebody who is told of alerts, and people
    /// who sign. Their keys are made up, here and now.
    pub(crate) fn for_production(&self) {
        let tails = "exporters: [{ name: siem, file: state/journal.jsonl }]\n\
            notify: [{ name: desk, webhook: { url: desk, template: json }, alerts: true }]\n";
        let desk = "  desk: { value: \"https://desk.acme.example/hook\" }\n";
        self.edit("countersign.yaml", |text| {
            text.replace("references:\n", &format!("{tails}references:\n{desk}"))
        });
        self.reviewers();
    }

    /// People who sign, by keys that are made up.
    pub(crate) fn reviewers(&self) {
        let key = |name| self.made_up_key(name);
        let sign_off = format!(
            "sign_off:\n  roles: [security, owner]\n  evidence: [check]\n  change: required\n  \
             staging: {{ runs: 0, days: 0 }}\n  reviewers:\n    \
             - {{ name: sec@acme.example, roles: [security, owner], key: \"{}\" }}\n    \
             - {{ name: own@acme.example, roles: [owner], key: \"{}\" }}\nreferences:\n",
            key("sec"),
            key("own"),
        );
        self.edit("countersign.yaml", |text| text.replace("references:\n", &sign_off));
    }

    /// Makes a key, says its public half, and leaves the other in `made-up-keys/NAME`.
    pub(crate) fn made_up_key(&self, name: &str) -> String {
        let folder = self.path().join("made-up-keys");
        std::fs::create_dir_all(&folder).unwrap();
        let kind = if name == "own" { "ecdsa" } else { "ed25519" };
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", "made up", "-t", kind, "-f", name])
            .current_dir(&folder)
            .status();
        assert!(made.unwrap().success());
        self.public(name)
    }

    /// The public half of a made-up key.
    pub(crate) fn public(&self, name: &str) -> String {
        let file = self.path().join(format!("made-up-keys/{name}.pub"));
        std::fs::read_to_string(file).unwrap().trim_end().to_owned()
    }

    /// Locks the posture as it is, and has everybody sign it.
    pub(crate) fn signed(&self) {
        self.says(&["posture", "lock", ".", "--change", "https://git.acme.example/pull/7"]);
        for who in ["sec", "own"] {
            self.says(&["posture", "sign", ".", "--key", &format!("made-up-keys/{who}")]);
        }
    }

    /// Makes every limit so high that a test of something else does not meet it.
    pub(crate) fn lift_limits(&self) {
        self.lift_limits_of_all();
        let without = |text: String| {
            text.lines()
                .filter(|line| !line.starts_with("limits:"))
                .map(|line| format!("{line}\n"))
                .collect()
        };
        self.edit("posture/agents/support-copilot.yaml", |text: String| {
            let text: String = without(text);
            text.replace(", limits: { per_minute: 20 }", "")
        });
        self.edit("posture/agents/dispatch-planner.yaml", without);
        self.edit("posture/tools/search_tickets.yaml", without);
    }

    /// The same of those that stand in `posture.yaml`.
    pub(crate) fn lift_limits_of_all(&self) {
        const MANY: &str = "1000000";
        self.edit("posture/posture.yaml", |text| {
            let (before, _) = text.split_once("\nlimits:").unwrap();
            format!(
                "{before}\nlimits: {{ per_session: {MANY}, per_minute: {MANY}, per_hour: {MANY}, identical_per_minute: {MANY} }}\n"
            )
        });
    }

    /// Runs the program in the company's folder to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap()
    }

    /// The same, with its standard output as text; it must succeed.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// Starts the company's CRM and its mail server on free ports, which the deployment then names.
    pub(crate) fn crm(&self) -> Crm {
        let (crm, address, mail) = self.servers_at("127.0.0.1:0");
        self.edit("countersign.yaml", |text| {
            text.replace("127.0.0.1:8790", &address).replace("127.0.0.1:8725", &mail)
        });
        crm
    }

    /// Starts it where it is to listen, and says where that is.
    pub(crate) fn crm_at(&self, address: &str) -> (Crm, String) {
        let (crm, address, _) = self.servers_at(address);
        (crm, address)
    }

    fn servers_at(&self, address: &str) -> (Crm, String, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["demo", "--dir", ".", "--only-crm", "--mail", "127.0.0.1:0", "--crm", address])
            .current_dir(self.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let crm = Crm(child);
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.trim_end().split("http://").nth(1).unwrap().to_owned();
        line.clear();
        stderr.read_line(&mut line).unwrap();
        let mail = line.trim_end().split("smtp://").nth(1).unwrap().to_owned();
        (crm, address, mail)
    }

    /// Starts `serve` on a free port and waits until it listens.
    pub(crate) fn serve(&self) -> Gateway {
        self.serve_by(Command::new(env!("CARGO_BIN_EXE_countersign")))
    }

    /// The same by a command that leads to the program, e.g. one that traces it.
    pub(crate) fn serve_by(&self, mut command: Command) -> Gateway {
        command.args(["serve", "."]).current_dir(self.path()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                eprintln!("gateway: {line}");
                drop(said.send(line)); // The test may be over.
            }
        });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut gateway = Gateway { child, url: String::new(), http, said: Mutex::new(heard) };
        let line = gateway.says("serves MCP");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        gateway.url = format!("http://{}", address.unwrap());
        gateway
    }

    /// Starts `serve` by a command that has it killed on its way.
    pub(crate) fn dies(&self, mut command: Command) {
        command.args(["serve", "."]).current_dir(self.path());
        let died = command.output().unwrap();
        let said = String::from_utf8_lossy(&died.stderr);
        assert_eq!(died.status.code(), None, "it was not killed: {said}");
    }

    /// The records that `audit query` shows, oldest first. Refusals reach the disk a moment after
    /// their answer, so this is asked until `enough` are there.
    pub(crate) fn records(&self, filter: &[&str], enough: usize) -> Vec<Value> {
        for _ in 0..100 {
            let mut arguments = vec!["audit", "query", ".", "--format", "json"];
            arguments.extend(filter);
            let records: Vec<Value> = self
                .says(&arguments)
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            if records.len() >= enough {
                return records;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("fewer than {enough} records for {filter:?}");
    }

    /// The statements that the systems have run, by their own logs: `system` → lines.
    pub(crate) fn statements(&self) -> BTreeMap<String, Vec<String>> {
        let logs = self.path().join("logs");
        let files = std::fs::read_dir(logs).into_iter().flatten();
        let servers =
            self.databases.iter().map(|(name, database)| ((*name).to_owned(), database.executed()));
        files
            .map(|file| {
                let path: PathBuf = file.unwrap().path();
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                (name, text.lines().map(str::to_owned).collect())
            })
            .chain(servers)
            .collect()
    }

    /// How many statements the systems have run.
    pub(crate) fn touched(&self) -> usize {
        self.statements().values().map(Vec::len).sum()
    }
}

/// Whom a development token is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) agent: &'a str,
    pub(crate) tenant: &'a str,
    pub(crate) session: &'a str,
    pub(crate) depots: &'a [&'a str],
}

/// A running CRM, until it is dropped.
pub(crate) struct Crm(Child);

impl Drop for Crm {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A running gateway. Dropping it kills it, like a power cut.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    said: Mutex<mpsc::Receiver<String>>,
}

impl Gateway {
    /// A token of the development issuer.
    pub(crate) async fn token(&self, who: Who<'_>) -> String {
        let Who { agent, tenant, session, depots } = who;
        let body = json!({
            "agent": agent, "tenant": tenant, "user": "ann", "session": session,
            "attributes": if depots.is_empty() { json!({}) } else { json!({ "depots": depots }) },
        });
        let sent = self.http.post(format!("{}/dev/token", self.url)).json(&body).send();
        let answer: Value = sent.await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// One call over the HTTP door: the answer's body.
    pub(crate) async fn call(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let body = json!({ "tool": tool, "arguments": arguments });
        let sent = self.http.post(format!("{}/v1/calls", self.url)).bearer_auth(token).json(&body);
        sent.send().await.unwrap().json().await.unwrap()
    }

    /// One `tools/call` over the MCP door, of the newest era: the JSON-RPC answer.
    pub(crate) async fn mcp_call(&self, token: &str, tool: &str, arguments: Value) -> Value {
        self.mcp_sent(token, tool, arguments).await.json().await.unwrap()
    }

    /// The same, with its status and headers.
    pub(crate) async fn mcp_sent(
        &self,
        token: &str,
        tool: &str,
        arguments: Value,
    ) -> reqwest::Response {
        let message = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": tool, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            } },
        });
        let sent = self
            .http
            .post(format!("{}/mcp", self.url))
            .bearer_auth(token)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .json(&message);
        sent.send().await.unwrap()
    }

    /// Waits for a line on standard error with `what` in it, and passes over those before it.
    pub(crate) fn says(&self, what: &str) -> String {
        let said = self.said.lock().unwrap();
        loop {
            let line = said.recv_timeout(Duration::from_secs(60));
            match line {
                Ok(line) if line.contains(what) => return line,
                Ok(_) => {}
                Err(error) => panic!("the gateway did not say `{what}`: {error}"),
            }
        }
    }

    /// The lines on standard error since it was asked last.
    pub(crate) fn said_so_far(&self) -> Vec<String> {
        self.said.lock().unwrap().try_iter().collect()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args([signal, &self.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, whatever that is.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// SIGTERM, and waits for the end in good order.
    pub(crate) fn stop(mut self) {
        self.signal("-TERM");
        assert!(self.child.wait().unwrap().success(), "the gateway did not end in good order");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
