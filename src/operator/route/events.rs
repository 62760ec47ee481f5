//! Server-sent events, as a node's role stream has them: bytes go in, whole events come out.
//!
//! Only what nodes send is understood: lines that end with a line feed, `event`, `data` in one
//! line, and comments. Anything else in an event is passed over.

/// The longest event, in bytes, and the most that is kept of one that is not whole yet.
pub(super) const EVENT_BYTES_MAX: usize = 64 << 10;

/// One event.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

/// What has come and is no whole event yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    rest: Vec<u8>,
}

/// An event without end, or bytes that are no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it sent an event of more than {EVENT_BYTES_MAX} bytes")]
    TooLong,
    #[error("it sent an event that is no text")]
    NoText,
}

impl Events {
    /// Takes bytes, and returns the newest whole event in them, if there is one. Those before it
    /// are out of date.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Event>, Malformed> {
        if self.rest.len() + bytes.len() > 2 * EVENT_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        self.rest.extend_from_slice(bytes);
        let mut newest = None;
        let mut read_up_to = 0;
        while let Some(length) = end_of_event(&self.rest[read_up_to..]) {
            let event = &self.rest[read_up_to..read_up_to + length];
            newest = read(event)?.or(newest);
            read_up_to += length;
        }
        self.rest.drain(..read_up_to);
        if self.rest.len() > EVENT_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        Ok(newest)
    }
}

/// How long the first event is, with the empty line behind it.
fn end_of_event(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
    Some(end + 2)
}

/// Reads the lines of one event; `None` if there are only comments.
fn read(event: &[u8]) -> Result<Option<Event>, Malformed> {
    let text = std::str::from_utf8(event).map_err(|_| Malformed::NoText)?;
    let mut read = Event::default();
    for line in text.lines() {
        match line.split_once(':') {
            Some(("event", name)) => name.trim_start().clone_into(&mut read.name),
            Some(("data", data)) => data.trim_start().clone_into(&mut read.data),
            _ => {}
        }
    }
    Ok(Some(read).filter(|read| *read != Event::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> Event {
        Event {
            name: "role".to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_come_whole_however_their_bytes_come() {
        let text = b": alive\n\nevent: role\ndata: {\"a\": \"b: c\"}\n\n: alive\n\n";
        let expected = Some(event(r#"{"a": "b: c"}"#));
        assert_eq!(Events::default().take(text), Ok(expected.clone()));
        let mut events = Events::default();
        let each = text.iter().map(|byte| events.take(&[*byte]).unwrap());
        assert_eq!(each.flatten().collect::<Vec<_>>(), expected.as_slice());
        assert!(events.rest.is_empty());
    }

    #[test]
    fn of_many_events_the_newest_counts() {
        let text = b"event: role\ndata: 1\n\nevent: role\ndata: 2\n\nevent: ro";
        let mut events = Events::default();
        assert_eq!(events.take(text), Ok(Some(event("2"))));
        assert_eq!(events.take(b"le\ndata: 3\n\n"), Ok(Some(event("3"))));
        assert_eq!(events.take(b": alive\n\n"), Ok(None));
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let mut events = Events::default();
        let line = vec![b'x'; EVENT_BYTES_MAX];
        assert_eq!(events.take(&line), Ok(None));
        assert_eq!(events.take(b"x"), Err(Malformed::TooLong));
        let much = vec![b'\n'; 2 * EVENT_BYTES_MAX + 1];
        assert_eq!(Events::default().take(&much), Err(Malformed::TooLong));
        assert_eq!(
            Events::default().take(b"data: \xff\n\n"),
            Err(Malformed::NoText)
        );
    }
}
