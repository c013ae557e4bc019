//! What it costs to compare rooms with the log, as several nodes do twice a second.
//!
//! `compare_rooms URL changes|newest NODES ROOMS SECONDS` runs that many nodes in one process on
//! a migrated PostgreSQL database. `changes` reads what has changed, as the gateway does;
//! `newest` reads the newest position of each of the rooms 1 to ROOMS. It prints the CPU time
//! of this process; that of the server is read from the system.

use std::time::{Duration, Instant};

use chat_adapters::postgres::Database;
use chat_domain::ports::RoomRepository as _;
use chat_domain::{BoxError, RoomId, StorageError};

const ROOMS_PER_QUERY: usize = 2000;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, way, nodes, rooms, seconds] = &arguments[..] else {
        return Err("compare_rooms URL changes|newest NODES ROOMS SECONDS".into());
    };
    let rooms: Result<Vec<RoomId>, _> = (1..=rooms.parse()?).map(RoomId::new).collect();
    let (rooms, is_changes) = (rooms?, way == "changes");
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let mut running = Vec::new();
    for _ in 0..nodes.parse()? {
        let (database, rooms) = (Database::open(&url.parse()?, 4)?, rooms.clone());
        running.push(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(500));
            let (mut cursor, mut found, mut slowest) = (None, 0, Duration::ZERO);
            while Instant::now() < end {
                ticks.tick().await;
                let began = Instant::now();
                if is_changes {
                    let changes = database.changed_since(cursor).await?;
                    found += changes.rooms.map_or(0, |rooms| rooms.len());
                    cursor = Some(changes.cursor);
                } else {
                    for rooms in rooms.chunks(ROOMS_PER_QUERY) {
                        found += database.newest(rooms).await?.len();
                    }
                }
                slowest = slowest.max(began.elapsed());
            }
            Ok::<_, StorageError>((found, slowest))
        }));
    }
    for node in running {
        let (found, slowest) = node.await??;
        println!("{found} positions read, the slowest comparison took {slowest:?}");
    }
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat") {
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split(' ')
            .collect();
        let ticks = |n: usize| {
            fields
                .get(n)
                .and_then(|f| f.parse::<u64>().ok())
                .unwrap_or(0)
        };
        println!(
            "CPU time of this process: {} ms",
            (ticks(12) + ticks(13)) * 10
        );
    }
    Ok(())
}
