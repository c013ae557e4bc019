//! A network cable between a gateway and a server that it uses, which can be cut.

use std::future::pending;
use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Carries everything until it is cut. It ends, with its connections, when it is dropped.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    is_cut: watch::Sender<bool>,
    _connections: JoinSet<()>,
}

impl Cable {
    /// Connects to the server at this `host:port`.
    pub(crate) async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_cut, cut) = watch::channel(false);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((gateway, _)) = listener.accept().await {
                let (server, cut) = (server.clone(), cut.clone());
                connections.spawn(carry(gateway, server, cut));
            }
        });
        Self {
            address,
            is_cut,
            _connections: connections,
        }
    }

    /// Cuts the cable: from now on nothing arrives, and no connection ends or is refused.
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }
}

async fn carry(mut gateway: TcpStream, server: String, mut cut: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let cut = async { drop(cut.wait_for(|is_cut| *is_cut).await) };
    tokio::select! {
        biased;
        // Both connections stay open.
        () = cut => pending().await,
        _ = copy_bidirectional(&mut gateway, &mut server) => {}
    }
}
