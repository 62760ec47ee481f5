//! `remember kv quota`: what the replicated keys may grow to (R21).

use std::io::Write as _;

use anyhow::Context as _;
use bytes::Bytes;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;

use super::client::{Client, block_on};
use super::endpoint::Ask;
use super::exit::Exit;
use super::progress::size;

const PATH: &str = "/v1/quota";

/// Prints how large all keys and values may become, or sets that.
///
/// Every node holds all of it in memory, once more while it writes a snapshot,
/// and once more while it receives one: give the nodes three times as much
/// memory before. What is there is kept when the quota is lowered.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Quota {
    /// The new quota: bytes, or a number with KiB, MiB or GiB
    #[arg(value_name = "SIZE", value_parser = bytes)]
    size: Option<u64>,
    #[command(flatten)]
    client: Client,
}

/// What a node says of it.
#[derive(Deserialize)]
struct Document {
    bytes: u64,
    used: u64,
}

impl Quota {
    pub(super) fn run(mut self) -> anyhow::Result<Exit> {
        self.client.open()?;
        let ask = match self.size {
            None => Ask::read(PATH.to_owned()),
            Some(bytes) => {
                let ask = Ask::new(Method::PUT, PATH.to_owned());
                let mut ask = ask.with(CONTENT_TYPE, "application/json");
                ask.body = Bytes::from(format!("{{\"bytes\":{bytes}}}"));
                ask
            }
        };
        let answer = block_on(async { Ok(self.client.ask(&ask, self.client.deadline()).await?) })?;
        let Document { bytes, used } = serde_json::from_slice(&answer.body)
            .context("the answer is not like that of a node of remember")?;
        let (all, taken) = (size(bytes), size(used));
        writeln!(
            std::io::stdout(),
            "{taken} of {all} ({used} of {bytes} bytes)"
        )?;
        Ok(Exit::Done)
    }
}

/// Reads a size.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("", 1_u64),
    ];
    let read = units.into_iter().find_map(|(unit, bytes)| {
        let number = text.strip_suffix(unit)?.trim_end().parse::<u64>().ok()?;
        number.checked_mul(bytes)
    });
    read.ok_or_else(|| "a size is like 134217728, 65536KiB, 128MiB or 1GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        assert_eq!(bytes("134217728"), Ok(128 << 20));
        assert_eq!(bytes("128MiB"), bytes("131072 KiB"));
        assert_eq!(bytes("16GiB"), Ok(16 << 30));
        for odd in [
            "",
            "MiB",
            "1.5MiB",
            "-1",
            "128MB",
            "17179869184GiB",
            "1 TiB",
        ] {
            assert!(bytes(odd).is_err(), "{odd}");
        }
    }
}
