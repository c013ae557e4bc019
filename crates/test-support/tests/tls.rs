//! Throwaway PostgreSQL and Redis servers support TLS with a test's own certificate.

use std::io::{Read as _, Write as _};

use chat_test_support::{Certificates, Cluster, ClusterOptions, Redis, RedisOptions};

#[test]
fn a_server_is_trusted_only_with_its_own_authority() {
    let certificates = Certificates::generate().unwrap();
    let cluster = Cluster::start(ClusterOptions {
        tls: Some(certificates.server.clone()),
        ..ClusterOptions::default()
    })
    .unwrap();
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let ask = |parameters: &str| cluster.psql(&format!("postgres?{parameters}"), encrypted);

    assert_eq!(ask("sslmode=disable").unwrap(), "f");
    assert_eq!(ask("sslmode=require").unwrap(), "t");

    let folder = tempfile::tempdir().unwrap();
    let own = certificates.write_to(folder.path()).unwrap();
    let verify = format!(
        "sslmode=verify-full&sslrootcert={}",
        own.authority.display()
    );
    assert_eq!(ask(&verify).unwrap(), "t");

    let other = Certificates::generate().unwrap();
    std::fs::write(&own.authority, &other.authority_pem).unwrap();
    let refusal = ask(&verify).unwrap_err().to_string();
    assert!(refusal.contains("certificate verify failed"), "{refusal}");
}

#[test]
fn a_redis_server_with_an_identity_accepts_only_tls() {
    let certificates = Certificates::generate().unwrap();
    let redis = Redis::start(RedisOptions {
        tls: Some(certificates.server),
        ..RedisOptions::default()
    })
    .unwrap();
    assert!(redis.url().starts_with("rediss://localhost:"));
    assert_eq!(redis.command(&["PING"]).unwrap(), "PONG");
    let mut plain = std::net::TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    plain.write_all(b"PING\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).ok();
    assert!(!answer.contains("PONG"), "{answer}");
}
