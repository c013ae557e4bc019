//! A network cable between a gateway and a server that it uses, which can be cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

async fn carry(gateway: TcpStream, server: String, cut: watch::Receiver<bool>) {
    if *cut.borrow() {
        return silence(&gateway).await;
    }
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let mut gateway = gateway;
    {
        let (mut from_gateway, mut to_gateway) = gateway.split();
        let (mut from_server, mut to_server) = server.split();
        let mut cut = cut;
        let carrying = async {
            tokio::select! {
                () = copy(&mut from_gateway, &mut to_server) => {}
                () = copy(&mut from_server, &mut to_gateway) => {}
            }
        };
        tokio::select! {
            () = carrying => return,
            _ = cut.wait_for(|is_cut| *is_cut) => {}
        }
    }
    silence(&gateway).await;
}

async fn copy(from: &mut (impl AsyncReadExt + Unpin), to: &mut (impl AsyncWriteExt + Unpin)) {
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

/// Keeps a connection open, and says nothing on it.
async fn silence(_: &TcpStream) {
    std::future::pending().await
}
