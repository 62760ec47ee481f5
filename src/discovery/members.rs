//! Members and where each is reached; and a list of them as it stands in a flag or in a file:
//! `1=host:peerport/apihost:apiport,2=...`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::consensus::NodeId;
use crate::wire::{Address, MemberAddress, limits};

/// Members by their ids, and where each is reached.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Members(pub BTreeMap<NodeId, MemberAddress>);

impl FromStr for Members {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut members = BTreeMap::new();
        for item in text.split(',') {
            let (id, member) = member(item)?;
            if members.insert(id, member).is_some() {
                return Err(format!("node {id} is listed twice"));
            }
        }
        if members.len() > limits::MEMBERS_MAX {
            let most = limits::MEMBERS_MAX;
            return Err(format!("{} members, at most {most}", members.len()));
        }
        Ok(Self(members))
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (id, member)) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma}{id}={}/{}", member.peer, member.api)?;
        }
        Ok(())
    }
}

fn member(item: &str) -> Result<(NodeId, MemberAddress), String> {
    let parts = item
        .split_once('=')
        .and_then(|(id, rest)| Some((id, rest.split_once('/')?)));
    let Some((id, (peer, api))) = parts else {
        return Err(format!(
            "\"{item}\" is not like 1=host:8101/host:8001: an id, where peers reach the node, and \
             where clients do"
        ));
    };
    let id = id.trim().parse().ok();
    let id = id.filter(|id| (1..=limits::NODE_ID_MAX).contains(id));
    let id = id.ok_or_else(|| {
        let most = limits::NODE_ID_MAX;
        format!("the id in \"{item}\" is not a number from 1 to {most}")
    })?;
    let address =
        |text: &str| parse_address(text).map_err(|error| format!("in \"{item}\", {error}"));
    let member = MemberAddress {
        peer: address(peer)?,
        api: address(api)?,
    };
    Ok((NodeId(id), member))
}

/// Reads `host:port` or `[::1]:port`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn parse_address(text: &str) -> Result<Address, String> {
    let wrong = || format!("\"{text}\" is not like host:port or [::1]:port");
    let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    // Without brackets nobody can tell the port from the last group of an IPv6 address.
    if bare.is_none() && host.contains([':', '[', ']']) {
        return Err(wrong());
    }
    let host = bare.unwrap_or(host);
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_name || host.len() > limits::HOST_BYTES_MAX || host.contains(['/', '@', '=', ',']) {
        return Err(wrong());
    }
    let port = port.parse().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| format!("the port of \"{text}\" is not from 1 to 65535"))?;
    Ok(Address {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_as_it_is_written() {
        let text = "1=127.0.0.1:8101/127.0.0.1:8001,2=[::1]:8102/pod-1.peers.svc:7401";
        assert_eq!(text.parse::<Members>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said() {
        let wrong = [
            ("", "is not like 1=host:8101/host:8001"),
            ("1=a:1", "is not like 1=host:8101/host:8001"),
            ("1=a:1/b:2,", "is not like 1=host:8101/host:8001"),
            ("x=a:1/b:2", "not a number from 1"),
            ("0=a:1/b:2", "not a number from 1"),
            ("4294967296=a:1/b:2", "not a number from 1"),
            ("1=a:1/b:2,1=c:1/d:2", "listed twice"),
            ("1=a:0/b:2", "not from 1 to 65535"),
            ("1=a:1/b:65536", "not from 1 to 65535"),
            ("1=::1:1/b:2", "[::1]:port"),
            ("1=:1/b:2", "is not like host:port"),
            ("1=a b:1/b:2", "is not like host:port"),
            ("1=a:1/b:2/c:3", "is not like host:port"),
        ];
        for (text, sentence) in wrong {
            let error = text.parse::<Members>().unwrap_err();
            assert!(error.contains(sentence), "{text}: {error}");
        }
        let many: Vec<_> = (1..=65).map(|n| format!("{n}=a:{n}/b:{n}")).collect();
        let error = many.join(",").parse::<Members>().unwrap_err();
        assert!(error.contains("at most 64"), "{error}");
    }
}
