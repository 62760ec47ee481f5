//! The register of a pair as the world has it (R17): its text, who keeps it, and how it is asked.
//!
//! ```text
//!   node --Ask--> Witness --+--> Url ----HTTP----> `remember witness` --> Keeper, a file
//!        <-Answer-          |                          (server)
//!                           +--> Object --HTTPS--> API server of Kubernetes, a ConfigMap
//! ```
//!
//! Each request is made once: nothing here asks a second time to change the register, for what was
//! asked first may still be on its way. Whoever is not certain what came of it says so, and that
//! costs time only. What is asked, and what an answer means, is the engine's alone
//! (`consensus/witness.rs`).

mod keeper;
mod object;
#[cfg(test)]
mod object_test;
pub mod text;
mod url;

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

pub use keeper::{Keeper, KeeperError};
pub use object::Object;
pub(crate) use url::PATH;
pub use url::{Url, UrlError, WitnessUrl};

use crate::consensus::{Answer, Ask, ClusterId};

/// How long a request may take, in seconds; what comes of one that is late is not known.
const WITHIN: Duration = Duration::from_secs(3);

/// Who keeps the register of a cluster, and how that is asked. Clones ask the same one.
#[derive(Clone, Debug)]
pub enum Witness {
    /// A process of its own.
    Url(Url),
    /// An object of Kubernetes.
    Object(Object),
}

impl Witness {
    /// Asks once. An error is a sentence, and says that nobody knows what came of it.
    pub async fn ask(&self, cluster: ClusterId, ask: &Ask) -> Result<Answer, String> {
        let asked = async {
            match self {
                Self::Url(url) => url.ask(cluster, ask).await,
                Self::Object(object) => object.ask(cluster, ask).await,
            }
        };
        let late = |_| format!("it has not answered within {} s", WITHIN.as_secs());
        timeout(WITHIN, asked).await.map_err(late)?
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Object(object) => object.fmt(f),
        }
    }
}
