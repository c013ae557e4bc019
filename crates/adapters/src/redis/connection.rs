//! One connection to the server: opening it, and the deadlines of its commands.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chat_domain::BoxError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, Value, cmd};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::url::{Encryption, RedisUrl};
use crate::tls::roots;

/// How long opening a connection may take.
const OPEN_DEADLINE: Duration = Duration::from_millis(500);
/// How long the server may take to answer a command.
const COMMAND_DEADLINE: Duration = Duration::from_secs(1);

/// A Redis server that can be connected to.
pub(super) struct Server {
    url: RedisUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server is in cluster mode.
    #[error("the Redis server is in cluster mode, which is not supported")]
    ClusterMode,
    /// The server cannot be reached, or refuses the connection.
    #[error("Redis cannot be reached")]
    Unreachable(#[source] BoxError),
}

/// Carries out commands, and what drives the connection meanwhile.
///
/// The driver runs in the task that uses the connection, so that dropping the connection
/// closes it, and what the server pushes is processed in that task.
pub(super) struct Connection {
    commands: MultiplexedConnection,
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Server {
    /// Prepares connections.
    ///
    /// # Errors
    /// The trusted certificates cannot be read.
    pub(super) fn new(url: &RedisUrl) -> Result<Self, BoxError> {
        let tls = match &url.encryption {
            Encryption::None => None,
            Encryption::Tls { root_certificates } => {
                let provider = Arc::new(aws_lc_rs::default_provider());
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(roots(root_certificates.as_deref())?)
                    .with_no_client_auth();
                let name = ServerName::try_from(url.host.clone())?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
        };
        Ok(Self {
            url: url.clone(),
            tls,
        })
    }

    /// Opens a connection. What the server pushes is passed to `on_push`, which must not
    /// block.
    pub(super) async fn connect(
        &self,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Connection, ConnectError> {
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(COMMAND_DEADLINE))
            .set_push_sender(move |push| {
                on_push(push);
                Ok::<_, Infallible>(())
            });
        match timeout(OPEN_DEADLINE, self.open(config)).await {
            Ok(opened) => opened,
            Err(_) => Err(ConnectError::Unreachable(
                format!("no answer within {OPEN_DEADLINE:?}").into(),
            )),
        }
    }

    async fn open(&self, config: AsyncConnectionConfig) -> Result<Connection, ConnectError> {
        let unreachable = ConnectError::Unreachable;
        let tcp = TcpStream::connect((self.url.host.as_str(), self.url.port)).await;
        let tcp = tcp.map_err(|error| unreachable(error.into()))?;
        tcp.set_nodelay(true)
            .map_err(|error| unreachable(error.into()))?;
        let mut connection = match &self.tls {
            None => self.log_in(tcp, config).await,
            Some((connector, name)) => match connector.connect(name.clone(), tcp).await {
                Ok(tls) => self.log_in(tls, config).await,
                Err(error) => Err(error.into()),
            },
        }
        .map_err(unreachable)?;
        let mode = connection.run(async |commands| mode(commands).await).await;
        match mode.map_err(unreachable)?.as_deref() {
            Some("cluster") => Err(ConnectError::ClusterMode),
            _ => Ok(connection),
        }
    }

    async fn log_in(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        config: AsyncConnectionConfig,
    ) -> Result<Connection, BoxError> {
        let login = &self.url.login;
        let (commands, driver) =
            MultiplexedConnection::new_with_config(login, stream, config).await?;
        Ok(Connection {
            commands,
            driver: Box::pin(driver),
        })
    }
}

impl Connection {
    /// Runs `work` with the connection. Ends early if the connection does.
    pub(super) async fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, BoxError>,
    ) -> Result<T, BoxError> {
        tokio::select! {
            outcome = work(&mut self.commands) => outcome,
            () = &mut self.driver => Err("the server closed the connection".into()),
        }
    }
}

/// Returns the server's mode: `standalone`, `sentinel` or `cluster`.
async fn mode(commands: &mut MultiplexedConnection) -> Result<Option<String>, BoxError> {
    let reply: Value = cmd("HELLO").arg(3).query_async(commands).await?;
    let Value::Map(fields) = reply else {
        return Ok(None);
    };
    let mode = fields.into_iter().find_map(|(key, value)| {
        let key: String = redis::from_redis_value(key).ok()?;
        (key == "mode").then(|| redis::from_redis_value(value).ok())?
    });
    Ok(mode)
}
