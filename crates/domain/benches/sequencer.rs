//! The cost of turning a room's hints into one order.

use chat_domain::{RoomSequencer, Seq};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

/// Messages per iteration.
const COUNT: usize = 1000;
/// How far a hint arrives from its place, as happens with several nodes.
const DISTANCES: [usize; 3] = [2, 16, 256];

fn main() {
    divan::main();
}

/// Every message is released before the next one is offered.
#[divan::bench]
fn in_order(bencher: Bencher<'_, '_>) {
    let seqs = seqs();
    bencher
        .counter(ItemsCount::new(COUNT))
        .bench(|| sequence(black_box(&seqs)));
}

/// Groups of this size arrive in reverse and are released together.
#[divan::bench(args = DISTANCES)]
fn shuffled(bencher: Bencher<'_, '_>, distance: usize) {
    let mut seqs = seqs();
    for group in seqs.chunks_mut(distance) {
        group.reverse();
    }
    bencher
        .counter(ItemsCount::new(COUNT))
        .bench(|| sequence(black_box(&seqs)));
}

fn seqs() -> Vec<Seq> {
    let numbers = 1..=COUNT as u64;
    numbers.filter_map(|n| Seq::new(n).ok()).collect()
}

fn sequence(seqs: &[Seq]) -> Seq {
    let mut sequencer = RoomSequencer::start(Seq::default(), COUNT);
    for seq in seqs {
        sequencer.offer(*seq, *seq);
        while let Some(next) = sequencer.release() {
            black_box(next);
        }
    }
    // Otherwise the benchmark measured something else.
    assert_eq!(sequencer.released().get(), COUNT as u64);
    sequencer.released()
}
