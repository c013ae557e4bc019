//! An HTTP or HTTPS server that answers every request in the way that a test demands.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::TlsIdentity;

/// How long a connection of the server may wait for its peer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With status 200 and this JSON.
    Json(String),
    /// With this status, these header lines (each with its end), and an empty body.
    Status(u16, String),
    /// With a body that does not end.
    Endless,
    /// With nothing, until the peer gives up.
    Silence,
    /// By closing the connection.
    Close,
}

/// A running server. Stopped when it is dropped.
pub struct JwksServer {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    answer: Answer,
    requests: Vec<String>,
    is_stopped: bool,
}

impl TlsIdentity {
    /// Returns how a server presents this identity.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn server_config(&self) -> io::Result<ServerConfig> {
        let chain = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes());
        let chain: Result<Vec<_>, _> = chain.collect();
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes());
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(
                chain.map_err(io::Error::other)?,
                key.map_err(io::Error::other)?,
            )
            .map_err(io::Error::other)
    }
}

impl JwksServer {
    /// Starts an HTTP server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub fn start(answer: Answer) -> io::Result<Self> {
        Self::listen(answer, None)
    }

    /// Starts an HTTPS server that presents this identity.
    ///
    /// # Errors
    /// The port cannot be bound, or the identity cannot be used.
    pub fn start_tls(answer: Answer, identity: &TlsIdentity) -> io::Result<Self> {
        let config = identity.server_config()?;
        Self::listen(answer, Some(Arc::new(config)))
    }

    fn listen(answer: Answer, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let shared = Arc::new(Mutex::new(Shared {
            answer,
            requests: Vec::new(),
            is_stopped: false,
        }));
        let server = Self {
            address: listener.local_addr()?,
            scheme: if tls.is_some() { "https" } else { "http" },
            shared: shared.clone(),
        };
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                if lock(&shared).is_stopped {
                    return;
                }
                let (shared, tls) = (shared.clone(), tls.clone());
                // A peer that leaves early is the subject of some tests.
                thread::spawn(move || serve(&shared, tls, tcp).ok());
            }
        });
        Ok(server)
    }

    /// Returns the URL of this path, on `localhost`.
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }

    /// Changes how further requests are answered.
    pub fn answer(&self, answer: Answer) {
        lock(&self.shared).answer = answer;
    }

    /// Returns the heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared).requests.clone()
    }
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        lock(&self.shared).is_stopped = true;
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(shared: &Mutex<Shared>, tls: Option<Arc<ServerConfig>>, tcp: TcpStream) -> io::Result<()> {
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    match tls {
        None => respond(shared, tcp),
        Some(config) => {
            let tls = ServerConnection::new(config).map_err(io::Error::other)?;
            respond(shared, StreamOwned::new(tls, tcp))
        }
    }
}

fn respond(shared: &Mutex<Shared>, mut stream: impl Read + Write) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let answer = {
        let mut shared = lock(shared);
        let head = String::from_utf8_lossy(&head).into_owned();
        shared.requests.push(head);
        shared.answer.clone()
    };
    match answer {
        Answer::Json(json) => write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Cache-Control: public, max-age=21600\r\n\r\n{json}",
            json.len()
        )?,
        Answer::Status(status, headers) => {
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{headers}\r\n"
            )?;
        }
        Answer::Endless => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
            )?;
            loop {
                stream.write_all(&[b' '; 8192])?;
            }
        }
        Answer::Silence => {
            stream.read_exact(&mut [0])?;
        }
        Answer::Close => {}
    }
    stream.flush()
}
