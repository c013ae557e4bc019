//! TLS to PostgreSQL, with a server whose certificate the test has issued.

use chat_adapters::postgres::Database;
use chat_domain::ports::RoomRepository as _;
use chat_test_support::{Certificates, Cluster, ClusterOptions};

use crate::error_chain;

struct Server {
    cluster: Cluster,
    authority: String,
    other_authority: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let certificates = Certificates::generate().unwrap();
        let other = Certificates::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("ca.pem"), &certificates.authority_pem).unwrap();
        std::fs::write(path("other.pem"), &other.authority_pem).unwrap();
        let options = ClusterOptions {
            tls: Some(certificates.server),
            password: Some("hunter2".into()),
            ..ClusterOptions::default()
        };
        Self {
            cluster: Cluster::start(options).unwrap(),
            authority: path("ca.pem"),
            other_authority: path("other.pem"),
            _folder: folder,
        }
    }

    /// Connects with these parameters, and returns the error if that fails.
    async fn connect(&self, host: &str, query: &str) -> Result<(), String> {
        let url = self.cluster.url("postgres").replace("127.0.0.1", host);
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}{query}")
            .parse()
            .map_err(|e| format!("{e}"))?;
        let database = Database::open(&url, 1).map_err(|error| error_chain(&*error))?;
        let pending = database.pending_migrations().await;
        pending.map(|_| ()).map_err(|error| error_chain(&*error))
    }

    /// Returns the number of encrypted connections, as the server reports it.
    fn encrypted_connections(&self) -> String {
        let sql = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE ssl AND application_name = 'chat-gateway'";
        self.cluster.psql("postgres", sql).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_ssl_mode_is_as_strict_as_in_libpq() {
    let server = Server::start();
    let (ca, other) = (&server.authority, &server.other_authority);

    server
        .connect("127.0.0.1", "sslmode=disable")
        .await
        .unwrap();
    server.connect("127.0.0.1", "sslmode=prefer").await.unwrap();
    server
        .connect("127.0.0.1", "sslmode=require")
        .await
        .unwrap();
    server
        .connect(
            "localhost",
            &format!("sslmode=verify-full&sslrootcert={ca}"),
        )
        .await
        .unwrap();
    server
        .connect(
            "127.0.0.1",
            &format!("sslmode=verify-full&sslrootcert={ca}"),
        )
        .await
        .unwrap();

    for mode in ["verify-full", "verify-ca", "require"] {
        let query = format!("sslmode={mode}&sslrootcert={other}");
        let refused = server.connect("localhost", &query).await.unwrap_err();
        assert!(refused.contains("certificate"), "{mode}: {refused}");
        assert!(!refused.contains("hunter2"));
    }
    let without = server.connect("localhost", "sslmode=verify-full").await;
    assert!(
        without.is_err(),
        "the system does not trust the test's authority"
    );
    let missing = server.connect("localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem");
    assert!(missing.await.unwrap_err().contains("/nowhere.pem"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_verify_full_checks_the_name_of_the_host() {
    let server = Server::start();
    let ca = &server.authority;
    // The certificate is for localhost and 127.0.0.1. The name is another one, and the
    // address is given beside it.
    let named = |query: String| format!("hostaddr=127.0.0.1&{query}");
    let full = named(format!("sslmode=verify-full&sslrootcert={ca}"));
    let refused = server
        .connect("elsewhere.example", &full)
        .await
        .unwrap_err();
    assert!(refused.contains("elsewhere.example"), "{refused}");
    let authority = named(format!("sslmode=verify-ca&sslrootcert={ca}"));
    server
        .connect("elsewhere.example", &authority)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_connection_is_encrypted() {
    let server = Server::start();
    let url = format!("{}?sslmode=require", server.cluster.url("postgres"));
    let database = Database::open(&url.parse().unwrap(), 1).unwrap();
    database.migrate().await.unwrap();
    // The pool's connection stays open, so that the server can report it.
    database.newest(&[crate::room(1)]).await.unwrap();
    assert_eq!(server.encrypted_connections().trim(), "1");
}
