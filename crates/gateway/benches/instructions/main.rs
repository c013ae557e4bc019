//! The hot code paths of a message. `cargo xtask bench --micro` runs this program under
//! callgrind and compares the instructions of each piece with `figures.toml`.
//!
//! Every piece runs in a process of its own, on one thread, and with the same input each
//! time: its figure depends on its code, and not on what earlier pieces left in the heap.

mod delivery;
mod encoding;
mod log;
mod piece;
mod samples;
mod sockets;
mod storage;
mod tokens;

use self::piece::Entry;

/// Counts the piece that the argument names, and prints its number of operations. Without an
/// argument, prints the names of all pieces.
fn main() {
    let groups = [
        encoding::PIECES,
        tokens::PIECES,
        storage::PIECES,
        delivery::PIECES,
        sockets::PIECES,
    ];
    let mut pieces = groups.into_iter().flatten();
    let named = std::env::args().nth(1).filter(|name| name != "--bench");
    match named {
        None => pieces.for_each(|Entry(name, _)| println!("{name}")),
        Some(named) => match pieces.find(|Entry(name, _)| *name == named) {
            Some(Entry(_, create)) => println!("{}", create().count()),
            None => panic!("{named} is not a piece"),
        },
    }
}
