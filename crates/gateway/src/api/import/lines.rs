//! Divides what arrives of a body into lines.

use std::collections::VecDeque;

use crate::api::error::ApiError;
use crate::limits::IMPORT_LINE_BYTES;

/// The lines that have arrived and are not taken yet: at most those of one frame.
#[derive(Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not arrived.
    begun: Vec<u8>,
    whole: VecDeque<Vec<u8>>,
    taken: u64,
}

/// A line.
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    bytes: Vec<u8>,
}

impl Lines {
    /// Adds what has arrived. Of a line that is too long, only the beginning is kept.
    pub(super) fn push(&mut self, data: &[u8]) {
        let mut parts = data.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let space = (IMPORT_LINE_BYTES + 1).saturating_sub(self.begun.len());
            self.begun.extend(part.iter().take(space));
            if parts.peek().is_some() {
                self.whole.push_back(std::mem::take(&mut self.begun));
            }
        }
    }

    /// Notes that nothing more arrives: the last line may lack its end.
    pub(super) fn end(&mut self) {
        if !self.begun.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.begun));
        }
    }

    /// Takes the next line.
    pub(super) fn next(&mut self) -> Option<Line> {
        let bytes = self.whole.pop_front()?;
        self.taken += 1;
        Some(Line {
            number: self.taken,
            bytes,
        })
    }

    /// Returns how many lines were taken.
    pub(super) fn count(&self) -> u64 {
        self.taken
    }
}

impl Line {
    /// Returns the text of the line.
    pub(super) fn text(&self) -> Result<&str, ApiError> {
        if self.bytes.len() > IMPORT_LINE_BYTES {
            let most = format!("it must have at most {IMPORT_LINE_BYTES} bytes");
            return Err(ApiError::invalid(most));
        }
        std::str::from_utf8(&self.bytes).map_err(|_| ApiError::invalid("it must be UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &mut Lines) -> Vec<String> {
        let mut taken = Vec::new();
        while let Some(line) = lines.next() {
            assert_eq!(line.number, lines.count());
            taken.push(line.text().map_or("too long", |text| text).to_owned());
        }
        taken
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let mut lines = Lines::default();
        for part in ["a", "b\nc", "\n", "\nd"] {
            lines.push(part.as_bytes());
        }
        assert_eq!(taken(&mut lines), ["ab", "c", ""]);
        lines.end();
        assert_eq!(taken(&mut lines), ["d"]);
        lines.end();
        assert_eq!(taken(&mut lines), [""; 0]);
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut lines = Lines::default();
        for _ in 0..3 {
            lines.push(&[b'x'; IMPORT_LINE_BYTES]);
        }
        assert!(lines.begun.len() <= IMPORT_LINE_BYTES + 1);
        lines.push(b"\nnext\n");
        assert_eq!(taken(&mut lines), ["too long", "next"]);
    }
}
