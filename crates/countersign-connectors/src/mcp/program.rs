//! A server that is a program of this machine: started with what it needs and nothing else, spoken to a
//! line at a time, and ended with everything that it started.

use super::conversation::{Asking, Holder, no_headers};
use super::message::{self, Message, Progress, RpcError};
use super::streamable::Heard;
use super::{Server, Trouble};
use crate::secrets::Secrets;
use countersign_core::port::Proposer;
use countersign_core::refusal::{Applied, SystemFaultKind};
use lru::LruCache;
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Most messages that wait to be written.
const WAITING_MAX: usize = 256;
/// Most lines of a program's that are no messages: some greet whoever starts them.
const ODD_LINES_MAX: u32 = 32;
/// Most requests of its own that a program's life may see refused.
const REFUSED_MAX: u32 = 1_024;
/// Most bytes of what it says beside its messages that are kept, the last.
const BESIDE_BYTES_MAX: usize = 1_024;
/// How long it has to end once its input has, and once it was told to.
const GRACE: Duration = Duration::from_secs(2);
/// How long it must have run for its end to be none of a failed start.
const STEADY: Duration = Duration::from_secs(60);
/// Longest time between two starts.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Most callers of whom it is known that their program ended.
const PAUSES_MAX: NonZeroUsize = match NonZeroUsize::new(1_024) {
    Some(max) => max,
    None => NonZeroUsize::MIN,
};
/// Most messages and empty lines before an answer.
const TOLD_MAX: u32 = 100_000;
/// The least that a line may be long, whatever comes back from a call: lists are long.
const LINE_BYTES_MIN: usize = 4 * 1024 * 1024;

/// A program, as the deployment resolved it.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its absolute path.
    pub path: PathBuf,
    /// What it is started with.
    pub arguments: Vec<String>,
    /// The whole of its environment.
    pub environment: BTreeMap<String, SecretString>,
    /// The user and the group that it runs as, if not as the gateway.
    pub user: Option<(u32, u32)>,
    /// Most bytes of a result.
    pub bytes_max: u32,
}

impl PartialEq for Program {
    /// For the deployment's own secrets, to know one that was changed: nobody else chooses either.
    fn eq(&self, other: &Self) -> bool {
        let exposed = |program: &Self| -> Vec<(String, String)> {
            let values = program.environment.iter();
            values.map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
        };
        (&self.path, &self.arguments, self.user, self.bytes_max)
            == (&other.path, &other.arguments, other.user, other.bytes_max)
            && exposed(self) == exposed(other)
    }
}

impl Eq for Program {}

impl Program {
    /// Whether it could be started at all, as far as that shows without trying.
    ///
    /// # Errors
    /// One sentence.
    pub fn check(&self) -> Result<(), String> {
        if !self.path.is_absolute() {
            return Err("a program is named by its absolute path".to_owned());
        }
        match std::fs::metadata(&self.path) {
            Ok(found) if found.is_file() => Ok(()),
            Ok(_) => Err("it is no program".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What it must not say.
    fn secrets(&self) -> Secrets {
        Secrets::new(self.environment.values().cloned().collect())
    }

    fn line_max(&self) -> usize {
        let result = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        result.saturating_mul(3).saturating_add(super::AROUND_BYTES).max(LINE_BYTES_MIN)
    }
}

/// When the program may be started again for whom: one that ends at once is not started over and over,
/// and others than whose it is are not concerned.
#[derive(Debug)]
pub(super) struct Starts(Mutex<LruCache<Holder, (u32, Instant)>>);

impl Default for Starts {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(PAUSES_MAX)))
    }
}

