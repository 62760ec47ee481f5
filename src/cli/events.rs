//! Server-sent events, as a node's watches send them.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

/// The longest event, in bytes: a value in base64 and its names.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// A node says that it is alive every 10 s at least; after this long without it the stream is lost.
const SILENCE: Duration = Duration::from_secs(35);

/// One event. An event without a name or data only moves the id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// Why a stream ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the stream ended: {0}")]
pub(super) struct Ended(String);

/// The events of one answer.
#[derive(Debug)]
pub(super) struct Events {
    body: Incoming,
    text: Text,
}

impl Events {
    pub(super) fn new(body: Incoming) -> Self {
        let text = Text::default();
        Self { body, text }
    }

    /// Waits for the next event.
    pub(super) async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            if let Some(event) = self.text.event() {
                return Ok(event);
            }
            let frame = timeout(SILENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| Ended("the node is silent".to_owned()))?;
            let frame = frame.ok_or_else(|| Ended("the node closed it".to_owned()))?;
            let frame = frame.map_err(|error| Ended(error.to_string()))?;
            self.text
                .take(&frame.into_data().unwrap_or_else(|_| Bytes::new()))?;
        }
    }
}

/// What has come and is not told yet.
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    /// Up to here no event ends.
    searched: usize,
}

impl Text {
    fn take(&mut self, more: &[u8]) -> Result<(), Ended> {
        if self.bytes.len() + more.len() > EVENT_BYTES_MAX {
            return Err(Ended("an event has no end".to_owned()));
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    /// The next whole event, if it is there.
    fn event(&mut self) -> Option<Event> {
        let from = self.searched.saturating_sub(1);
        let Some(found) = self.bytes[from..].windows(2).position(|end| end == b"\n\n") else {
            self.searched = self.bytes.len();
            return None;
        };
        let rest = self.bytes.split_off(from + found + 2);
        let text = std::mem::replace(&mut self.bytes, rest);
        self.searched = 0;
        Some(Event::parse(&String::from_utf8_lossy(&text)))
    }
}

impl Event {
    fn parse(text: &str) -> Self {
        let mut event = Self::default();
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.name),
                "id" => event.id = Some(value.to_owned()),
                "data" => value.clone_into(&mut event.data),
                // A comment, or a field of a later version.
                _ => {}
            }
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_they_are_cut() {
        let stream = b"event: put\nid: 7\ndata: {\"a\": 1}\n\n: alive\n\nid: 9\n\n";
        for cut in 0..stream.len() {
            let mut text = Text::default();
            let mut events = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                text.take(part).unwrap();
                events.extend(std::iter::from_fn(|| text.event()));
            }
            assert_eq!(events.len(), 3, "cut at {cut}");
            assert_eq!(events[0].name, "put");
            assert_eq!(events[0].id.as_deref(), Some("7"));
            assert_eq!(events[0].data, "{\"a\": 1}");
            assert_eq!(events[1], Event::default());
            assert_eq!(events[2].id.as_deref(), Some("9"));
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut text = Text::default();
        text.take(&vec![b'x'; EVENT_BYTES_MAX]).unwrap();
        assert_eq!(text.event(), None);
        assert!(text.take(b"x").is_err());
    }
}
