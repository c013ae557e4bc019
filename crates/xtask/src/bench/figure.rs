//! The figures of the tables: where each is in the load test's result, and its spread over
//! several runs.

use std::fmt;

use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Better {
    Higher,
    Lower,
}

/// One figure of the load test's result.
pub(super) struct Figure {
    pub(super) label: &'static str,
    /// Its JSON pointer in the result.
    pointer: &'static str,
    pub(super) better: Better,
}

pub(super) const fn higher(label: &'static str, pointer: &'static str) -> Figure {
    Figure {
        label,
        pointer,
        better: Better::Higher,
    }
}

pub(super) const fn lower(label: &'static str, pointer: &'static str) -> Figure {
    Figure {
        label,
        pointer,
        better: Better::Lower,
    }
}

impl Figure {
    /// Returns the spread over these results; `None` if none of them has the figure.
    pub(super) fn spread<'a>(
        &self,
        results: impl IntoIterator<Item = &'a Value>,
    ) -> Option<Spread> {
        let results = results.into_iter();
        let values = results.filter_map(|result| result.pointer(self.pointer)?.as_f64());
        Spread::of(values.collect())
    }
}

/// The median of several runs, with the lowest and the highest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spread {
    min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values.get(middle.checked_sub(1)?)? + values[middle]) / 2.0,
        };
        Some(Self {
            min: *values.first()?,
            median,
            max: *values.last()?,
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, median, max] = [self.min, self.median, self.max].map(significant_digits);
        match min == max {
            true => f.write_str(&median),
            false => write!(f, "{median} ({min}–{max})"),
        }
    }
}

/// Formats the content of a table's cell.
pub(super) fn cell(spread: Option<&Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), Spread::to_string)
}

fn significant_digits(value: f64) -> String {
    match value.abs() {
        1000.0.. => group_digits(value.round() as u64),
        100.0.. => format!("{value:.0}"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.001.. => format!("{value:.4}"),
        _ => format!("{value:.6}"),
    }
}

/// Formats a number with a comma between groups of three digits.
pub(super) fn group_digits(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_the_middle_two() {
        let median = |values: &[f64]| Spread::of(values.to_vec()).map(|spread| spread.median);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn numbers_have_only_significant_digits() {
        for (value, text) in [
            (1_234_567.8, "1,234,568"),
            (999.6, "1000"),
            (123.4, "123"),
            (12.34, "12.3"),
            (17.0, "17"),
            (1.234, "1.23"),
            (0.123_45, "0.1235"),
            (0.000_123, "0.000123"),
            (0.0, "0"),
        ] {
            assert_eq!(significant_digits(value), text);
        }
    }
}