impl Starts {
    fn check(&self, holder: &Holder) -> Result<(), Trouble> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.peek(holder) {
            Some((_, at)) if *at > Instant::now() => {
                let detail = "the program ended by itself just now, and is given a pause before it is started again";
                Err(Trouble::unasked(SystemFaultKind::Unavailable, detail))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn ended(&self, holder: Holder, after: Duration) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if after >= STEADY {
            held.pop(&holder);
            return;
        }
        let before = held.peek(&holder).map_or(0, |(failures, _)| *failures);
        let pause = Duration::from_secs(1u64 << before.min(6)).min(PAUSE_MAX);
        held.put(holder, (before.saturating_add(1), Instant::now() + pause));
    }
}

type Heeded =
    (oneshot::Sender<(Result<Heard, Trouble>, Option<String>)>, Option<Arc<dyn Proposer>>);

/// A program that runs. It is ended where this ends.
#[derive(Debug)]
pub(super) struct Process {
    lines: mpsc::Sender<Vec<u8>>,
    heard: Arc<Ears>,
    /// Ends it.
    end: CancellationToken,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Whoever waits for an answer, and what became of the program.
#[derive(Debug, Default)]
struct Ears {
    waiting: Mutex<BTreeMap<u64, Heeded>>,
    /// For what the program asked its client since the last answer.
    asked: Mutex<Option<String>>,
    /// The last of what it said beside its messages.
    beside: Mutex<String>,
    over: CancellationToken,
    why: Mutex<String>,
    secrets: Secrets,
}

impl Ears {
    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Heeded>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, why: &str) {
        let mut held = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_empty() {
            why.clone_into(&mut held);
        }
        drop(held);
        self.over.cancel();
        self.waiting().clear();
    }

    /// An answer, unless it repeats what the program was given to keep.
    fn screened(&self, outcome: Result<Map<String, Value>, RpcError>) -> Result<Heard, Trouble> {
        let result = match outcome {
            Ok(result) => Value::Object(result),
            Err(error) => return Ok(Heard::Error(error.without(&self.secrets))),
        };
        if self.secrets.shows_in(&result) {
            let detail = "the answer repeats a secret of the program's environment";
            return Err(Trouble::new(SystemFaultKind::Failed, Applied::Unknown, detail));
        }
        let Value::Object(result) = result else {
            return Ok(Heard::Result(Map::new(), no_headers()));
        };
        Ok(Heard::Result(result, no_headers()))
    }

    fn ended(&self, applied: Applied) -> Trouble {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let beside = if beside.is_empty() { beside } else { format!("; it said: {beside}") };
        let detail = self.secrets.blot(&format!("{why}{beside}"));
        Trouble::new(SystemFaultKind::Unavailable, applied, &detail).ends()
    }
}

/// A request under way. Given up, the program is told.
struct Waiting<'a> {
    id: u64,
    process: &'a Process,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.process.heard.waiting().remove(&self.id).is_some() {
            let params = serde_json::json!({ "requestId": self.id, "reason": "given up" });
            // One that takes no more lines is told nothing.
            drop(self.process.tell(message::notification("notifications/cancelled", params)));
        }
    }
}

impl Process {
    pub(super) async fn ask(
        &self,
        id: u64,
        body: Vec<u8>,
        asking: &Asking<'_>,
    ) -> Result<(Heard, Option<String>), Trouble> {
        let (heeded, answer) = oneshot::channel();
        self.heard.waiting().insert(id, (heeded, asking.proposer.cloned()));
        let waiting = Waiting { id, process: self };
        if self.heard.over.is_cancelled() {
            return Err(self.heard.ended(Applied::NotApplied));
        }
        self.tell(body)?;
        asking.sent.store(1, Ordering::Relaxed);
        let answer = answer.await;
        drop(waiting);
        let (heard, asked) = answer.map_err(|_gone| self.heard.ended(Applied::Unknown))?;
        Ok((heard?, asked))
    }

    pub(super) fn tell(&self, body: Vec<u8>) -> Result<(), Trouble> {
        self.lines.try_send(body).map_err(|full| match full {
            mpsc::error::TrySendError::Full(_) => {
                Trouble::unasked(SystemFaultKind::Busy, "the program does not read what it is told")
            }
            mpsc::error::TrySendError::Closed(_) => self.heard.ended(Applied::NotApplied),
        })
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) {
        self.heard.over.cancelled().await;
    }
}

