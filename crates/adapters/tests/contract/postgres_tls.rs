//! TLS to PostgreSQL, against a server with a certificate of the test's own.

use chat_adapters::postgres::Database;
use chat_test_support::{Certificates, Cluster, ClusterOptions};

struct Server {
    cluster: Cluster,
    authority: String,
    stranger: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let certificates = Certificates::generate().unwrap();
        let stranger = Certificates::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("ca.pem"), &certificates.authority_pem).unwrap();
        std::fs::write(path("stranger.pem"), &stranger.authority_pem).unwrap();
        let options = ClusterOptions {
            tls: Some(certificates.server),
            password: Some("hunter2".into()),
            ..ClusterOptions::default()
        };
        Self {
            cluster: Cluster::start(options).unwrap(),
            authority: path("ca.pem"),
            stranger: path("stranger.pem"),
            _folder: folder,
        }
    }

    /// What somebody sees who connects like this: whether it is encrypted.
    async fn connect(&self, host: &str, query: &str) -> Result<(), String> {
        let url = self.cluster.url("postgres").replace("127.0.0.1", host);
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}{query}")
            .parse()
            .map_err(|e| format!("{e}"))?;
        let database = Database::open(&url, 1).map_err(|error| error.to_string())?;
        let pending = database.pending_migrations().await;
        pending.map(|_| ()).map_err(|error| error.to_string())
    }

    /// How many connections are encrypted, from the server's own view.
    fn log_of_encryption(&self) -> String {
        let sql = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE ssl AND application_name = 'chat-gateway'";
        self.cluster.psql("postgres", sql).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_ssl_mode_is_as_strict_as_it_says() {
    let server = Server::start();
    let (ca, stranger) = (&server.authority, &server.stranger);

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
        let query = format!("sslmode={mode}&sslrootcert={stranger}");
        let refused = server.connect("localhost", &query).await.unwrap_err();
        assert!(refused.contains("certificate"), "{mode}: {refused}");
        assert!(!refused.contains("hunter2"));
    }
    let without = server.connect("localhost", "sslmode=verify-full").await;
    assert!(without.is_err(), "no system trusts the test's authority");
    let missing = server.connect("localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem");
    assert!(missing.await.unwrap_err().contains("/nowhere.pem"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_verify_full_asks_for_the_hosts_name() {
    let server = Server::start();
    let ca = &server.authority;
    // The certificate is for localhost and 127.0.0.1; 127.0.0.2 is the same server
    // only where it listens to it, so the name is given beside the address.
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
    // The pool's connection stays open, so that the server can be asked about it.
    use chat_domain::ports::RoomRepository as _;
    database.newest(&[crate::room(1)]).await.unwrap();
    assert_eq!(server.log_of_encryption().trim(), "1");
}
