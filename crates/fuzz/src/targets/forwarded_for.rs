//! The operator's trusted proxies, and the `X-Forwarded-For` that they write.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chat_gateway::fuzz::client_address;
use http::HeaderValue;

/// The first line is `TRUSTED_PROXIES`, the second the peer, and each other one a line of
/// the header. The client must be the peer, or what an unbroken chain of trusted proxies
/// vouches for.
pub(crate) fn run(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(lines.next()?).ok();
    let (Some(proxies), Some(peer)) = (text(), text()) else {
        return;
    };
    let Ok(peer) = peer.parse::<IpAddr>() else {
        return;
    };
    let lines = lines.filter_map(|line| HeaderValue::from_bytes(line).ok());
    let lines: Vec<HeaderValue> = lines.collect();
    let client = client_address(proxies, peer, &lines).ok();
    assert_eq!(
        client,
        networks(proxies).map(|it| vouched(&it, peer, &lines))
    );
}

/// Returns the farthest address that is known, and all before which are trusted.
fn vouched(networks: &[Network], peer: IpAddr, lines: &[HeaderValue]) -> IpAddr {
    let mut hops = Vec::new();
    for line in lines {
        match line.to_str() {
            Ok(line) => hops.extend(line.split(',').map(hop)),
            Err(_) => hops.push(None),
        }
    }
    hops.push(Some(canonical(peer)));
    hops.reverse();
    let known: Vec<IpAddr> = hops.into_iter().map_while(|hop| hop).collect();
    let is_trusted = |address: &IpAddr| networks.iter().any(|it| it.contains(*address));
    let trusted = known.iter().take_while(|it| is_trusted(it)).count();
    known[trusted.min(known.len() - 1)]
}

/// Reads an address, a.b.c.d:port, or [address]:port.
fn hop(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim_matches([' ', '\t']);
    if let Ok(address) = entry.parse() {
        return Some(canonical(address));
    }
    let (host, port) = entry.rsplit_once(':')?;
    number::<u16>(port)?;
    let Some(host) = host.strip_prefix('[') else {
        return host.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    };
    let host = host.strip_suffix(']')?;
    let (host, zone) = host.split_once('%').unwrap_or((host, "0"));
    number::<u32>(zone)?;
    host.parse::<Ipv6Addr>().ok().map(|it| canonical(it.into()))
}

fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Reads digits only; the standard library takes a sign as well.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Compares the leading bits.
    fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differ >= self.prefix
    }
}

/// Reads `TRUSTED_PROXIES`; `None` if it is malformed.
fn networks(text: &str) -> Option<Vec<Network>> {
    let entries = text.split(',').map(str::trim);
    let entries = entries.filter(|entry| !entry.is_empty());
    let networks = entries.map(|entry| {
        let (address, prefix) = match entry.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (entry, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        // Leading zeros are taken, up to the digits of the longest prefix.
        let digits = bits.to_string().len();
        let prefix = match prefix {
            Some(prefix) => number::<u32>(prefix).filter(|_| prefix.len() <= digits)?,
            None => bits,
        };
        let mapped = canonical(address);
        let prefix = match mapped == address {
            true => prefix,
            // The leading bits of an address of IPv4 that is mapped to IPv6.
            false => prefix.checked_sub(96)?,
        };
        let bits = if mapped.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Network {
            address: mapped,
            prefix,
        })
    });
    networks.collect()
}