/// Starts the program, unless it has failed too often just now.
pub(super) fn start(
    program: &Program,
    (starts, holder): (&Starts, &Holder),
    server: &Server,
) -> Result<Arc<Process>, Trouble> {
    starts.check(holder)?;
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (name, value.expose_secret())))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some((user, group)) = program.user {
        command.uid(user).gid(group);
    }
    let failed = |why: &str| {
        let detail = format!("the program cannot be started: {why}");
        Trouble::unasked(SystemFaultKind::Unavailable, &detail)
    };
    let mut child = command.spawn().map_err(|error| {
        starts.ended(holder.clone(), Duration::ZERO);
        failed(&error.to_string())
    })?;
    let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(input), Some(output), Some(beside)) = streams else {
        return Err(failed("it has no streams"));
    };
    let (lines, waiting) = mpsc::channel(WAITING_MAX);
    let heard = Arc::new(Ears { secrets: program.secrets(), ..Ears::default() });
    let end = CancellationToken::new();
    let process =
        Arc::new(Process { lines: lines.clone(), heard: Arc::clone(&heard), end: end.clone() });
    tokio::spawn(write(input, waiting, (Arc::clone(&heard), end.clone())));
    let told = server.teller();
    let hearing = Hearing { heard: Arc::clone(&heard), lines, told };
    tokio::spawn(until_over(Arc::clone(&heard), hear(output, program.line_max(), hearing)));
    tokio::spawn(until_over(Arc::clone(&heard), overhear(beside, Arc::clone(&heard))));
    let began = Instant::now();
    let (teller, holder) = (server.teller(), holder.clone());
    tokio::spawn(async move {
        let by_itself = see_to(child, &heard, &end).await;
        if by_itself && let Some(server) = teller.upgrade() {
            server.program_ended(holder, began.elapsed());
        }
    });
    Ok(process)
}

/// Waits for the end of a program, or brings it about: input first, then a request to end, then force,
/// for all that it started (2026-07-28, basic/transports/stdio, "Shutdown"). Whether it was its own.
async fn see_to(mut child: Child, heard: &Ears, end: &CancellationToken) -> bool {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let by_itself = tokio::select! {
        status = child.wait() => {
            heard.end(&match status {
                Ok(status) => format!("the program has ended ({status})"),
                Err(error) => format!("the program cannot be waited for: {error}"),
            });
            true
        }
        () = heard.over.cancelled() => true,
        () = end.cancelled() => {
            heard.end("the program was ended");
            false
        }
    };
    for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
        if let (Some(group), Some(signal)) = (group, signal) {
            kill(group, signal);
        }
        let patience = if by_itself { Duration::ZERO } else { GRACE };
        if timeout(patience, child.wait()).await.is_ok() && signal.is_some() {
            break;
        }
    }
    if let Some(group) = group {
        kill(group, Signal::KILL); // What it left behind.
    }
    by_itself
}

/// Whoever is gone already is not there to be ended.
fn kill(group: Pid, signal: Signal) {
    if let Err(error) = kill_process_group(group, signal) {
        tracing::debug!(%error, "a program is not there to be ended");
    }
}

