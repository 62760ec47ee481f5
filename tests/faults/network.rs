//! The network of a run: a bridge, and behind it one network namespace for each node.
//!
//! What a node does not hear is dropped where it arrives, silently, as a broken path does it: the
//! sender learns nothing. A link that is unplugged is cut for everyone, the clients among them. A
//! node without routes is told so by its own kernel, and accuses itself (R18).

use std::process::Command;

use crate::sandbox::demand;

/// The nodes of the cluster.
pub(crate) const NODES: std::ops::RangeInclusive<u64> = 1..=5;

/// The address of a node.
pub(crate) fn address(node: u64) -> String {
    format!("10.77.0.{node}")
}

/// Makes the bridge and the networks of all nodes.
pub(crate) fn build() {
    ip("link set lo up");
    ip("link add br0 type bridge");
    ip("addr add 10.77.0.254/24 dev br0");
    ip("link set br0 up");
    for node in NODES {
        ip(&format!("netns add n{node}"));
        ip(&format!(
            "link add v{node} type veth peer name eth0 netns n{node}"
        ));
        ip(&format!("link set v{node} {PORT_OF} br0 up"));
        ip(&format!("-n n{node} link set lo up"));
        ip(&format!(
            "-n n{node} addr add {}/24 dev eth0",
            address(node)
        ));
        ip(&format!("-n n{node} link set eth0 up"));
    }
}

/// The word by which `ip` joins a link to a bridge.
const PORT_OF: &str = concat!("mas", "ter");

/// A command that runs in the network of a node.
pub(crate) fn command(node: u64, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/n{node}"))
        .args(["--", program]);
    command
}

/// From now on a node does not hear another.
pub(crate) fn drop_from(sender: u64, receiver: u64) {
    let inside = format!("--net=/run/netns/n{receiver}");
    let sender = address(sender);
    let rule = ["iptables", "-w", "-A", "INPUT", "-s", &sender, "-j", "DROP"];
    let arguments = [[inside.as_str(), "--"].as_slice(), &rule].concat();
    demand("nsenter", &arguments);
}

/// A node can reach no other any more, and its kernel says so.
pub(crate) fn take_routes(node: u64) {
    for other in NODES.filter(|other| *other != node) {
        ip(&format!(
            "-n n{node} route add unreachable {}",
            address(other)
        ));
    }
}

/// Pulls the plug of a node.
pub(crate) fn unplug(node: u64) {
    ip(&format!("link set v{node} down"));
}

/// Everyone hears everyone.
pub(crate) fn heal() {
    for node in NODES {
        let inside = format!("--net=/run/netns/n{node}");
        demand("nsenter", &[&inside, "--", "iptables", "-w", "-F", "INPUT"]);
        ip(&format!("-n n{node} route flush type unreachable"));
        ip(&format!("link set v{node} up"));
    }
}

fn ip(command: &str) {
    let arguments: Vec<_> = command.split(' ').collect();
    demand("ip", &arguments);
}
