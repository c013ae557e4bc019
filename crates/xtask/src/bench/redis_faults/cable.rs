//! A TCP proxy between the nodes and Redis, which can lose everything in one direction.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

const CHUNK: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToRedis,
    FromRedis,
}

/// Carries connections until the process ends.
pub(super) struct Cable {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The direction in which nothing arrives.
    cut: Mutex<Option<Direction>>,
    mended: Condvar,
}

impl Cable {
    /// Listens for connections to Redis on this port.
    pub(super) fn start(redis: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State::default());
        let carrying = state.clone();
        thread::spawn(move || {
            for node in listener.incoming().map_while(Result::ok) {
                // Redis may be down: the node's connection ends.
                if let Ok(redis) = TcpStream::connect((Ipv4Addr::LOCALHOST, redis)) {
                    carrying.carry(node, redis).ok();
                }
            }
        });
        Ok(Self { port, state })
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on, nothing arrives in this direction, on present and new connections.
    pub(super) fn cut(&self, direction: Direction) {
        *self.state.lock() = Some(direction);
    }

    /// Lets everything arrive, also what was sent meanwhile.
    pub(super) fn mend(&self) {
        *self.state.lock() = None;
        self.state.mended.notify_all();
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Option<Direction>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(self: &Arc<Self>, node: TcpStream, redis: TcpStream) -> io::Result<()> {
        node.set_nodelay(true)?;
        redis.set_nodelay(true)?;
        let directions = [
            (Direction::ToRedis, node.try_clone()?, redis.try_clone()?),
            (Direction::FromRedis, redis, node),
        ];
        for (direction, from, to) in directions {
            let state = self.clone();
            thread::spawn(move || {
                state.carry_one_way(direction, &from, &to);
                // Ends the other direction too.
                for side in [from, to] {
                    side.shutdown(Shutdown::Both).ok();
                }
            });
        }
        Ok(())
    }

    fn carry_one_way(&self, direction: Direction, mut from: &TcpStream, mut to: &TcpStream) {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            let is_cut = |cut: &mut Option<Direction>| *cut == Some(direction);
            let mended = self.mended.wait_while(self.lock(), is_cut);
            drop(mended);
            if to.write_all(&chunk[..length]).is_err() {
                return;
            }
        }
    }
}
