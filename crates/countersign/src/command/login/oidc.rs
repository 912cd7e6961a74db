//! Signing in by a browser on this machine: the code flow with PKCE, back to here (RFC 8252).

use crate::machine::SystemEntropy;
use crate::render::{self, Doing, Failure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::port::Entropy as _;
use countersign_gateway::oidc::{Attempt, How, Provider, SIGN_IN_MAX};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// Longest request from the browser that is read, in bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// How long the browser may take to send it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the provider sends the browser back to.
const BACK: &str = "/callback";

/// How somebody signs in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Whether they have to prove anew who they are.
    pub(super) fresh: bool,
    /// The port that the provider sends them back to; any, if it is 0.
    pub(super) port: u16,
    /// Whether a browser is opened.
    pub(super) browser: bool,
}

/// By a browser on this machine.
pub(super) async fn by_browser(how: How, manner: Manner) -> Result<String, Failure> {
    let provider = Provider::discover(how).await.map_err(Failure::new)?;
    let listener = TcpListener::bind(("127.0.0.1", manner.port)).await;
    let listener = listener.doing("nobody could be sent back here")?;
    let port = listener.local_addr().doing("the listener")?.port();
    let attempt = Attempt {
        back: format!("http://127.0.0.1:{port}{BACK}"),
        state: drawn(),
        nonce: drawn(),
        verifier: drawn(),
    };
    let url = provider.authorize(&attempt, manner.fresh).map_err(Failure::new)?;
    render::note(format_args!("sign in at\n\n  {url}\n"));
    if manner.browser {
        open(&url);
    }
    let returned = returned(&listener, &attempt.state, provider.issuer());
    let returned = tokio::time::timeout(SIGN_IN_MAX, returned);
    let code = returned.await.map_err(|_late| Failure::new("nobody signed in in time"))??;
    provider.exchange(&attempt, code).await.map_err(Failure::new)
}

/// By a browser anywhere, with a code that is typed in there.
pub(super) async fn by_device(how: How) -> Result<String, Failure> {
    let provider = Provider::discover(how).await.map_err(Failure::new)?;
    let show = |at: &str, code: &str| {
        render::note(format_args!("sign in at\n\n  {at}\n\nwith the code {code}\n"));
    };
    provider.by_device(show).await.map_err(Failure::new)
}

/// 32 random bytes as text.
fn drawn() -> String {
    let mut random = [0; 32];
    SystemEntropy.fill(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}

/// Opens a browser, if there is one. The address is shown anyway.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let silent = (Stdio::null(), Stdio::null(), Stdio::null());
    let mut command = Command::new(program);
    command.arg(url).stdin(silent.0).stdout(silent.1).stderr(silent.2);
    drop(command.spawn()); // Without one, the address is there to be copied.
}

/// The code that the browser brings back with our own state. Whatever else comes is sent away: any
/// page may ask this machine for anything.
async fn returned(listener: &TcpListener, state: &str, issuer: &str) -> Result<String, Failure> {
    loop {
        let (mut stream, _) = listener.accept().await.doing("the listener")?;
        let read = tokio::time::timeout(REQUEST_TIMEOUT, target(&mut stream)).await;
        let Some(target) = read.ok().flatten() else { continue };
        let url = Url::parse(&format!("http://127.0.0.1{target}")).ok();
        let url = url.filter(|url| url.path() == BACK);
        let member = |name: &str| {
            let mut pairs = url.as_ref()?.query_pairs();
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let ours = member("state").as_deref() == Some(state);
        // RFC 9207: where it says who answers, it must be whom we asked.
        let ours = ours && member("iss").is_none_or(|iss| iss == issuer);
        let (said, end) = match (ours, member("code"), member("error")) {
            (true, Some(code), None) => ("You are signed in. This page can be closed.", Ok(code)),
            (true, _, Some(error)) => {
                let error = crate::report::visible(&error);
                let why = format!("the identity provider does not sign you in: {error}");
                ("You are not signed in.", Err(Failure::new(why)))
            }
            _ => {
                reply(&mut stream, "404 Not Found", "There is nothing here.").await;
                continue;
            }
        };
        reply(&mut stream, "200 OK", said).await;
        return end;
    }
}

/// What a request asks for, by its first line.
async fn target(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut chunk = [0; 1024];
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(chunk.get(..count)?);
        if read.len() > REQUEST_BYTES_MAX {
            return None;
        }
    }
    let text = String::from_utf8(read).ok()?;
    let mut words = text.lines().next()?.split(' ');
    let (way, target) = (words.next()?, words.next()?);
    (way == "GET").then(|| target.to_owned())
}

async fn reply(stream: &mut TcpStream, status: &str, text: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // Whether the browser shows it changes nothing.
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}
