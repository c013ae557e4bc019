//! Real parts for tests: throwaway PostgreSQL servers, databases and certificates.
//!
//! Nothing here knows the chat, and nothing is asynchronous: the same parts serve
//! the adapters' tests, the gateway's end-to-end tests and `cargo xtask`.
//!
//! What a test starts ends with the test: by `Drop` when it returns or panics, and
//! by a [`Janitor`] when its whole process is killed.

#[cfg(feature = "certificates")]
mod certificates;
mod cluster;
mod database;
mod process;
mod programs;

#[cfg(feature = "certificates")]
pub use certificates::{CertificateFiles, Certificates};
pub use cluster::{Cluster, ClusterOptions, TlsIdentity, free_port};
pub use database::TestDatabase;
pub use process::{Janitor, signal, wait_until};
pub use programs::{Programs, psql};
