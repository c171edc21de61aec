//! Keeps other sites out. A browser that is on this machine also visits strangers' pages, and those may send requests to
//! loopback addresses: by a name of theirs that resolves to 127.0.0.1 (which the Host header gives away), or across
//! origins (which the Origin header gives away).

use super::Refusal;
use http::{StatusCode, header, request, uri::Authority};
use std::net::IpAddr;

/// The host and port that a browser has in its address bar, known to mean this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoopbackHost(String);

impl LoopbackHost {
    pub(super) fn of(parts: &request::Parts) -> Result<LoopbackHost, Refusal> {
        let refusal = || {
            let error = "the demo is served to this machine only: use http://127.0.0.1 or http://localhost";
            Refusal::new(StatusCode::FORBIDDEN, error)
        };
        let mut hosts = parts.headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(refusal()) };
        let text = host.to_str().map_err(|_| refusal())?;
        let authority: Authority = text.parse().map_err(|_| refusal())?;
        let name = authority.host();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let loopback = address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let named = name.eq_ignore_ascii_case("localhost");
        let whole = !text.contains('@');
        if (loopback || named) && whole {
            Ok(LoopbackHost(text.to_ascii_lowercase()))
        } else {
            Err(refusal())
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Refuses what a page of another origin sends. Programs that are no browsers send no Origin.
pub(super) fn same_origin(parts: &request::Parts, host: &LoopbackHost) -> Result<(), Refusal> {
    let ours = format!("http://{}", host.as_str());
    let same = |origin: &header::HeaderValue| origin.as_bytes().eq_ignore_ascii_case(ours.as_bytes());
    if parts.headers.get_all(header::ORIGIN).iter().all(same) {
        Ok(())
    } else {
        Err(Refusal::new(StatusCode::FORBIDDEN, "this is served to the demo's own pages, and to programs"))
    }
}

/// Refuses a body of another type than expected: JSON cannot be sent across origins without asking first.
pub(super) fn content_type(parts: &request::Parts, expected: &str) -> Result<(), Refusal> {
    let given =
        parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        Ok(())
    } else {
        Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the body must be {expected}")))
    }
}
