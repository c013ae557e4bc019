//! The scenarios, one file each: which phases they run and which figures they report.

mod closed_loop;
mod history;
mod idle;
mod one_room;
mod outage;
mod rooms;
mod setup;

use chat_domain::BoxError;

use crate::measure::Meter;
use crate::plan::Scenario;
use crate::report::Report;

/// Runs a scenario on a generator without connections.
///
/// # Errors
/// Why the scenario could not start or finish.
pub(crate) fn run(scenario: Scenario, meter: &mut Meter) -> Result<Report, BoxError> {
    let (connections_per_second, outcome) = match scenario {
        Scenario::S1(plan) => closed_loop::run(plan, meter)?,
        Scenario::S2(plan) => one_room::run(plan, meter)?,
        Scenario::S3(plan) => idle::run(plan, meter)?,
        Scenario::S4(plan) => rooms::run(plan, meter)?,
        Scenario::S5(plan) => history::run(plan, meter)?,
        Scenario::S6(plan) => outage::run(plan, meter)?,
    };
    Ok(Report::new(
        scenario,
        connections_per_second,
        outcome,
        meter,
    ))
}
