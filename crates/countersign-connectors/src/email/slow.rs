//! A connection that reads one byte at a time until TLS begins.
//!
//! What somebody on the way adds to the answer to `STARTTLS` would otherwise wait in a buffer, and be
//! taken for the server's own word once the connection is encrypted ("response injection"). A byte
//! that was not read for the answer is read by the handshake, which then fails.

use lettre::transport::smtp::client::AsyncTokioStream;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The first byte of a handshake (RFC 8446 §5.1): no command of SMTP begins with it.
const HANDSHAKE: u8 = 22;

/// A connection that may become encrypted.
#[derive(Debug)]
pub(super) struct Slow {
    stream: TcpStream,
    plain: bool,
}

impl Slow {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, plain: true }
    }
}

impl AsyncTokioStream for Slow {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.plain || buffer.remaining() <= 1 {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let mut one = [0];
        let mut single = ReadBuf::new(&mut one);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut single))?;
        buffer.put_slice(single.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.plain &= bytes.first() != Some(&HANDSHAKE);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
