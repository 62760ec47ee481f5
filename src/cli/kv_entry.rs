//! One replicated key as a node tells it, and as people are shown it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// How many letters of a value a table shows.
const VALUE_LETTERS: usize = 40;

/// A key in JSON, as a node sends it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// The key, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The key, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// In base64; none if the key is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
    pub(super) modified: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
}

impl Entry {
    pub(super) fn key_bytes(&self) -> anyhow::Result<Vec<u8>> {
        match (&self.key, &self.key_base64) {
            (Some(key), _) => Ok(key.clone().into_bytes()),
            (None, Some(base64)) => Ok(STANDARD.decode(base64)?),
            (None, None) => anyhow::bail!("the answer has an entry without a key"),
        }
    }

    /// The key for people: nothing in it reaches a terminal but letters.
    pub(super) fn key_shown(&self) -> String {
        match (&self.key, &self.key_base64) {
            (Some(key), _) => key.escape_debug().to_string(),
            (None, base64) => format!("base64:{}", base64.as_deref().unwrap_or_default()),
        }
    }

    /// The beginning of the value, for people; what is no text is only measured.
    pub(super) fn value_shown(&self) -> String {
        let value = STANDARD.decode(self.value.as_deref().unwrap_or_default());
        let value = value.unwrap_or_default();
        let Ok(text) = std::str::from_utf8(&value) else {
            return format!("({} bytes)", value.len());
        };
        let mut shown: String = text.chars().take(VALUE_LETTERS).collect();
        shown = shown.escape_debug().to_string();
        if text.chars().nth(VALUE_LETTERS).is_some() {
            let _ok = write!(shown, "... ({} bytes)", value.len());
        }
        shown
    }
}

/// Any bytes as they stand in a URL.
pub(super) fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(char::from(*byte));
            }
            // Writing to a string does not fail.
            _ => {
                let _ok = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &[u8]) -> Entry {
        Entry {
            key: Some("a\x1b[2J".to_owned()),
            key_base64: None,
            value: Some(STANDARD.encode(value)),
            created: Some(1),
            modified: 1,
            version: Some(1),
        }
    }

    #[test]
    fn what_others_wrote_cannot_command_a_terminal() {
        let hostile = entry(b"\x1b]0;x\x07\n");
        assert_eq!(hostile.key_shown(), "a\\u{1b}[2J");
        assert_eq!(hostile.value_shown(), "\\u{1b}]0;x\\u{7}\\n");
        assert_eq!(entry(b"\xff\xfe").value_shown(), "(2 bytes)");
        let long = entry("\u{e4}".repeat(50).as_bytes()).value_shown();
        assert_eq!(long, format!("{}... (100 bytes)", "\u{e4}".repeat(40)));
    }
}
