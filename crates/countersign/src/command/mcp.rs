//! `countersign mcp`: for hosts that only speak stdio. Messages go between standard input and output
//! and a gateway's MCP endpoint as they are; all that is decided of them is decided there.

mod events;
mod message;
mod remote;

use super::End;
use crate::machine::env;
use crate::render::{Doing, Failure};
use countersign_connectors::{Origin, OriginError};
use countersign_core::bound::BODY_BYTES_MAX;
use message::Message;
use remote::{Remote, Trouble};
use reqwest::header::HeaderValue;
use serde_json::Value;
use std::io::{BufRead, ErrorKind, Read, Write, stdin, stdout};
use std::sync::Arc;
use std::thread;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// Longest line that is read. What the gateway takes is far less; up to here a message that is too
/// long is answered by its id.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Messages under way at once; further ones, cancellations as well, wait in the pipe.
const UNDER_WAY_MAX: usize = 64;
/// Answers that wait to be written.
const ANSWERS_MAX: usize = 4;

const URL: &str = "COUNTERSIGN_URL";
const TOKEN: &str = "COUNTERSIGN_TOKEN";
const TENANT: &str = "COUNTERSIGN_TENANT";

#[derive(Debug, clap::Args)]
pub(crate) struct Mcp {
    /// The gateway, as `https://countersign.example`; without it, COUNTERSIGN_URL
    url: Option<String>,
    /// Which of the token's tenants is meant, if it speaks for several; without it, COUNTERSIGN_TENANT
    #[arg(long)]
    tenant: Option<String>,
}

impl Mcp {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let remote = Arc::new(self.remote()?);
        let runtime = super::serve::runtime()?;
        let (answers, queue) = channel(ANSWERS_MAX);
        let writer = thread::spawn(move || write(queue));
        let read = Bridge { runtime: &runtime, remote, answers, under_way: Vec::new() }.run();
        let written = writer.join().unwrap_or_else(|_panicked| Err(ErrorKind::Other.into()));
        match written {
            // The host has gone away, and nobody is left to tell.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(End::Fine),
            written => written.doing("standard output cannot be written").and(read),
        }
    }

    fn remote(&self) -> Result<Remote, Failure> {
        let url = self.url.clone().or_else(|| env(URL)).ok_or_else(|| {
            Failure::new("no gateway is named")
                .help(format!("write `countersign mcp https://countersign.example`, or set {URL}"))
        })?;
        let url = url.trim_end_matches('/');
        let url = url.strip_suffix("/mcp").unwrap_or(url);
        let origin = Origin::parse(url, false).map_err(|error| match error {
            OriginError::Plaintext => Failure::new(
                "the token would go unencrypted to what may be another machine",
            )
            .help("write `https://…`; `http://127.0.0.1:8787` is for a gateway on this machine"),
            OriginError::Form | OriginError::Address => Failure::new(error.to_string()),
        })?;
        let token = env(TOKEN).filter(|token| !token.trim().is_empty()).ok_or_else(|| {
            Failure::new(format!("{TOKEN} is not set"))
                .help("set it to the agent's token: in the host's configuration, under `env`")
        })?;
        let token = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_shown| Failure::new(format!("{TOKEN} holds no token")))?;
        let tenant =
            self.tenant.clone().or_else(|| env(TENANT)).as_deref().map(HeaderValue::from_str);
        let tenant = tenant.transpose().doing("the tenant cannot be sent")?;
        Remote::new(url, origin.is_encrypted(), token, tenant).doing("no HTTP client")
    }
}

/// What has been read from the host and not answered yet.
struct Bridge<'a> {
    runtime: &'a Runtime,
    remote: Arc<Remote>,
    answers: Sender<Vec<u8>>,
    under_way: Vec<(Option<Value>, JoinHandle<()>)>,
}

impl Bridge<'_> {
    /// Until the host closes standard input, and what it sent is answered.
    fn run(mut self) -> Result<End, Failure> {
        let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        let mut stdin = stdin().lock();
        while !self.answers.is_closed() {
            let mut line = Vec::new();
            let mut bounded = stdin.by_ref().take(LINE_BYTES_MAX);
            if bounded.read_until(b'\n', &mut line).doing("standard input")? == 0 {
                break;
            }
            if bounded.limit() == 0 && line.last() != Some(&b'\n') {
                stdin.skip_until(b'\n').doing("standard input")?;
                let told = Trouble::too_long().told(&Value::Null); // Its id is somewhere in it.
                drop(self.runtime.block_on(self.answers.send(told)));
                continue;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let acquired = self.runtime.block_on(Arc::clone(&room).acquire_owned());
            self.take(line, acquired.doing("the room for messages")?);
        }
        for (_id, task) in self.under_way {
            if self.answers.is_closed() {
                break; // Nobody is left to answer.
            }
            // One that was cancelled has nothing to say.
            drop(self.runtime.block_on(task));
        }
        Ok(End::Fine)
    }

    /// Sends one message on its way, beside those that are under way.
    fn take(&mut self, line: Vec<u8>, room: OwnedSemaphorePermit) {
        self.under_way.retain(|(_id, task)| !task.is_finished());
        let message = Message::read(&line);
        if let Some(id) = &message.cancels {
            for (_id, task) in self.under_way.iter().filter(|(of, _)| of.as_ref() == Some(id)) {
                task.abort(); // Over HTTP, hanging up is how a request is cancelled.
            }
            if !self.remote.has_handshake() {
                return; // The newer era has no such message over HTTP.
            }
        }
        let (remote, answers) = (Arc::clone(&self.remote), self.answers.clone());
        let id = message.awaits.clone();
        let task = self.runtime.spawn(async move {
            let _room = room;
            let exchanged = if line.len() > BODY_BYTES_MAX {
                Err(Trouble::too_long())
            } else {
                remote.exchange(&message, line, &answers).await
            };
            if let Err(trouble) = exchanged {
                tracing::warn!("{trouble}");
                // What awaits no answer can only be logged; whether the writer is there, is seen above.
                if let Some(id) = &message.awaits {
                    drop(answers.send(trouble.told(id)).await);
                }
            }
        });
        self.under_way.push((id, task));
    }
}

/// Writes messages, one a line, as they come.
fn write(mut queue: Receiver<Vec<u8>>) -> std::io::Result<()> {
    let mut stdout = stdout().lock();
    while let Some(mut message) = queue.blocking_recv() {
        for byte in message.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' '; // In JSON they are blanks, and nothing else.
        }
        message.push(b'\n');
        stdout.write_all(&message)?;
        stdout.flush()?;
    }
    Ok(())
}
