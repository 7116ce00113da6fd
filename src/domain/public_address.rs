//! Which hosts and addresses are reachable from the public internet, and which URLs a clip may have.

use std::net::IpAddr;

use url::{Host, Url};

/// Checks that a URL that a provider names is public HTTPS or, with `allow_loopback`, on this machine.
/// The error says what is wrong, as in "has no host".
pub(crate) fn check_link(url: &Url, allow_loopback: bool) -> Result<(), String> {
    let Some(host) = url.host() else {
        return Err("has no host".into());
    };
    if has_credentials(url) {
        return Err("has a user name".into());
    }
    match url.scheme() {
        "https" | "http" if allow_loopback && is_loopback_host(host.clone()) => Ok(()),
        "https" if !is_public_host(host) => Err("has a private address".into()),
        "https" => Ok(()),
        scheme => Err(format!("has the scheme `{scheme}`")),
    }
}

/// Returns whether a URL has a user name or a password.
pub(crate) fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Returns whether a host may be public. A domain name is assumed to be public until it is
/// resolved, unless it names this machine.
pub(crate) fn is_public_host<S: AsRef<str>>(host: Host<S>) -> bool {
    match host {
        Host::Domain(name) => !is_local_name(name.as_ref()),
        Host::Ipv4(address) => is_public(address.into()),
        Host::Ipv6(address) => is_public(address.into()),
    }
}

/// Returns whether a host is this machine.
pub(crate) fn is_loopback_host<S: AsRef<str>>(host: Host<S>) -> bool {
    match host {
        Host::Domain(name) => is_local_name(name.as_ref()),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Returns whether a name is one of this machine's.
pub(crate) fn is_local_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

/// Returns whether an address is globally reachable.
///
/// Loopback, private, link-local, shared (RFC 6598), benchmarking, multicast, documentation and
/// reserved addresses are not. An IPv6 address that embeds an IPv4 address (IPv4-mapped,
/// IPv4-compatible, NAT64, 6to4) is reachable if the embedded address is.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let embedded = match segments {
                [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
                    Some((segments[6], segments[7]))
                }
                [0x2002, high, low, ..] => Some((high, low)),
                _ => None,
            };
            if let Some((high, low)) = embedded {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                return is_public(IpAddr::from([a, b, c, d]));
            }
            // Global unicast is 2000::/3, of which 2001:db8::/32 and 3fff::/20 are reserved for
            // documentation, 2001:2::/48 for benchmarks, and 2001::/32 is Teredo.
            (segments[0] & 0xe000) == 0x2000
                && !(segments[0] == 0x2001 && matches!(segments[1], 0 | 2 | 0xdb8))
                && !(segments[0] == 0x3fff && segments[1] < 0x1000)
        }
    }
}
