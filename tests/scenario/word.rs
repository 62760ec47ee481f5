//! Words of a script line and what they mean: `n3`, `t2:i7`, `300ms`, `key=value`, `"command"`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use remember::consensus::{Index, IoSeq, NodeId, Position, Term};

/// The words of one line, taken from the front or by name.
pub(crate) struct Words {
    rest: VecDeque<String>,
}

/// Something that a word can mean.
pub(crate) trait Meaning: Sized {
    /// How such a word looks, for complaints.
    const LOOKS: &'static str;

    /// The meaning, if the word has this one.
    fn of(word: &str) -> Option<Self>;
}

/// Reads a word that must have a certain meaning.
pub(crate) fn read<T: Meaning>(word: &str) -> Result<T, String> {
    T::of(word).ok_or_else(|| format!("{word} should look like {}", T::LOOKS))
}

impl Words {
    /// Splits a line at white space outside of double quotes.
    pub(crate) fn of(line: &str) -> Result<Self, String> {
        let mut rest = VecDeque::from([String::new()]);
        let mut quoted = false;
        for letter in line.chars() {
            quoted ^= letter == '"';
            match rest.back_mut() {
                Some(word) if quoted || !letter.is_whitespace() => word.push(letter),
                _ => rest.push_back(String::new()),
            }
        }
        rest.retain(|word| !word.is_empty());
        if quoted {
            Err("a quote is not closed".to_owned())
        } else {
            Ok(Self { rest })
        }
    }

    /// The next word.
    pub(crate) fn take(&mut self, what: &str) -> Result<String, String> {
        self.rest
            .pop_front()
            .ok_or_else(|| format!("{what} is missing"))
    }

    /// The next word, with its meaning.
    pub(crate) fn next<T: Meaning>(&mut self) -> Result<T, String> {
        read(&self.take(T::LOOKS)?)
    }

    /// The next word, if it has this meaning.
    pub(crate) fn maybe<T: Meaning>(&mut self) -> Option<T> {
        let meaning = T::of(self.rest.front()?)?;
        self.rest.pop_front();
        Some(meaning)
    }

    /// All words from here on, as long as they have this meaning.
    pub(crate) fn all<T: Meaning>(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.maybe()).collect()
    }

    /// Whether the word is anywhere in the line; takes it.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let found = self.rest.iter().position(|word| word == name);
        found.and_then(|place| self.rest.remove(place)).is_some()
    }

    /// The value of `key=value`, anywhere in the line; takes it.
    pub(crate) fn value<T: Meaning>(&mut self, key: &str) -> Result<Option<T>, String> {
        let value = |word: &String| Some(word.strip_prefix(key)?.strip_prefix('=')?.to_owned());
        let found = self
            .rest
            .iter()
            .enumerate()
            .find_map(|(place, word)| Some((place, value(word)?)));
        let Some((place, word)) = found else {
            return Ok(None);
        };
        self.rest.remove(place);
        read(&word).map(Some)
    }

    /// The value of a `key=value` that must be there.
    pub(crate) fn needed<T: Meaning>(&mut self, key: &str) -> Result<T, String> {
        self.value(key)?.ok_or_else(|| format!("{key}= is missing"))
    }

    /// Complains about words that nobody took.
    pub(crate) fn end(self) -> Result<(), String> {
        match self.rest.front() {
            Some(word) => Err(format!("what is {word}?")),
            None => Ok(()),
        }
    }
}

/// Reads `<letter><number>`.
fn lettered(word: &str, letter: char) -> Option<u64> {
    word.strip_prefix(letter)?.parse().ok()
}

impl Meaning for NodeId {
    const LOOKS: &'static str = "n1";

    fn of(word: &str) -> Option<Self> {
        lettered(word, 'n').map(Self)
    }
}

impl Meaning for Term {
    const LOOKS: &'static str = "t1";

    fn of(word: &str) -> Option<Self> {
        lettered(word, 't').map(Self)
    }
}

impl Meaning for Index {
    const LOOKS: &'static str = "i1";

    fn of(word: &str) -> Option<Self> {
        lettered(word, 'i').map(Self)
    }
}

impl Meaning for IoSeq {
    const LOOKS: &'static str = "w1";

    fn of(word: &str) -> Option<Self> {
        lettered(word, 'w').map(Self)
    }
}

impl Meaning for Position {
    const LOOKS: &'static str = "t1:i1";

    fn of(word: &str) -> Option<Self> {
        let (term, index) = word.split_once(':')?;
        Some(Self {
            term: Term::of(term)?,
            index: Index::of(index)?,
        })
    }
}

impl Meaning for u64 {
    const LOOKS: &'static str = "1";

    fn of(word: &str) -> Option<Self> {
        word.parse().ok()
    }
}

impl Meaning for u32 {
    const LOOKS: &'static str = "1";

    fn of(word: &str) -> Option<Self> {
        word.parse().ok()
    }
}

impl Meaning for usize {
    const LOOKS: &'static str = "1";

    fn of(word: &str) -> Option<Self> {
        word.parse().ok()
    }
}

/// A comma-separated list of nodes; `none` is the empty one.
impl Meaning for Vec<NodeId> {
    const LOOKS: &'static str = "n1,n2";

    fn of(word: &str) -> Option<Self> {
        if word == "none" {
            return Some(Self::new());
        }
        word.split(',').map(NodeId::of).collect()
    }
}

impl Meaning for Duration {
    const LOOKS: &'static str = "50ms, 3s or 10min";

    fn of(word: &str) -> Option<Self> {
        let unit = word.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = word[..unit].parse().ok()?;
        match &word[unit..] {
            "us" => Some(Self::from_micros(number)),
            "ms" => Some(Self::from_millis(number)),
            "s" => Some(Self::from_secs(number)),
            "min" => number.checked_mul(60).map(Self::from_secs),
            _ => None,
        }
    }
}

/// `"text"`, or `"x"*1000` for a long one.
impl Meaning for Bytes {
    const LOOKS: &'static str = "\"a\" or \"a\"*1000";

    fn of(word: &str) -> Option<Self> {
        let (text, times) = match word.rsplit_once('*') {
            Some((text, times)) => (text, times.parse().ok()?),
            None => (word, 1),
        };
        let text = text.strip_prefix('"')?.strip_suffix('"')?;
        Some(text.repeat(times).into())
    }
}

/// On or off.
impl Meaning for bool {
    const LOOKS: &'static str = "on or off";

    fn of(word: &str) -> Option<Self> {
        match word {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        }
    }
}

/// Directed pairs of nodes, each list on the left with each on the right: `n1->n2`, or `n1-n2,n3`
/// for both ways.
pub(crate) struct Routes(pub(crate) Vec<(NodeId, NodeId)>);

impl Meaning for Routes {
    const LOOKS: &'static str = "n1->n2 or n1-n2,n3";

    fn of(word: &str) -> Option<Self> {
        let (from, to) = word.split_once('-')?;
        let (to, both) = to.strip_prefix('>').map_or((to, true), |to| (to, false));
        let (left, right) = (Vec::<NodeId>::of(from)?, Vec::<NodeId>::of(to)?);
        let mut routes = Vec::new();
        for &from in &left {
            for &to in right.iter().filter(|to| **to != from) {
                routes.push((from, to));
                routes.extend(both.then_some((to, from)));
            }
        }
        Some(Self(routes))
    }
}