async fn write(
    mut input: ChildStdin,
    mut waiting: mpsc::Receiver<Vec<u8>>,
    (heard, end): (Arc<Ears>, CancellationToken),
) {
    let writing = async {
        while let Some(mut line) = waiting.recv().await {
            line.push(b'\n');
            if let Err(error) = input.write_all(&line).await {
                return heard.end(&format!("the program takes no input: {error}"));
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = heard.over.cancelled() => {}
        () = end.cancelled() => {}
    }
}

/// For as long as the program is not over: what it started may hold on to its streams.
async fn until_over(heard: Arc<Ears>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = heard.over.cancelled() => {}
    }
}

/// What hears a program.
struct Hearing {
    heard: Arc<Ears>,
    lines: mpsc::Sender<Vec<u8>>,
    told: Weak<Server>,
}

async fn hear(output: impl AsyncRead + Unpin, most: usize, hearing: Hearing) {
    let mut output = BufReader::new(output);
    let (mut odd, mut refused, mut told) = (0u32, 0u32, 0u32);
    loop {
        told = told.saturating_add(1);
        if told > TOLD_MAX {
            return hearing.heard.end("the program tells and tells, and does not answer");
        }
        let line = match line(&mut output, most).await {
            Ok(Some(line)) => line,
            Ok(None) => return hearing.heard.end("the program has ended its output"),
            Err(why) => return hearing.heard.end(&why),
        };
        match message::read(&line) {
            Ok(Message::Answer(id, outcome)) => {
                told = 0;
                let mut waiting =
                    hearing.heard.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let heeded = waiting.remove(&id);
                drop(waiting);
                let asked =
                    hearing.heard.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
                // Nobody waits for what was given up.
                if let Some((heeded, _)) = heeded {
                    drop(heeded.send((hearing.heard.screened(outcome), asked)));
                }
            }
            Ok(Message::Notification(method, _)) if message::says_changed(&method) => {
                if let Some(server) = hearing.told.upgrade() {
                    server.is_told();
                }
            }
            Ok(Message::Notification(_, Some(Progress { of, done, total }))) => {
                let waiting = hearing.heard.waiting();
                let proposer = waiting.get(&of).and_then(|(_, proposer)| proposer.clone());
                drop(waiting);
                if let Some(proposer) = proposer {
                    proposer.progress(done, total);
                }
            }
            Ok(Message::Notification(..) | Message::Error(_)) => {}
            Ok(Message::Request(id, method)) => {
                refused = refused.saturating_add(1);
                let answered = hearing.lines.try_send(message::refusal(&id, &method));
                if refused > REFUSED_MAX || answered.is_err() {
                    return hearing.heard.end("the program asks and asks its client");
                }
                let mut asked = hearing.heard.asked.lock().unwrap_or_else(PoisonError::into_inner);
                *asked = Some(hearing.heard.secrets.blot(&message::named(&method)));
            }
            Err(_) if line.iter().all(u8::is_ascii_whitespace) => {}
            Err(why) => {
                odd = odd.saturating_add(1);
                if odd > ODD_LINES_MAX {
                    return hearing.heard.end(&why);
                }
            }
        }
    }
}

/// The next line, or none at the end.
async fn line(
    output: &mut BufReader<impl AsyncRead + Unpin>,
    most: usize,
) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    loop {
        let piece = output.fill_buf().await.map_err(|error| error.to_string())?;
        if piece.is_empty() {
            return Ok(None);
        }
        let ends = piece.iter().position(|&byte| byte == b'\n');
        let taken = ends.unwrap_or(piece.len());
        if line.len().saturating_add(taken) > most {
            return Err(format!("the program says more than {most} bytes in a line"));
        }
        line.extend(piece.iter().take(taken));
        output.consume(taken.saturating_add(usize::from(ends.is_some())));
        if ends.is_some() {
            return Ok(Some(line));
        }
    }
}

/// Keeps the last of what is said beside the messages, for whoever looks for why it ended.
async fn overhear(mut beside: impl AsyncRead + Unpin, heard: Arc<Ears>) {
    let mut piece = [0; 1_024];
    while let Ok(read @ 1..) = beside.read(&mut piece).await {
        let said = String::from_utf8_lossy(piece.get(..read).unwrap_or_default()).into_owned();
        let mut kept = heard.beside.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_str(&said);
        let from = kept.ceil_char_boundary(kept.len().saturating_sub(BESIDE_BYTES_MAX));
        kept.drain(..from);
    }
}
