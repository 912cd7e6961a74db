//! Callers: each on one connection, one request after the other, written and read with as little
//! work as will do, since it shares the machine with what is measured.

use crate::Outcome;
use crate::deployment::{Request, Target};
use crate::report::Case;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer.
const ANSWER_BYTES_MAX: usize = 2 * 1_024 * 1_024;

/// Numbers given to calls, so that no two of a run are alike.
static NUMBERS: AtomicU64 = AtomicU64::new(10_000_000);

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Calls {
    For(Duration),
    Exactly(u64),
}

/// Callers and what they call.
#[derive(Debug)]
pub(crate) struct Load {
    address: SocketAddr,
    mark: &'static [u8],
    requests: Vec<Request>,
}

impl Load {
    pub(crate) fn new(target: &Target, requests: &[Request]) -> Self {
        Self { address: target.address(), mark: target.mark(), requests: requests.to_vec() }
    }

    /// All callers at once, until the time is over or the calls are made.
    pub(crate) async fn run(&self, calls: Calls) -> Outcome<Case> {
        let begun = Instant::now();
        let (until, left) = match calls {
            Calls::For(time) => (Some(begun + time), u64::MAX),
            Calls::Exactly(calls) => (None, calls),
        };
        let left = Arc::new(AtomicU64::new(left));
        let callers = self.requests.iter().map(|request| {
            let caller = Caller { mark: self.mark, until, left: Arc::clone(&left) };
            tokio::spawn(caller.run(self.address, request.clone()))
        });
        let mut times_us = Vec::new();
        for caller in callers.collect::<Vec<_>>() {
            times_us.extend(caller.await??);
        }
        Ok(Case { times_us, elapsed: begun.elapsed(), cpu: Duration::ZERO })
    }
}

struct Caller {
    mark: &'static [u8],
    until: Option<Instant>,
    left: Arc<AtomicU64>,
}

impl Caller {
    async fn run(self, address: SocketAddr, mut request: Request) -> Outcome<Vec<u32>> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut answer = Vec::with_capacity(8_192);
        let mut times_us = Vec::new();
        let take = |left: u64| left.checked_sub(1);
        while self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            let number = NUMBERS.fetch_add(1, Ordering::Relaxed) % 100_000_000;
            if let Some(place) = request.bytes.get_mut(request.number.clone()) {
                place.copy_from_slice(format!("{:08}", number.max(10_000_000)).as_bytes());
            }
            let begun = Instant::now();
            if self.until.is_some_and(|until| begun >= until) {
                break;
            }
            stream.write_all(&request.bytes).await?;
            read(&mut stream, &mut answer).await?;
            times_us.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
            if !contains(&answer, self.mark) {
                let answer = String::from_utf8_lossy(&answer);
                return Err(format!("a call did not succeed: {answer}").into());
            }
        }
        Ok(times_us)
    }
}

/// One request and its answer.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Outcome<Vec<u8>> {
    let mut answer = Vec::new();
    stream.write_all(request).await?;
    read(stream, &mut answer).await?;
    Ok(answer)
}

/// Reads one answer, which must say how long it is.
async fn read(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Outcome<()> {
    answer.clear();
    let mut whole = None;
    while whole.is_none_or(|whole| answer.len() < whole) {
        if answer.len() > ANSWER_BYTES_MAX || stream.read_buf(answer).await? == 0 {
            return Err("an answer broke off, or did not end".into());
        }
        if whole.is_none()
            && let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(answer.get(..head).unwrap_or_default());
            let length = text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let length: usize = length.ok_or_else(|| format!("no Content-Length: {text}"))?;
            whole = Some(head + 4 + length);
        }
    }
    Ok(())
}

fn contains(answer: &[u8], mark: &[u8]) -> bool {
    answer.windows(mark.len()).any(|window| window == mark)
}
