//! The team's own agent: a program that is started for each case, with the gateway's address and a
//! token in its environment, the message on standard input, the answer on standard output.

use super::witness::Witness;
use super::{Stopped, without};
use crate::bound::{ANSWER_BYTES_MAX, LOOKS_EVERY, STDERR_BYTES_MAX, STREAMS_END_MAX};
use crate::script::Session;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsString;
use std::fmt;
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// The program, and what it gets besides a case.
#[derive(Clone)]
pub struct Program {
    /// The program and its arguments.
    pub words: Vec<OsString>,
    /// Where it finds other programs.
    pub path: String,
    /// Variables of its environment. The values are taken for secrets.
    pub env: Vec<(String, String)>,
    /// How long it may take for one case.
    pub limit: Duration,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("words", &self.words).finish_non_exhaustive()
    }
}

/// What a program has left behind.
struct Left {
    answer: Result<String, String>,
    stderr: String,
}

impl Session<'_, '_> {
    /// Has the team's program answer the message. What it asks of the gateway and what it is told goes
    /// through a witness.
    pub(crate) fn start(&mut self, program: &Program) -> Result<(), Stopped> {
        let caller = self.case.caller.clone();
        let token = self.token(&caller)?;
        self.observed.outside = true;
        let witness = Witness::start(&self.site.doors, program.limit)?;
        let token = token.unwrap_or_default();
        let door = [
            ("COUNTERSIGN_URL", format!("{}/mcp", witness.url)),
            ("COUNTERSIGN_HTTP_URL", witness.url.clone()),
            ("COUNTERSIGN_TOKEN", token.clone()),
        ];
        let left = program.run(&self.case.message, &door);
        let seen = witness.end();
        let whole = seen.whole;
        for exchange in seen.exchanges {
            match exchange.call() {
                Some((door, tool, arguments, told)) => {
                    self.made(None, (&caller, door), (&tool, arguments, told))?;
                }
                None => self.observed.told.push(exchange.text()),
            }
        }
        self.look(&caller.tenant);
        let Left { answer, stderr } = left.map_err(Stopped::Run)?;
        let mut secrets = program.env.clone();
        secrets.push(("COUNTERSIGN_TOKEN".to_owned(), token));
        self.observed.stderr = without(&stderr, &secrets);
        self.observed.answer = Some(without(&answer?, &secrets));
        match whole {
            true => Ok(()),
            false => Err(Stopped::Case("the agent was told more than is kept".to_owned())),
        }
    }
}

impl Program {
    /// Runs it to its end, or to the end of its time. Whatever it has started ends with it.
    fn run(&self, message: &str, door: &[(&str, String)]) -> Result<Left, String> {
        let home =
            tempfile::tempdir().map_err(|error| format!("a folder for the agent: {error}"))?;
        let mut words = self.words.iter();
        let name = words.next().ok_or("there is no agent to start")?;
        let mut command = Command::new(name);
        command.args(words).env_clear().env("PATH", &self.path);
        command.env("HOME", home.path()).env("TMPDIR", home.path());
        command.envs(self.env.iter().cloned()).envs(door.iter().cloned()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = command.spawn();
        let mut child = started
            .map_err(|error| format!("`{}` could not be started: {error}", name.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            let message = message.to_owned();
            // One that does not read its message may still answer.
            std::thread::spawn(move || drop(stdin.write_all(message.as_bytes())));
        }
        let stdout = child.stdout.take().map(|stream| Kept::of(stream, ANSWER_BYTES_MAX, false));
        let stderr = child.stderr.take().map(|stream| Kept::of(stream, STDERR_BYTES_MAX, true));
        let ended = self.awaited(&mut child, stdout.as_ref());
        let text = |kept: Option<Kept>| kept.map(Kept::text).unwrap_or_default();
        let ((stdout, over), (stderr, _)) = (text(stdout), text(stderr));
        let answer = match ended {
            // One that nobody listens to any more may have ended by that.
            Ok(_) if over => Err(format!("the agent says more than {ANSWER_BYTES_MAX} bytes")),
            Ok(ended) if ended.success() => Ok(stdout),
            Ok(ended) => Err(format!("the agent ended with {ended}")),
            Err(why) => Err(why),
        };
        Ok(Left { answer, stderr })
    }

    fn awaited(&self, child: &mut Child, stdout: Option<&Kept>) -> Result<ExitStatus, String> {
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or("the agent has no id")?;
        let looked = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let mut left = self.limit;
        let mut late = false;
        // It is looked at without being taken off the list, so that its id stays its own.
        while waitid(WaitId::Pid(id), looked).is_ok_and(|ended| ended.is_none()) {
            late = left.is_zero();
            if late || stdout.is_some_and(Kept::over) {
                break;
            }
            std::thread::sleep(LOOKS_EVERY);
            left = left.saturating_sub(LOOKS_EVERY);
        }
        // Nobody may be left of it; an error says that nobody is.
        kill_process_group(id, Signal::KILL).ok();
        let ended = child.wait().map_err(|error| format!("the agent was lost: {error}"))?;
        match late {
            true => Err(format!("the agent has come to no end in {} s", self.limit.as_secs())),
            false => Ok(ended),
        }
    }
}

/// What a stream has said: its beginning, or its end.
struct Kept {
    bytes: Arc<Mutex<Vec<u8>>>,
    max: usize,
    ended: mpsc::Receiver<()>,
}

impl Kept {
    fn of(mut stream: impl Read + Send + 'static, max: usize, last: bool) -> Self {
        let (tell, ended) = mpsc::channel::<()>();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        std::thread::spawn(move || {
            let _told_when_dropped = tell;
            let mut buffer = [0; 8_192];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                let Ok(mut kept) = kept.lock() else { return };
                kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
                let over = kept.len().saturating_sub(max);
                if last {
                    kept.drain(..over);
                } else if over > 0 {
                    return;
                }
            }
        });
        Self { bytes, max, ended }
    }

    fn over(&self) -> bool {
        self.bytes.lock().is_ok_and(|bytes| bytes.len() > self.max)
    }

    /// All of it, once the stream has ended: at once, unless somebody has run away with it. And whether
    /// there was more.
    fn text(self) -> (String, bool) {
        self.ended.recv_timeout(STREAMS_END_MAX).ok();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        (self.bytes.lock().map(|bytes| text(&bytes)).unwrap_or_default(), self.over())
    }
}
