//! The company's mail server: takes messages (RFC 5321, as little of it as that needs), hands nothing
//! on, and writes down what it was given. It is part of the example, as its databases are.

use crate::render::{Doing, Failure};
use std::io::{self, Write as _};
use std::{fs::OpenOptions, net::TcpListener, os::unix::fs::OpenOptionsExt as _};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Most connections at a time, longest line and message in bytes, and how long one may go on.
const CONNECTIONS_MAX: usize = 8;
const LINE_BYTES_MAX: u64 = 1_024;
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
const CONNECTION_MAX: Duration = Duration::from_secs(30);

/// The mail server.
#[derive(Debug)]
pub(in crate::command) struct MailServer {
    /// Where it writes down what it was given.
    pub(in crate::command) file: PathBuf,
}

/// One message.
#[derive(Debug, Default)]
struct Envelope {
    from: Option<String>,
    to: Vec<String>,
}

impl MailServer {
    /// Serves it until the future is dropped.
    pub(in crate::command) async fn serve(self, listener: TcpListener) -> Result<(), Failure> {
        let listener = tokio::net::TcpListener::from_std(listener);
        let listener = listener.doing("the mail server's listener")?;
        let (server, room) = (Arc::new(self), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        loop {
            let turn = Arc::clone(&room).acquire_owned().await.doing("the mail server")?;
            let (stream, _) = listener.accept().await.doing("the mail server")?;
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                // Whoever breaks off has sent nothing.
                drop(timeout(CONNECTION_MAX, server.converse(stream)).await);
                drop(turn);
            });
        }
    }

    async fn converse(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut envelope = Envelope::default();
        say(&mut stream, "220 mail.acme.example").await?;
        loop {
            let line = line(&mut stream).await?;
            let (verb, rest) = line.split_at_checked(4).unwrap_or((line.as_str(), ""));
            let answer = match (verb.to_ascii_uppercase().as_str(), &envelope) {
                ("EHLO" | "HELO", _) => "250 mail.acme.example",
                ("MAIL", _) => {
                    envelope = Envelope { from: Some(path(rest)), to: Vec::new() };
                    "250 ok"
                }
                ("RCPT", Envelope { from: Some(_), .. }) => {
                    envelope.to.push(path(rest));
                    "250 ok"
                }
                ("DATA", Envelope { from: Some(from), to }) if !to.is_empty() => {
                    say(&mut stream, "354 go on, and end with a dot").await?;
                    let message = message(&mut stream).await?;
                    self.keep(from, to, &message)?;
                    envelope = Envelope::default();
                    "250 written down"
                }
                ("RSET", _) => {
                    envelope = Envelope::default();
                    "250 ok"
                }
                ("NOOP", _) => "250 ok",
                ("QUIT", _) => return say(&mut stream, "221 bye").await,
                _ => "503 not now",
            };
            say(&mut stream, answer).await?;
        }
    }

    fn keep(&self, from: &str, to: &[String], message: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file)?;
        let to = to.join(", ");
        file.write_all(format!("== from {from} to {to}\n{message}\n").as_bytes())
    }
}

async fn say(stream: &mut BufReader<TcpStream>, answer: &str) -> io::Result<()> {
    stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await
}

/// One line, without its end.
async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.take(LINE_BYTES_MAX).read_line(&mut line).await?;
    let whole = line.strip_suffix("\r\n").map(str::to_owned);
    whole.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A message up to the dot that ends it, with the dots before other dots taken out.
async fn message(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut message = String::new();
    loop {
        match line(stream).await? {
            end if end == "." => return Ok(message),
            text => {
                message.push_str(text.strip_prefix('.').unwrap_or(&text));
                message.push('\n');
            }
        }
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// What stands between the brackets of `FROM:<…>`.
fn path(text: &str) -> String {
    let inside = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map(|(path, _)| path.to_owned()).unwrap_or_default()
}
