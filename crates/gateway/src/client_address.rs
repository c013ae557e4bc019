//! The address of a client, also behind reverse proxies that the operator trusts.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use ipnet::IpNet;

/// The header in which each proxy appends the address of its peer.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The length of the prefix `::ffff:` of IPv4 addresses that are mapped to IPv6.
const MAPPED_PREFIX: u8 = 96;

/// The networks of the reverse proxies whose `X-Forwarded-For` is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// A text that is not a valid network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a valid network such as 10.0.0.0/8 or fd00::/8")]
pub struct InvalidNetwork(String);

impl FromStr for TrustedProxies {
    type Err = InvalidNetwork;

    /// Reads a comma-separated list of networks and addresses.
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let networks = text
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let networks =
            networks.map(|text| network_of(text).ok_or_else(|| InvalidNetwork(text.to_owned())));
        networks.collect::<Result<_, _>>().map(Self)
    }
}

impl TrustedProxies {
    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the address of the client that made a request: the peer, or the last entry
    /// of `X-Forwarded-For` that a trusted proxy wrote and that is not a trusted proxy
    /// itself. What stands left of it was written by the client.
    pub(crate) fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        for line in headers.get_all(FORWARDED_FOR).iter().rev() {
            // A line that is not text names no address.
            for entry in line.to_str().unwrap_or("?").rsplit(',') {
                let Some(address) = address_of(entry.trim()) else {
                    return client;
                };
                client = address;
                if !self.trusts(client) {
                    return client;
                }
            }
        }
        client
    }
}

/// Reads a network or an address. Those of IPv4 that are mapped to IPv6 become IPv4, as the
/// addresses do that they are compared with.
fn network_of(text: &str) -> Option<IpNet> {
    let network: IpNet = match text.split_once('/') {
        None => text.parse::<IpAddr>().ok()?.into(),
        Some((address, _)) => {
            // ipnet reads 010.0.0.0 as 10.0.0.0. Others read it as 8.0.0.0, so it is refused.
            address.parse::<IpAddr>().ok()?;
            text.parse().ok()?
        }
    };
    let address = network.addr().to_canonical();
    if address == network.addr() {
        return Some(network);
    }
    // One with a shorter prefix contains addresses of IPv6 as well. It is refused.
    let prefix = network.prefix_len().checked_sub(MAPPED_PREFIX)?;
    IpNet::new(address, prefix).ok()
}

/// Reads an address, which some proxies write with a port.
fn address_of(entry: &str) -> Option<IpAddr> {
    let address = entry.parse::<IpAddr>().ok().or_else(|| {
        let with_port = entry.parse::<SocketAddr>().ok()?;
        Some(with_port.ip())
    });
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the client behind a peer with these lines of the header.
    fn client(proxies: &str, peer: &str, lines: &[&str]) -> String {
        let proxies: TrustedProxies = proxies.parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let client = proxies.client_of(peer.parse().unwrap(), &headers);
        client.to_string()
    }

    #[test]
    fn the_header_is_read_from_the_right_up_to_the_first_untrusted_address() {
        let trusted = "10.0.0.0/8, 192.0.2.7";
        for (lines, expected) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            (&["1.1.1.1", "203.0.113.9,192.0.2.7"], "203.0.113.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            // Every hop is trusted: the first one is the client.
            (&["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
            (&[], "10.1.1.1"),
            // Nothing left of a malformed entry can be trusted.
            (&["1.1.1.1, unknown"], "10.1.1.1"),
            (&["1.1.1.1, x, 10.2.2.2"], "10.2.2.2"),
            (&[""], "10.1.1.1"),
        ] {
            assert_eq!(client(trusted, "10.1.1.1", lines), expected, "{lines:?}");
        }
        let mapped = client(trusted, "::ffff:10.1.1.1", &["203.0.113.9"]);
        assert_eq!(mapped, "203.0.113.9");
    }

    #[test]
    fn a_peer_that_is_not_trusted_cannot_choose_its_address() {
        for trusted in ["", "10.0.0.0/8"] {
            let client = client(trusted, "203.0.113.9", &["10.1.1.1"]);
            assert_eq!(client, "203.0.113.9");
        }
    }

    #[test]
    fn a_network_of_ipv4_that_is_mapped_to_ipv6_means_the_one_of_ipv4() {
        for (mapped, meant) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:a00:0/104", "10.0.0.0/8"),
            ("::ffff:10.1.1.1", "10.1.1.1"),
            ("::ffff:10.1.1.1/128", "10.1.1.1/32"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(mapped.parse(), meant.parse::<TrustedProxies>(), "{mapped}");
        }
        for peer in ["10.1.1.1", "::ffff:10.1.1.1"] {
            let client = client("::ffff:10.0.0.0/104", peer, &["203.0.113.9, 10.2.2.2"]);
            assert_eq!(client, "203.0.113.9");
        }
    }

    #[test]
    fn a_malformed_network_is_named() {
        for malformed in [
            "10.0.0.0/33",
            "proxy",
            "10.0.0",
            "10.0.0.0/8;10.1.0.0/16",
            "010.0.0.0/8",
            "010.0.0.1",
            "::ffff:10.0.0.0/95",
        ] {
            let error = malformed.parse::<TrustedProxies>().unwrap_err();
            assert!(error.to_string().contains(malformed), "{error}");
        }
        assert_eq!("".parse(), Ok(TrustedProxies::default()));
    }
}
