//! The scenarios of the load test, as `--scenario` names them.

use std::str::FromStr;

/// A scenario with the number in its name: `s1w8` has 8 messages in flight per sender;
/// `s2n200` and `s3n5000` have that many connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) kind: ScenarioKind,
    number: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScenarioKind {
    S1,
    S2,
    S3,
    S4,
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let unknown =
            || format!("unknown scenario \"{name}\": examples are s1w8, s2n200, s3 and s4");
        let (base, rest) = name.split_at_checked(2).ok_or_else(unknown)?;
        let (kind, letter) = match base {
            "s1" => (ScenarioKind::S1, 'w'),
            "s2" => (ScenarioKind::S2, 'n'),
            "s3" => (ScenarioKind::S3, 'n'),
            "s4" => (ScenarioKind::S4, 'n'),
            _ => return Err(unknown()),
        };
        let number = match rest {
            "" => None,
            _ => {
                let digits = rest.strip_prefix(letter).ok_or_else(unknown)?;
                Some(digits.parse().map_err(|_| unknown())?)
            }
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
            number,
        })
    }
}

impl Scenario {
    /// Returns the flags of the load test.
    pub(super) fn flags(&self) -> Vec<String> {
        let (base, parameter) = match self.kind {
            ScenarioKind::S1 => ("s1", "--in-flight"),
            ScenarioKind::S2 => ("s2", "--connections"),
            ScenarioKind::S3 => ("s3", "--connections"),
            ScenarioKind::S4 => ("s4", "--connections"),
        };
        let mut flags = vec!["--scenario".to_owned(), base.to_owned()];
        if let Some(number) = self.number {
            flags.extend([parameter.to_owned(), number.to_string()]);
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_a_scenarios_name_becomes_a_flag() {
        for (name, flags) in [
            ("s1w8", "--scenario s1 --in-flight 8"),
            ("s2n200", "--scenario s2 --connections 200"),
            ("s3", "--scenario s3"),
            ("s4", "--scenario s4"),
        ] {
            assert_eq!(name.parse::<Scenario>().unwrap().flags().join(" "), flags);
        }
    }

    #[test]
    fn an_unknown_scenario_is_refused() {
        for name in ["", "s", "s5", "s1n8", "s1w", "s2n-1", "é1"] {
            assert!(name.parse::<Scenario>().is_err(), "{name}");
        }
    }
}
