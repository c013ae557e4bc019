//! Receivers with TLS.

use chat_test_support::Certificates;

use super::start;
use crate::nodes::group::until_metric;
use crate::support::receiver::Receiver;
use crate::support::{Database, Gateway};

/// Starts a gateway that trusts the authority of these certificates, and no other.
fn start_trusting(database: &Database, receiver: &Receiver, trusted: &Certificates) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let authority = trusted.write_to(folder.path()).unwrap().authority;
    let settings = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    start(database, receiver, &settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_whose_certificate_is_not_trusted_receives_nothing_until_it_is() {
    let certificates = Certificates::generate().unwrap();
    let receiver = Receiver::start_tls(&certificates.server).await;
    let database = Database::sqlite();
    let strangers = Certificates::generate().unwrap();
    let mut gateway = start_trusting(&database, &receiver, &strangers);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    ada.send(1, "hello").await;
    let failed = "chat_webhook_deliveries_total{outcome=\"failed\"}";
    until_metric(&gateway, failed, |count| count >= 2).await;
    let line = gateway.wait_for_log(|log| {
        let line = log.lines().find(|line| line.contains("was not delivered"));
        line.map(str::to_owned)
    });
    assert!(line.contains("invalid peer certificate"), "{line}");
    gateway.signal("TERM");
    gateway.wait();
    assert!(receiver.calls().is_empty());

    let gateway = start_trusting(&database, &receiver, &certificates);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    ada.send(1, "again").await;
    receiver.until_taken(2).await;
    assert_eq!(receiver.connections(), 1);
}
