//! The instructions per operation of each piece, and how they compare with the committed
//! ones.

use std::collections::BTreeMap;
use std::fmt;

use crate::bench::table::Table;

/// How far a figure may rise, in percent. The margin is for other processors, C libraries
/// and compilers.
const MARGIN: f64 = 15.0;

/// The instructions per operation of each piece, by its name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Figures(BTreeMap<String, u64>);

impl Figures {
    /// Parses lines `name = number`.
    ///
    /// # Errors
    /// Names the first line that is something else, or a name that occurs twice.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut figures = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let figure = line.split_once('=').and_then(|(name, number)| {
                let number: u64 = number.trim().replace('_', "").parse().ok()?;
                Some((name.trim().to_owned(), number)).filter(|_| number > 0)
            });
            let (name, number) = figure.ok_or_else(|| format!("\"{line}\" is not a figure"))?;
            if figures.insert(name, number).is_some() {
                return Err(format!("\"{line}\" occurs twice"));
            }
        }
        Ok(Self(figures))
    }
}

impl FromIterator<(String, u64)> for Figures {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// The file of the committed figures.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Instructions per operation, as callgrind counts them on x86_64. Written by\n\
             # `cargo xtask bench --micro --update`; a rise of more than {MARGIN}% fails CI.\n"
        )?;
        let mut figures = self.0.iter();
        figures.try_for_each(|(name, number)| writeln!(f, "{name} = {number}"))
    }
}

/// The committed figures beside those counted now.
pub(super) struct Comparison<'a> {
    /// By name: committed, now.
    pieces: BTreeMap<&'a str, (Option<u64>, Option<u64>)>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(committed: &'a Figures, now: &'a Figures) -> Self {
        let mut pieces: BTreeMap<&str, (Option<u64>, Option<u64>)> = BTreeMap::new();
        for (name, number) in &committed.0 {
            pieces.entry(name).or_default().0 = Some(*number);
        }
        for (name, number) in &now.0 {
            pieces.entry(name).or_default().1 = Some(*number);
        }
        Self { pieces }
    }

    pub(super) fn table(&self) -> Table {
        let headings = ["piece", "committed", "now", "change"];
        let mut table = Table::new(&headings.map(str::to_owned));
        let cell = |number: Option<u64>| number.map_or("–".to_owned(), |n| n.to_string());
        for (name, (committed, now)) in &self.pieces {
            let change = match (committed, now) {
                (Some(committed), Some(now)) => format!("{:+.1}%", change(*committed, *now)),
                _ => "–".to_owned(),
            };
            table.push(&[(*name).to_owned(), cell(*committed), cell(*now), change]);
        }
        table
    }

    /// Returns why the comparison fails: one line for each piece at fault.
    pub(super) fn failures(&self) -> Vec<String> {
        let failures = self
            .pieces
            .iter()
            .filter_map(|(name, figures)| match figures {
                (Some(committed), Some(now)) => {
                    let change = change(*committed, *now);
                    (change > MARGIN).then(|| {
                        format!(
                            "{name} rose by {change:.1}%, from {committed} to {now} instructions: \
                         more than {MARGIN}%"
                        )
                    })
                }
                (Some(_), None) => {
                    Some(format!("{name} has a committed figure, but does not exist"))
                }
                (None, _) => Some(format!("{name} has no committed figure")),
            });
        failures.collect()
    }

    /// Returns what should be committed although the comparison succeeds: without it, a
    /// later rise by the same amount would not fail.
    pub(super) fn hints(&self) -> Vec<String> {
        let hints = self
            .pieces
            .iter()
            .filter_map(|(name, figures)| match figures {
                (Some(committed), Some(now)) if change(*committed, *now) < -MARGIN => {
                    Some(format!(
                        "{name} fell from {committed} to {now} instructions: commit its new figure \
                 (--micro --update)"
                    ))
                }
                _ => None,
            });
        hints.collect()
    }
}

/// Returns the change in percent.
fn change(committed: u64, now: u64) -> f64 {
    (now as f64 - committed as f64) * 100.0 / committed as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures<const N: usize>(figures: [(&str, u64); N]) -> Figures {
        let figures = figures.into_iter();
        figures.map(|(name, n)| (name.to_owned(), n)).collect()
    }

    #[test]
    fn a_written_file_can_be_read() {
        let written = figures([("json_to_frame", 250), ("delivery", 12_345)]);
        assert_eq!(Figures::parse(&written.to_string()), Ok(written));
        for broken in ["a", "a = ", "a = b", "a = 0", "a = 1\na = 2"] {
            assert!(Figures::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_rise_of_more_than_15_percent_fails_and_names_the_piece() {
        let committed = figures([("frame", 1000), ("page", 1000), ("token", 1000)]);
        let now = figures([("frame", 1150), ("page", 1151), ("token", 2000)]);
        let comparison = Comparison::new(&committed, &now);
        assert_eq!(
            comparison.failures(),
            [
                "page rose by 15.1%, from 1000 to 1151 instructions: more than 15%",
                "token rose by 100.0%, from 1000 to 2000 instructions: more than 15%",
            ]
        );
        assert!(comparison.hints().is_empty());
    }

    #[test]
    fn a_piece_that_is_only_on_one_side_fails() {
        let committed = figures([("frame", 1000), ("page", 1000)]);
        let now = figures([("frame", 1000), ("token", 1000)]);
        assert_eq!(
            Comparison::new(&committed, &now).failures(),
            [
                "page has a committed figure, but does not exist",
                "token has no committed figure",
            ]
        );
    }

    #[test]
    fn a_fall_of_more_than_15_percent_succeeds_and_asks_for_the_new_figure() {
        let committed = figures([("frame", 1000), ("page", 1000)]);
        let now = figures([("frame", 850), ("page", 849)]);
        let comparison = Comparison::new(&committed, &now);
        assert!(comparison.failures().is_empty());
        let hints = comparison.hints();
        assert!(
            matches!(&*hints, [hint] if hint.starts_with("page fell")),
            "{hints:?}"
        );
    }

    #[test]
    fn the_table_has_one_row_per_piece() {
        let committed = figures([("frame", 1000), ("page", 1000)]);
        let now = figures([("frame", 1100), ("token", 7)]);
        let table = Comparison::new(&committed, &now).table().to_string();
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| frame | 1000 | 1100 | +10.0% |",
                "| page | 1000 | – | – |",
                "| token | – | 7 | – |",
            ]
        );
    }
}
