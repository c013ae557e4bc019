//! Real dependencies for tests: throwaway PostgreSQL and Redis servers, databases and
//! certificates.
//!
//! Nothing here depends on the chat, and nothing is asynchronous, so that the adapters'
//! tests, the gateway's end-to-end tests and `cargo xtask` can all use it.
//!
//! What a test starts ends with the test: through `Drop` when the test returns or panics,
//! and through a [`Janitor`] when its whole process is killed. No wait is without a deadline.

#[cfg(feature = "certificates")]
mod certificates;
mod child;
mod cluster;
mod database;
#[cfg(feature = "issuer")]
mod issuer;
#[cfg(feature = "issuer")]
mod jwks_server;
mod process;
mod programs;
mod redis;
mod slow_clients;
mod transaction;

#[cfg(feature = "certificates")]
pub use certificates::{CertificateFiles, Certificates};
pub use child::{ChildProcess, run};
pub use cluster::{Cluster, ClusterOptions, TlsIdentity, free_port};
pub use database::TestDatabase;
#[cfg(feature = "issuer")]
pub use issuer::{SigningKey, public_key_pem, rsa_public_key_der};
#[cfg(feature = "issuer")]
pub use jwks_server::{Answer, JwksServer};
pub use process::{Janitor, signal, wait_until};
pub use programs::{Programs, psql};
pub use redis::{Redis, RedisOptions, RedisUser};
pub use slow_clients::SlowClients;
pub use transaction::Transaction;
