//! Server-sent events (WHATWG HTML, 9.2), of which one thing counts here: the data.

/// Takes a stream apart. Lines end with LF or CRLF, as MCP servers write them.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
}

impl Events {
    /// The data of the events that are whole with these bytes, in their order.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend(part);
            let Some(line) = self.line.strip_suffix(b"\n") else { continue };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if let Some(data) = line.strip_prefix(b"data:") {
                self.data.extend(data);
                self.data.push(b'\n');
            } else if line.is_empty() && !self.data.trim_ascii().is_empty() {
                whole.push(std::mem::take(&mut self.data));
            }
            self.line.clear();
        }
        whole
    }

    /// How many bytes are held for an event that is not whole.
    pub(super) fn held(&self) -> usize {
        self.line.len().saturating_add(self.data.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_the_bytes_arrive() {
        let stream = b": hello\nid: 1\ndata:\n\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata: 2\n\nrest";
        let read = |size: usize| {
            let mut events = Events::default();
            let all: Vec<_> = stream.chunks(size).flat_map(|part| events.take(part)).collect();
            assert_eq!(events.held(), 4);
            all.iter()
                .map(|data| serde_json::from_slice(data).unwrap())
                .collect::<Vec<serde_json::Value>>()
        };
        for size in 1..stream.len() {
            assert_eq!(read(size), [serde_json::json!({ "a": 1 }), serde_json::json!(2)]);
        }
    }
}
