//! What stands in a URL: keys and parameters, percent-encoded.

use std::borrow::Cow;

use super::reply::Problem;

/// The bytes that a percent-encoded text means. `+` means itself.
pub(super) fn decode(text: &str) -> Result<Cow<'_, [u8]>, Problem> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, tail),
                _ => return Err(not_encoded()),
            },
            (b'%', _) => return Err(not_encoded()),
            (byte, tail) => (*byte, tail),
        };
        decoded.push(byte);
        rest = tail;
    }
    Ok(Cow::Owned(decoded))
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

fn not_encoded() -> Problem {
    Problem::bad_request(
        "a % in the URL is not followed by two hexadecimal digits; write it as %25",
    )
}

/// The parameters of one request, each of them known and given at most once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Query<'a> {
    given: Vec<(&'a str, &'a str)>,
}

impl<'a> Query<'a> {
    /// Reads the part behind the `?`; `known` are the parameters that the endpoint has.
    pub(super) fn parse(text: Option<&'a str>, known: &[&str]) -> Result<Self, Problem> {
        let mut given = Vec::new();
        let parameters = text.unwrap_or_default().split('&');
        for parameter in parameters.filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if !known.contains(&name) {
                return Err(Problem::bad_request(unknown(known)));
            }
            if given.iter().any(|(other, _)| *other == name) {
                return Err(Problem::bad_request(format!("{name} is given twice")));
            }
            given.push((name, value));
        }
        Ok(Self { given })
    }

    /// A parameter as it stands in the URL.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        let given = self.given.iter().find(|(other, _)| *other == name);
        given.map(|(_, value)| *value)
    }

    /// A parameter that is any bytes.
    pub(super) fn bytes(&self, name: &str) -> Result<Option<Cow<'a, [u8]>>, Problem> {
        self.raw(name).map(decode).transpose()
    }

    /// A parameter that is a number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.raw(name).map(|text| number(name, text)).transpose()
    }

    /// Whether this node's own state will do, be it stale.
    pub(super) fn is_stale(&self) -> Result<bool, Problem> {
        match self.raw("consistency") {
            None | Some("linearizable") => Ok(false),
            Some("stale") => Ok(true),
            Some(_) => Err(Problem::bad_request(
                "consistency is either stale or linearizable",
            )),
        }
    }
}

/// A number in decimal digits and nothing else.
pub(super) fn number(name: &str, text: &str) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| {
        Problem::bad_request(format!("{name} is a number in decimal digits, below 2^64"))
    })
}

fn unknown(known: &[&str]) -> String {
    match known {
        [] => "this endpoint takes no parameters".to_owned(),
        known => format!(
            "a parameter is unknown; this endpoint takes {}",
            known.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_can_be_written_in_a_url() {
        assert_eq!(*decode("a/b+c%2f%00%FF").unwrap(), *b"a/b+c/\0\xff");
        for broken in ["%", "%4", "a%zz", "%+1", "%\u{e9}x"] {
            assert!(decode(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn parameters_are_known_and_given_once() {
        let query = Query::parse(Some("prefix=a%26&limit=7&"), &["prefix", "limit"]).unwrap();
        assert_eq!(query.bytes("prefix").unwrap().as_deref(), Some(&b"a&"[..]));
        assert_eq!(query.number("limit").unwrap(), Some(7));
        assert!(Query::parse(Some("limit=1&limit=2"), &["limit"]).is_err());
        assert!(Query::parse(Some("limits=1"), &["limit"]).is_err());
        assert!(Query::parse(Some("x"), &[]).is_err());
    }

    #[test]
    fn numbers_are_digits_only() {
        for text in ["", "+1", "-1", " 1", "1_0", "18446744073709551616", "0x1"] {
            assert!(number("n", text).is_err(), "{text}");
        }
        assert_eq!(number("n", "18446744073709551615").unwrap(), u64::MAX);
    }
}
