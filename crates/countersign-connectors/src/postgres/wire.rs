//! A bound on what the server may make us hold: no message longer than [`MESSAGE_BYTES_MAX`].

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Longest message of the server, in bytes: above all a row, which the client holds whole.
pub(super) const MESSAGE_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// A message longer than [`MESSAGE_BYTES_MAX`].
#[derive(Debug, thiserror::Error)]
#[error("a message of {0} bytes, as for one row, is longer than {MESSAGE_BYTES_MAX}")]
pub(super) struct TooLong(u32);

/// A stream from the server that ends with an error at a message that is too long. Every message is
/// a letter, its length as four bytes (itself included) and the rest (PostgreSQL's protocol 3.0).
#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    header: [u8; 5],
    /// Bytes of the header that have come.
    known: usize,
    /// Bytes still to come of the message's rest.
    rest: usize,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, header: [0; 5], known: 0, rest: 0 }
    }

    fn pass(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let (_, after) = bytes.split_at(self.rest.min(bytes.len()));
                self.rest -= bytes.len() - after.len();
                bytes = after;
                continue;
            }
            let (first, after) = bytes.split_at(1);
            bytes = after;
            for (place, byte) in self.header.iter_mut().skip(self.known).zip(first) {
                *place = *byte;
            }
            self.known += 1;
            if self.known == self.header.len() {
                let [_, length @ ..] = self.header;
                let length = u32::from_be_bytes(length);
                if length > MESSAGE_BYTES_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, TooLong(length)));
                }
                self.rest = usize::try_from(length.saturating_sub(4)).unwrap_or(usize::MAX);
                self.known = 0;
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let passed = self.pass(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(passed)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Bounded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// The same for what comes out of TLS.
#[derive(Debug)]
pub(super) struct BoundedTls<T>(pub(super) T);

impl<S, T> TlsConnect<S> for BoundedTls<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
{
    type Stream = Bounded<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, T::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.0.connect(stream);
        Box::pin(async move { connecting.await.map(Bounded::new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![b'D'];
        bytes.extend(length.to_be_bytes());
        bytes.resize(1 + usize::try_from(length.min(64)).unwrap(), 0xff);
        bytes
    }

    proptest! {
        #[test]
        fn only_a_message_that_is_too_long_ends_the_stream_however_it_is_cut(
            lengths in prop::collection::vec(4u32..64, 0..8), piece in 1usize..20
        ) {
            let mut bytes: Vec<u8> = lengths.into_iter().flat_map(message).collect();
            let mut bounded = Bounded::new(());
            prop_assert!(bytes.chunks(piece).all(|piece| bounded.pass(piece).is_ok()));
            bytes.extend(message(MESSAGE_BYTES_MAX + 1));
            let mut bounded = Bounded::new(());
            prop_assert!(bytes.chunks(piece).any(|piece| bounded.pass(piece).is_err()));
        }
    }
}
