//! `remember crd`: the definition of the custom resource.

use std::io::Write as _;

use super::exit::Exit;
use crate::crd::definition_yaml;

/// Prints it, as `crds/` holds it.
pub(super) fn print() -> anyhow::Result<Exit> {
    std::io::stdout().write_all(definition_yaml()?.as_bytes())?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use crate::consensus::Config;
    use crate::crd::Election;

    /// The resource may not import the engine, whose defaults it repeats.
    #[test]
    fn a_cluster_without_timings_of_its_own_has_those_of_a_node() {
        let (asked, default) = (Election::default(), Config::default());
        let millis = |time: std::time::Duration| i32::try_from(time.as_millis()).unwrap();
        assert_eq!(asked.heartbeat_ms, millis(default.heartbeat));
        assert_eq!(asked.timeout_ms, millis(default.election_timeout));
    }
}
