//! Tables in Markdown.

use std::fmt;

/// A table that grows row by row.
pub(super) struct Table(String);

impl Table {
    pub(super) fn new(headings: &[String]) -> Self {
        let mut table = Self(String::new());
        table.push(headings);
        table.0 += &"|---".repeat(headings.len());
        table.0 += "|\n";
        table
    }

    pub(super) fn push(&mut self, cells: &[String]) {
        self.0 += &format!("| {} |\n", cells.join(" | "));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned);
        let mut table = Table::new(&row(["a", "b"]));
        table.push(&row(["1", "2"]));
        assert_eq!(table.to_string(), "| a | b |\n|---|---|\n| 1 | 2 |\n");
    }
}
