//! Server-sent events (HTML, §9.2.6), as far as MCP uses them: the data of each event.

/// Takes a stream apart, piece by piece. What it holds is bounded by who feeds it.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Of a line that has not ended.
    line: Vec<u8>,
    /// Whether the last line ended with a carriage return: a line feed after it ends none.
    returned: bool,
    data: Option<Vec<u8>>,
}

impl Events {
    /// The data of the events that end within `piece`, in order.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut ended = Vec::new();
        for &byte in piece {
            let after_return = std::mem::take(&mut self.returned);
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    self.returned = byte == b'\r';
                    ended.extend(self.end_line());
                }
                other => self.line.push(other),
            }
        }
        ended
    }

    /// How many bytes are held of what has not ended.
    pub(super) fn held(&self) -> usize {
        self.line.len().saturating_add(self.data.as_ref().map_or(0, Vec::len))
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.data.take();
        }
        // Comments and other fields (`event`, `id`, `retry`) say nothing to us.
        let value = line.strip_prefix(b"data")?;
        let value = match value.strip_prefix(b":") {
            Some(value) => value.strip_prefix(b" ").unwrap_or(value),
            None if value.is_empty() => value,
            None => return None,
        };
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(value.to_vec()),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let stream = b": hello\r\nevent: message\ndata: {\"a\":\ndata:1}\n\nretry: 5\nid: 7\n\ndata\n\ndatum: x\rdata: b\r\r\ndata: unfinished";
        let whole = Events::default().take(stream);
        assert_eq!(whole, [b"{\"a\":\n1}".to_vec(), b"".to_vec(), b"b".to_vec()]);
        for size in 1..stream.len() {
            let mut events = Events::default();
            let cut: Vec<_> = stream.chunks(size).flat_map(|piece| events.take(piece)).collect();
            assert_eq!(cut, whole, "{size}");
        }
    }
}
