//! The kill switch and the deadlines, on real TCP connections.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::{Ending, Stream, WireOwner};
use crate::lock;

/// How long a test waits for an event that must happen.
const DEADLINE: Duration = Duration::from_secs(2);

/// Returns the two ends of a new connection: the gateway's and the client's.
async fn pair() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (Stream::new(server).unwrap(), client)
}

/// Writes until a write fails, and returns its error.
async fn write_until_error(stream: &mut Stream) -> std::io::Error {
    loop {
        if let Err(error) = stream.write_all(&[0; 65_536]).await {
            return error;
        }
    }
}

#[tokio::test]
async fn a_waiting_reader_fails_when_the_connection_is_ended() {
    let (mut stream, mut client) = pair().await;
    let wire = stream.wire().clone();
    let reader = tokio::spawn(async move { stream.read_u8().await });
    // The runtime has one thread: the reader runs until it waits.
    yield_now().await;
    wire.end(Ending::Finish);
    assert!(timeout(DEADLINE, reader).await.unwrap().unwrap().is_err());
    assert_eq!(
        timeout(DEADLINE, client.read(&mut [0]))
            .await
            .unwrap()
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn a_stuck_writer_fails_when_the_connection_is_aborted() {
    let (mut stream, client) = pair().await;
    let wire = stream.wire().clone();
    let mut writer = tokio::spawn(async move { write_until_error(&mut stream).await });
    // The writer is stuck because the peer reads nothing.
    assert!(
        timeout(Duration::from_millis(300), &mut writer)
            .await
            .is_err()
    );
    wire.end(Ending::Abort);
    timeout(DEADLINE, writer).await.unwrap().unwrap();
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_disconnected_after_ten_seconds() {
    let (mut stream, client) = pair().await;
    // Paused time advances to the next deadline when no task can run.
    let since = Instant::now();
    let error = write_until_error(&mut stream).await;
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(since.elapsed().as_secs(), 10);
    drop(client);
}

#[tokio::test]
async fn bytes_written_before_the_end_still_arrive() {
    let (mut stream, mut client) = pair().await;
    stream.write_all(b"farewell").await.unwrap();
    stream.wire().end(Ending::Finish);
    let mut received = Vec::new();
    timeout(DEADLINE, client.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(received, b"farewell");
}

/// An owner that records what is written and never delays a read.
#[derive(Default)]
struct RecordingOwner(Mutex<Vec<u8>>);

impl WireOwner for RecordingOwner {
    fn write(&self, bytes: &[u8]) {
        lock(&self.0).extend_from_slice(bytes);
    }

    fn announced(&self, bytes: u64) -> bool {
        bytes <= 65_536
    }

    fn depart(&self) -> Duration {
        Duration::ZERO
    }

    fn finish(&self) {
        lock(&self.0).extend_from_slice(b".");
    }

    fn poll_may_read(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[tokio::test]
async fn a_websocket_is_read_in_parts_and_written_by_its_owner() {
    let (mut stream, mut client) = pair().await;
    let owner = Arc::new(RecordingOwner::default());
    let weak = Arc::downgrade(&owner);
    stream.wire().belongs_to(weak);
    let sent: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
    client.write_all(&sent).await.unwrap();
    stream.unread(b"early");
    let mut received = Vec::new();
    while received.len() < 5 + sent.len() {
        let mut part = [0; 97];
        let count = timeout(DEADLINE, stream.read(&mut part))
            .await
            .unwrap()
            .unwrap();
        received.extend_from_slice(&part[..count]);
    }
    assert_eq!(received[..5], *b"early");
    assert!(received[5..] == sent);

    stream.write_all(b"farewell").await.unwrap();
    drop(stream);
    assert_eq!(*lock(&owner.0), b"farewell.");
}

/// Returns a frame without a mask, whose payload is shorter than 64 KiB.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[first, 126], &length[..], payload].concat()
}

#[tokio::test]
async fn the_parts_of_a_message_that_is_too_large_are_not_read_to_its_end() {
    let (mut stream, mut client) = pair().await;
    let owner = Arc::new(RecordingOwner::default());
    let weak = Arc::downgrade(&owner);
    stream.wire().belongs_to(weak);
    let first = frame(0x01, &[b'x'; 40_000]);
    let second = frame(0x80, &[b'x'; 40_000]);
    client.write_all(&first).await.unwrap();
    client.write_all(&second[..5000]).await.unwrap();
    let mut received = Vec::new();
    let reading = timeout(DEADLINE, stream.read_to_end(&mut received));
    let error = reading.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    // The second header is read, and what came with it.
    assert!(received.starts_with(&first));
    assert!(received.len() <= first.len() + 4096, "{}", received.len());
}

#[tokio::test(start_paused = true)]
async fn many_small_frames_are_read_at_a_bounded_rate() {
    let (mut stream, mut client) = pair().await;
    let owner = Arc::new(RecordingOwner::default());
    let weak = Arc::downgrade(&owner);
    stream.wire().belongs_to(weak);
    let pings = [0x89, 0].repeat(50_000);
    let since = Instant::now();
    let (_, received) = tokio::join!(client.write_all(&pings), async {
        let mut received = vec![0; pings.len()];
        stream.read_exact(&mut received).await.unwrap();
        received
    });
    assert!(received == pings);
    let seconds = since.elapsed().as_secs_f64();
    assert!((0.9..1.2).contains(&seconds), "{seconds}");
    // Large frames are not delayed.
    let since = Instant::now();
    let large = frame(0x81, &[b'x'; 60_000]);
    client.write_all(&large).await.unwrap();
    let mut received = vec![0; large.len()];
    stream.read_exact(&mut received).await.unwrap();
    let seconds = since.elapsed().as_secs_f64();
    assert!(seconds < 0.05, "{seconds}");
}
