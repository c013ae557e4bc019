//! The server under load: the addresses of its nodes, and the request that opens a WebSocket
//! to one of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use chat_domain::BoxError;
use url::Url;

/// Connections per source address. Linux assigns every other one of about 28,000
/// ephemeral ports quickly; for each of the rest, it searches through all of them.
const CONNECTIONS_PER_SOURCE: usize = 10_000;

/// The server to drive: one node or several, over which the connections are spread.
pub struct Target {
    nodes: Vec<Node>,
}

/// A process that accepts connections.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    /// The value of the header `Host`.
    host: String,
}

impl Target {
    /// Parses the `http://` or `ws://` URL of each node and resolves its host.
    ///
    /// # Errors
    /// There is no URL, or one of them is invalid, requires TLS, or its host cannot be
    /// resolved.
    pub fn parse(urls: &[&str]) -> Result<Self, BoxError> {
        let nodes: Result<Vec<_>, _> = urls.iter().map(|url| Node::parse(url)).collect();
        let nodes = nodes?;
        if nodes.is_empty() {
            return Err("--url is missing".into());
        }
        Ok(Self { nodes })
    }

    /// Returns the number of nodes.
    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the node of the nth connection. Each node has about as many connections as
    /// the others, of any selection of them, such as every tenth.
    pub(crate) fn node(&self, connection: usize) -> &Node {
        &self.nodes[self.node_number(connection)]
    }

    /// Returns the place of that node among the URLs.
    pub(crate) fn node_number(&self, connection: usize) -> usize {
        // Fibonacci hashing: the upper bits of the product are evenly spread.
        let hash = (connection as u32).wrapping_mul(0x9E37_79B9);
        let node = (u64::from(hash) * self.nodes.len() as u64) >> 32;
        node as usize
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.nodes.iter().map(|n| n.address.to_string()).collect();
        f.write_str(&addresses.join(", "))
    }
}

impl Node {
    fn parse(text: &str) -> Result<Self, BoxError> {
        let url: Url = text
            .parse()
            .map_err(|error| format!("--url is not a valid URL: {error}"))?;
        match url.scheme() {
            "http" | "ws" => {}
            "https" | "wss" => {
                return Err(
                    "--url: TLS is not supported: use the http:// address of the server itself"
                        .into(),
                );
            }
            other => return Err(format!("--url must start with http://, not {other}://").into()),
        }
        let host = url.host_str().ok_or("--url has no host")?;
        let port = url.port_or_known_default().ok_or("--url has no port")?;
        let host = format!("{host}:{port}");
        let mut addresses = host
            .to_socket_addrs()
            .map_err(|error| format!("--url: {host} cannot be resolved: {error}"))?;
        let address = addresses
            .next()
            .ok_or_else(|| format!("--url: {host} has no address"))?;
        Ok(Self { address, host })
    }

    /// Returns the request that upgrades a connection to a WebSocket. The key may be the
    /// same for all connections: it only protects against caches, and there are none.
    pub(crate) fn upgrade(&self) -> String {
        format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: Y2hhdC1nYXRld2F5IGxvYQ==\r\n\r\n",
            self.host
        )
    }

    /// Returns the source address of the nth connection, if it must be a particular one:
    /// a single address has too few ports for very many connections. Only Linux has all
    /// of 127.0.0.0/8 without configuration.
    pub(crate) fn source(&self, connection: usize) -> Option<IpAddr> {
        let is_loopback = self.address.is_ipv4() && self.address.ip().is_loopback();
        let group = connection / CONNECTIONS_PER_SOURCE;
        if group == 0 || !is_loopback || cfg!(not(target_os = "linux")) {
            return None;
        }
        let last = u8::try_from(1 + group).ok()?;
        Some(Ipv4Addr::new(127, 0, 0, last).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_urls_are_refused_with_the_reason() {
        for (text, says) in [
            ("127.0.0.1:3001", "--url is not a valid URL"),
            ("https://chat.example", "TLS is not supported"),
            ("wss://chat.example", "TLS is not supported"),
            ("ftp://chat.example", "not ftp://"),
            ("http://no such host", "--url is not a valid URL"),
            ("http://nowhere.invalid", "cannot be resolved"),
        ] {
            let urls = ["http://127.0.0.1:3001", text];
            let error = Target::parse(&urls).err().unwrap().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(Target::parse(&[]).is_err());
        let node = Node::parse("http://[::1]:3001/").unwrap();
        assert!(node.upgrade().contains("\r\nHost: [::1]:3001\r\n"));
        assert_eq!(node.source(1_000_000), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn very_many_connections_use_several_source_addresses() {
        let node = Node::parse("http://127.0.0.1:3001").unwrap();
        let sources = [9_999, 10_000, 29_999].map(|n| node.source(n));
        let address = |last| Some(IpAddr::from([127, 0, 0, last]));
        assert_eq!(sources, [None, address(2), address(3)]);
    }

    #[test]
    fn the_connections_of_every_room_are_spread_over_the_nodes() {
        let urls: Vec<_> = (3001..=3003)
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect();
        let urls: Vec<_> = urls.iter().map(String::as_str).collect();
        for nodes in 1..=urls.len() {
            let target = Target::parse(&urls[..nodes]).unwrap();
            for rooms in [1, 6, 100] {
                for room in 0..rooms {
                    let mut counts = vec![0; nodes];
                    for member in 0..300 {
                        let port = target.node(member * rooms + room).address.port();
                        counts[usize::from(port) - 3001] += 1;
                    }
                    let even = 300 / nodes;
                    assert!(
                        counts
                            .iter()
                            .all(|count| (even * 3 / 4..=even * 5 / 4).contains(count)),
                        "room {room} of {rooms}: {counts:?}"
                    );
                }
            }
        }
    }
}
