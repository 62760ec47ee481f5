//! Keeps web pages away: what a browser on this machine asks on behalf of a page from elsewhere.
//!
//! A port on loopback is open to every program of its user, the browser among them. A page may send
//! requests there from its own site, which the browser marks with `Origin`; or have its site's name
//! lead to 127.0.0.1 (DNS rebinding), which shows in `Host`. Not a guard against programs: those
//! say what they like.

use hyper::header::{HOST, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, StatusCode, Uri};

use super::Peer;
use super::reply::Problem;
use crate::node::Handle;

/// Refuses what a page may have sent.
pub(super) fn refuse(
    handle: &Handle,
    peer: Peer,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let host = match (uri.authority(), headers.get(HOST)) {
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(host)) => Some(authority(host).ok_or_else(foreign_host)?),
        // HTTP/1.0, which no browser speaks.
        (None, None) => None,
    };
    let own_page = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        let site = origin.split_once("://").map(|(_, site)| site);
        site.is_some() && site == host.as_ref().map(Authority::as_str)
    };
    if !headers.get_all(ORIGIN).iter().all(own_page) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "pages of other sites may not ask; send the request without Origin",
        ));
    }
    // Over TLS no site's name leads here: our certificate does not name it.
    let may_be_led_here = peer.is_local() && !peer.is_certified;
    match host {
        Some(host) if may_be_led_here && !is_known(handle, host.host()) => Err(foreign_host()),
        _ => Ok(()),
    }
}

/// Whether no page can have made its site lead here under that name.
fn is_known(handle: &Handle, host: &str) -> bool {
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_literal = literal.unwrap_or(host).parse::<std::net::IpAddr>().is_ok();
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_member = |ip: &str| ip.eq_ignore_ascii_case(name);
    is_literal
        || name.eq_ignore_ascii_case("localhost")
        || handle
            .members()
            .iter()
            .any(|(_, address)| address.as_ref().is_some_and(|at| is_member(&at.ip)))
}

fn authority(host: &HeaderValue) -> Option<Authority> {
    host.to_str().ok()?.parse().ok()
}

fn foreign_host() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "over loopback the host must be an IP address, localhost or a member's configured name",
    )
}
