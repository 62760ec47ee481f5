//! `remember ask`: one GET request, for an image that has no other program to make it.

use std::io::Write as _;
use std::str::FromStr;
use std::time::Duration;

use super::client::{ask_one, block_on, seconds};
use super::endpoint::{Ask as Request, Endpoint};
use super::exit::Exit;

/// Prints what is at a URL, for images without curl.
///
/// An answer of success goes to stdout; any other is an error, by the exit code that it has for
/// all commands. It speaks plain HTTP.
#[derive(clap::Args, Debug)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Ask {
    /// What to ask for: http://host:port/path
    #[arg(value_name = "URL")]
    url: Url,
    /// How long it may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
}

/// Whom to ask, and for what.
#[derive(Clone, Debug)]
struct Url {
    endpoint: Endpoint,
    /// Path and query.
    path: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("http://");
        let bare = bare.ok_or("it is like http://host:port/path")?;
        let (host, path) = match bare.find('/') {
            Some(at) => bare.split_at(at),
            None => (bare, "/"),
        };
        // Whatever else it may have, a request has a path that HTTP can carry.
        path.parse::<hyper::Uri>()
            .map_err(|error| format!("{path}: {error}"))?;
        Ok(Self {
            endpoint: host.parse()?,
            path: path.to_owned(),
        })
    }
}

impl Ask {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        block_on(async {
            let deadline = tokio::time::Instant::now() + self.timeout;
            let request = Request::read(self.url.path);
            let answer = ask_one(&self.url.endpoint, &request, deadline).await?;
            std::io::stdout().write_all(&answer.body)?;
            Ok(Exit::Done)
        })
    }
}
