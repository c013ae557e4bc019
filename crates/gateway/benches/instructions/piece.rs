//! What is counted: one piece of code, run once.

use std::hint::black_box;

/// The name of a piece, and what creates it.
pub(crate) struct Entry(pub(crate) &'static str, pub(crate) fn() -> Piece);

/// A piece of the path of a message.
pub(crate) struct Piece {
    operations: usize,
    run: Box<dyn FnMut()>,
}

impl Piece {
    /// Creates a piece whose run consists of this many operations.
    pub(crate) fn new(operations: usize, run: impl FnMut() + 'static) -> Self {
        Self {
            operations,
            run: Box::new(run),
        }
    }

    /// Creates a piece that repeats one operation.
    pub(crate) fn repeat<T>(operations: usize, mut operation: impl FnMut() -> T + 'static) -> Self {
        Self::new(operations, move || {
            for _ in 0..operations {
                black_box(operation());
            }
        })
    }

    /// Runs the piece and returns the number of operations.
    pub(crate) fn count(mut self) -> usize {
        // The first run allocates what is kept, and initializes what is initialized once.
        (self.run)();
        counted_by_callgrind(&mut *self.run);
        self.operations
    }
}

/// callgrind finds this function by its name, and counts what happens until it returns.
#[inline(never)]
fn counted_by_callgrind(run: &mut dyn FnMut()) {
    run();
    // A tail call would end the function before the run.
    black_box(());
}
