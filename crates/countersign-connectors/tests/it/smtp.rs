//! A real SMTP server of the tests' own, on this machine alone, that writes down what it is given.
//! Certificates and passwords are made up.

use crate::bench::{Bench, planned};
use countersign_connectors::{EmailSystem, MailEncryption, MailServer, Names, Networks, System};
use countersign_core::id::SystemName;
use countersign_core::ladder::{Fragment, Phrase};
use countersign_core::port::{Eventually, Report};
use countersign_core::recipient::{Domain, Recipient};
use countersign_core::refusal::SystemFault;
use countersign_core::tool::{Effect, EmailPlan, Parameter, Plan, ResultBounds, Tool};
use secrecy::SecretString;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use std::{fs, io, sync::Arc};
use tempfile::TempDir;

/// Makes an authority, and a certificate for `localhost`.
const CERTIFICATES: &str = r#"
ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
openssl req -x509 $ec -keyout ca.key -out ca.pem -subj "/CN=made up for a test"
openssl req -x509 $ec -keyout server.key -out server.pem -subj /CN=localhost -CA ca.pem -CAkey ca.key \
    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE
"#;

fn certificates() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("smtp").tempdir().unwrap().keep();
        let made = Command::new("sh").args(["-euc", CERTIFICATES]).current_dir(&folder).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{made:?}");
        folder
    })
}

/// The authority's certificate.
pub(crate) fn authority() -> String {
    fs::read_to_string(certificates().join("ca.pem")).unwrap()
}

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Smtp {
    folder: TempDir,
    pub(crate) port: u16,
    encryption: MailEncryption,
    process: Child,
    _input: ChildStdin,
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Smtp {
    pub(crate) async fn start(encryption: MailEncryption) -> Self {
        let mode = match encryption {
            MailEncryption::Tls => "tls",
            MailEncryption::StartTls => "starttls",
            MailEncryption::Off => "none",
        };
        Self::in_mode(mode, encryption).await
    }

    /// One that offers no encryption, to a system that asks for it.
    pub(crate) async fn bare() -> Self {
        Self::in_mode("bare", MailEncryption::StartTls).await
    }

    async fn in_mode(mode: &str, encryption: MailEncryption) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("../../.clients/venv/bin/python");
        assert!(python.exists(), "run scripts/test once: it installs the SMTP server");
        let folder = tempfile::tempdir().unwrap();
        for name in ["server.pem", "server.key"] {
            fs::copy(certificates().join(name), folder.path().join(name)).unwrap();
        }
        let mut process = Command::new(python)
            .arg(root.join("../countersign-connectors/tests/it/smtp.py"))
            .args([folder.path().as_os_str(), mode.as_ref()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let port = folder.path().join("port");
        let mut smtp = Self { folder, port: 0, encryption, process, _input: input };
        for _ in 0..600 {
            if port.exists() {
                smtp.port = fs::read_to_string(port).unwrap().parse().unwrap();
                return smtp;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the SMTP server did not start");
    }

    /// What it wrote down.
    pub(crate) fn log(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The messages that it took: to whom, and as they were sent.
    pub(crate) fn taken(&self) -> Vec<(Vec<String>, String)> {
        let taken = self.log().into_iter().filter(|entry| entry["content"].is_string());
        taken
            .map(|entry| {
                let to = entry["envelope"].as_array().unwrap().iter();
                let to = to.map(|to| to.as_str().unwrap().to_owned()).collect();
                (to, entry["content"].as_str().unwrap().to_owned())
            })
            .collect()
    }

    pub(crate) fn system(&self) -> EmailSystem {
        let host = if self.encryption == MailEncryption::Off { "127.0.0.1" } else { "localhost" };
        let secret = |text: &str| SecretString::from(text);
        EmailSystem {
            credential: (self.encryption != MailEncryption::Off)
                .then(|| (secret("mailer"), secret("made-up-password"))),
            ..system(&format!("{host}:{}", self.port), self.encryption)
        }
    }

    pub(crate) fn desk(&self) -> Desk {
        Desk::over(self.system())
    }
}

/// A system at `server`, on this machine.
pub(crate) fn system(server: &str, encryption: MailEncryption) -> EmailSystem {
    EmailSystem {
        server: MailServer::parse(server).unwrap(),
        encryption,
        credential: None,
        authorities: (encryption != MailEncryption::Off).then(authority),
        networks: Networks::new(vec!["127.0.0.0/8".parse().unwrap()]),
        from: Recipient::parse("help@acme.example").unwrap(),
        from_name: Some("Acmé Freight".to_owned()),
        reply_to: None,
        domains: None,
        concurrency: 4,
        names: Arc::new(Here),
    }
}

/// Every name stands for this machine.
#[derive(Debug)]
struct Here;

impl Names for Here {
    fn addresses<'a>(&'a self, _: &'a str) -> Eventually<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(vec![Ipv4Addr::LOCALHOST.into()]) })
    }
}

/// Where letters are written: a tool that sends `{about}` and `{said}` to `{to}`, whatever they are.
#[derive(Debug)]
pub(crate) struct Desk(Bench);

impl Desk {
    pub(crate) fn over(system: EmailSystem) -> Self {
        let systems = BTreeMap::from([(SystemName::new("mail").unwrap(), System::Email(system))]);
        Self(Bench::over_all(systems, tempfile::tempdir().unwrap()))
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, ms: i64) {
        self.0.pass(ms);
    }

    pub(crate) async fn send(&self, arguments: Value) -> Result<Report, SystemFault> {
        self.call(tool(10_000), arguments).await
    }

    pub(crate) async fn call(&self, tool: Tool, arguments: Value) -> Result<Report, SystemFault> {
        self.0.call_tool("acct_alpha", tool, arguments).await
    }
}

pub(crate) fn tool(timeout_ms: u32) -> Tool {
    let text = |text: &str| Fragment::Text(text.to_owned());
    let argument =
        |name: &str| Fragment::Argument(Parameter { name: name.to_owned(), optional: false });
    let plan = EmailPlan {
        to: "to".to_owned(),
        subject: Phrase(vec![text("Your parcel: "), argument("about")]),
        text: Phrase(vec![text("Dear customer,\n\n"), argument("said"), text("\n.\nAcme\n")]),
        timeout_ms,
        bounds: ResultBounds { rows_max: 1, bytes_max: 4_096 },
    };
    Tool { effect: Effect::Irreversible, ..planned("mail", Plan::Email(plan)) }
}

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}
