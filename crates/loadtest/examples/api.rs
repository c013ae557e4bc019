//! Sends messages over the server API, on keep-alive connections with one request in progress
//! each, and prints how many are stored per second.
//!
//! Run it: `cargo run --release -p chat-loadtest --example api -- 127.0.0.1:3001 KEY 64 10`
//! (address, key, connections, seconds).

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, key, connections, seconds] = &arguments[..] else {
        return Err(io::Error::other(
            "expected: ADDRESS KEY CONNECTIONS SECONDS",
        ));
    };
    let connections: usize = connections.parse().map_err(io::Error::other)?;
    let seconds: u64 = seconds.parse().map_err(io::Error::other)?;
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let latencies = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..connections)
            .map(|n| scope.spawn(move || send(address, key, n + 1, deadline)))
            .collect();
        let mut all = Vec::new();
        for sender in senders {
            let sent = sender
                .join()
                .map_err(|_| io::Error::other("a sender panicked"))?;
            all.extend(sent?);
        }
        Ok::<_, io::Error>(all)
    });
    let mut latencies = latencies?;
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize);
    println!(
        "stored per second: {}",
        latencies.len() as u64 / seconds.max(1)
    );
    println!("p50 {:?}, p99 {:?}", at(0.5), at(0.99));
    Ok(())
}

/// Sends one message after the other to a room, and returns how long each took.
fn send(address: &str, key: &str, room: usize, deadline: Instant) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let body =
        format!(r#"{{"userId":"u{room}","name":"Load","content":"a message of the load test"}}"#);
    let request = format!(
        "POST /api/v1/rooms/{room}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut latencies = Vec::new();
    while Instant::now() < deadline {
        let begun = Instant::now();
        stream.write_all(request.as_bytes())?;
        read_answer(&mut answers)?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}

/// Reads an answer, which must state that the message is stored.
fn read_answer(answers: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 201 ") {
        return Err(io::Error::other(format!("not stored: {line}")));
    }
    let mut length = 0;
    loop {
        line.clear();
        answers.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body)
}
