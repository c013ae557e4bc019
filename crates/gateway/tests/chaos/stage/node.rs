//! The gateways of a test.

use std::ffi::OsString;
use std::net::SocketAddr;

use chat_test_support::Redis;
use tokio::task::block_in_place;
use url::Url;

use super::{Cabled, Setup};
use crate::cable::Cable;
use crate::support::{Database, Gateway, PROGRAM};

/// One gateway, which keeps its port and its settings when it is started again.
pub(super) struct Node {
    /// `None` while it is down.
    gateway: Option<Gateway>,
    port: u16,
    program: OsString,
    settings: Vec<(&'static str, String)>,
    /// Between the gateway and a server that it uses.
    pub(super) cable: Option<Cable>,
}

impl Node {
    /// Starts a gateway on this database.
    pub(super) async fn start(database: &Database, redis: Option<&Redis>, setup: Setup) -> Self {
        // While the gateway is down, the kernel does not assign this port to an outgoing
        // connection.
        let port = chat_test_support::free_port().unwrap();
        let mut settings = vec![
            ("PORT", port.to_string()),
            // Without a rate limit, only the faults cause refusals.
            ("MESSAGE_RATE", "0".to_owned()),
        ];
        let mut cable = None;
        let servers = [
            ("DATABASE_URL", Cabled::Database, Some(database.url())),
            ("REDIS_URL", Cabled::Redis, redis.map(Redis::url)),
        ];
        for (name, server, url) in servers {
            let Some(mut url) = url else { continue };
            if setup.cabled == Some(server) {
                let (started, cabled) = cabled(&url).await;
                (cable, url) = (Some(started), cabled);
            }
            settings.push((name, url));
        }
        let mut program = PROGRAM.into();
        if let Some(bug) = setup.planted {
            program = std::env::var_os("PLANTED_GATEWAY")
                .expect("`cargo xtask chaos --controls` builds the gateway with planted bugs");
            settings.push(("PLANTED_BUG", bug.to_owned()));
        }
        let mut node = Self {
            gateway: None,
            port,
            program,
            settings,
            cable,
        };
        node.start_again(database);
        node
    }

    pub(super) fn start_again(&mut self, database: &Database) {
        let settings = self.settings.iter();
        let settings: Vec<_> = settings
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let program = &self.program;
        self.gateway = Some(block_in_place(|| {
            Gateway::start_program(program, database, &settings)
        }));
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(super) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("the gateway runs")
    }

    /// Ends the gateway with a signal and returns its exit code.
    pub(super) fn end(&mut self, signal: &str) -> Option<i32> {
        let mut gateway = self.gateway.take().expect("the gateway runs");
        gateway.signal(signal);
        let status = block_in_place(|| gateway.wait());
        if !status.success() && signal == "TERM" {
            println!("{}", gateway.log());
        }
        status.code()
    }
}

/// Puts a cable between a gateway and the server of this URL. Returns the URL to be used.
async fn cabled(url: &str) -> (Cable, String) {
    let mut url = Url::parse(url).unwrap();
    let port = url.port().expect("the server's port");
    let cable = Cable::start(format!("{}:{port}", url.host_str().unwrap())).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(cable.address.port())).unwrap();
    (cable, url.into())
}
