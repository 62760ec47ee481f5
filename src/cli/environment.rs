//! The `REMEMBER_*` variables: one that no flag reads is a mistake, and is refused.

use clap::CommandFactory as _;

use super::Cli;
use super::exit::{Exit, Failed};

const PREFIX: &str = "REMEMBER_";

/// How many letters may differ in a name that is meant.
const NEAR: usize = 3;

/// Refuses variables with our prefix that nothing reads.
pub(super) fn check() -> Result<(), Failed> {
    let known = known(&Cli::command());
    let set = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let unknown = set
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name))
        .find(|name| !is_service_link(name));
    match unknown {
        None => Ok(()),
        Some(name) => Err(Exit::Usage.because(sentence(&name, &known))),
    }
}

fn known(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(clap::Arg::get_env);
    let mut names: Vec<_> = own
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.extend(command.get_subcommands().flat_map(known));
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether Kubernetes sets such a variable by itself, as it does in every pod for a Service with a
/// name like `remember-store`.
fn is_service_link(name: &str) -> bool {
    let has_port = |name: &str| {
        let mut parts = name.split("_PORT_").skip(1);
        parts.any(|behind| {
            let (port, rest) = behind.split_once('_').unwrap_or((behind, ""));
            let protocol = rest.split('_').next().unwrap_or_default();
            port.parse::<u16>().is_ok() && ["TCP", "UDP", "SCTP"].contains(&protocol)
        })
    };
    let ends = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"];
    ends.iter().any(|end| name.ends_with(end)) || name.contains("_SERVICE_PORT_") || has_port(name)
}

fn sentence(name: &str, known: &[String]) -> String {
    let mut near: Vec<_> = known
        .iter()
        .map(|other| (distance(name, other), other.as_str()))
        .filter(|(distance, _)| *distance <= NEAR)
        .collect();
    near.sort_unstable();
    let near: Vec<_> = near.into_iter().map(|(_, other)| other).collect();
    let hint = if near.is_empty() {
        "`remember node --help` lists all that there are".to_owned()
    } else {
        format!("is {} meant?", near.join(" or "))
    };
    format!("no flag reads the variable {name}; {hint} Unset it, or correct its name")
}

/// How many letters must be added, dropped or replaced to come from one name to the other
/// (Levenshtein's distance).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<_> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_that_of_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("REMEMBER_MEMBER", "REMEMBER_MEMBERS"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn what_kubernetes_sets_for_services_is_no_mistake() {
        let set = [
            "REMEMBER_SERVICE_HOST",
            "REMEMBER_STORE_SERVICE_PORT",
            "REMEMBER_STORE_SERVICE_PORT_API",
            "REMEMBER_PORT",
            "REMEMBER_PORT_7401_TCP",
            "REMEMBER_PORT_7401_TCP_ADDR",
            "REMEMBER_LEADER_SERVICE_HOST",
            "REMEMBER_LEADER_SERVICE_PORT",
            "REMEMBER_LEADER_SERVICE_PORT_HTTP",
            "REMEMBER_LEADER_PORT",
            "REMEMBER_LEADER_PORT_80_TCP",
            "REMEMBER_LEADER_PORT_80_TCP_ADDR",
            "REMEMBER_LEADER_PORT_80_TCP_PROTO",
            "REMEMBER_LEADER_PORT_80_TCP_PORT",
            "REMEMBER_A_PORT_OF_CALL_PORT_53_UDP",
        ];
        for name in set {
            assert!(is_service_link(name), "{name}");
        }
        assert!(!is_service_link("REMEMBER_LISTEN_PEERS"));
        assert!(!is_service_link("REMEMBER_PORT_OF_PEERS"));
    }

    #[test]
    fn every_variable_has_the_prefix() {
        let known = known(&Cli::command());
        assert!(known.len() > 10, "{known:?}");
        assert!(known.iter().all(|name| name.starts_with(PREFIX)));
    }
}
