//! Copies the delivery and its simulation once per planted bug, into one file.

#[path = "plants_of_changes.rs"]
mod plants_of_changes;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A bug: a place in the delivery's sources, and what stands there instead.
struct Plant {
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const PLANTS: &[Plant] = &[
    Plant {
        name: "a_cursor_moves_before_the_push",
        file: "member.rs",
        from: "let frames = batch.after(place.cursor);",
        to: "let frames = batch.after(place.cursor); place.cursor = batch.end();",
    },
    Plant {
        name: "a_resume_point_is_off_by_one",
        file: "entrance.rs",
        from: "recipient.give(welcome(Admission {\n            seam,",
        to: "recipient.give(welcome(Admission {\n            seam: seam.next(),",
    },
    Plant {
        name: "a_member_that_falls_behind_is_not_served",
        file: "handing_out.rs",
        from: "if member.hand_out(batch) == Handed::FellBehind {",
        to: "if member.hand_out(batch) == Handed::FellBehind && member.recipient.is_gone() {",
    },
    Plant {
        name: "a_page_is_taken_for_everything_that_is_missing",
        file: "catch_up.rs",
        from: "(frames.map(encode).collect(), complete_to)",
        to: "(frames.map(encode).collect(), complete_to.max(missing.end))",
    },
    Plant {
        name: "a_member_that_has_left_is_still_served",
        file: "members.rs",
        from: "left.leave();",
        to: "",
    },
    Plant {
        name: "a_member_enters_live_though_it_is_behind",
        file: "entrance.rs",
        from: "true => Start::Behind,",
        to: "true => Start::Live,",
    },
    Plant {
        name: "a_replay_begins_before_the_earlier_stay_ends",
        file: "entrance.rs",
        from: "self.end_earlier_stay();",
        to: "",
    },
    Plant {
        name: "a_room_is_not_compared_with_its_log",
        file: "reconciliation.rs",
        from: "is_behind |= state.order.reaches(position.newest);",
        to: "let _ = &mut is_behind;",
    },
    Plant {
        name: "a_read_pointer_does_not_wait_for_its_message",
        file: "member.rs",
        from: "Standing::Live if updates.newest <= place.cursor => {",
        to: "Standing::Live => {",
    },
    Plant {
        name: "a_late_read_pointer_is_not_compared_with_the_newest",
        file: "read_pointers.rs",
        from: "if pointer.handed_out.is_some_and(|(_, newest)| seq <= newest) {",
        to: "if false {",
    },
    Plant {
        name: "a_member_has_caught_up_one_message_early",
        file: "member.rs",
        from: "if place.cursor < released {",
        to: "if place.cursor.next() < released {",
    },
    Plant {
        name: "a_replay_that_was_cut_short_claims_to_be_complete",
        file: "entrance.rs",
        from: "let rest = (replayed < target).then_some(replayed);",
        to: "let rest = (replayed < after).then_some(replayed);",
    },
    Plant {
        name: "a_flag_stays_set_when_a_read_fails",
        file: "catch_up.rs",
        from: "\"the log cannot be read\");\n                    return drop(claim);",
        to: "\"the log cannot be read\");\n                    return std::mem::forget(claim);",
    },
    Plant {
        name: "a_gap_that_could_not_be_read_is_not_tried_again",
        file: "catch_up.rs",
        from: "\"the log cannot be read\");\n                    return drop(claim);",
        to: "\"the log cannot be read\");\n                    return claim.release(&mut state);",
    },
    Plant {
        name: "a_read_that_was_not_fresh_enough_is_not_repeated",
        file: "catch_up.rs",
        from: "state.order.forget_beyond(page.newest);\n                    return drop(claim);",
        to: "state.order.forget_beyond(page.newest);\n                    return claim.release(&mut state);",
    },
    Plant {
        name: "a_change_that_is_found_during_a_join_is_forgotten",
        file: "order.rs",
        from: "*reached = newest.max(*reached);",
        to: "*reached = newest.min(*reached);",
    },
    Plant {
        name: "rooms_that_could_not_be_compared_count_as_compared",
        file: "reconciliation.rs",
        from: "Err(error) => outcome = Err(error),",
        to: "Err(_) => outcome = Ok(()),",
    },
    Plant {
        name: "recent_messages_are_taken_for_all_that_were_released",
        file: "recent.rs",
        from: "if range.start < self.after {",
        to: "if false {",
    },
    Plant {
        name: "a_room_is_never_closed",
        file: "rooms.rs",
        from: "state.entering.leave(entering.recipient.id());",
        to: "",
    },
    Plant {
        name: "an_exclusion_does_not_end_a_replay",
        file: "rooms.rs",
        from: "let entering = state.entering.leave(connection);",
        to: "let entering = None;",
    },
    Plant {
        name: "a_join_that_was_ended_succeeds",
        file: "entrance.rs",
        from: "if self.entering.has_left() {\n            return Err",
        to: "if false {\n            return Err",
    },
    Plant {
        name: "a_replay_does_not_end_when_its_join_does",
        file: "entrance.rs",
        from: "self.entering.give(seq, frame)?;",
        to: "let _ = seq; recipient.give(frame.bytes);",
    },
    Plant {
        name: "a_change_of_rules_is_not_found_in_the_log",
        file: "reconciliation.rs",
        from: "self.note_rules(room_id, state, position.rules, None);",
        to: "let _ = room_id;",
    },
    Plant {
        name: "an_older_change_of_rules_follows_a_newer_one",
        file: "rules.rs",
        from: "if number <= newest.unwrap_or(self.forgotten) {",
        to: "if false {",
    },
    Plant {
        name: "a_member_that_has_left_is_handed_changes_of_rules",
        file: "member.rs",
        from: "if place.standing == Standing::Live {\n            // Full",
        to: "if place.standing != Standing::Behind {\n            // Full",
    },
    Plant {
        name: "a_live_batch_is_not_compared_with_the_cursor",
        file: "member.rs",
        from: "let frames = batch.after(place.cursor);",
        to: "let frames = batch.after(batch.start());",
    },
];

/// The simulation's modules, without its tests.
const SIMULATION: [&str; 10] = [
    "changes", "client", "frames", "judge", "log", "random", "rules", "steps", "views", "world",
];

fn main() {
    let delivery = Path::new(env!("CARGO_MANIFEST_DIR")).join("../delivery");
    println!("cargo:rerun-if-changed={}", delivery.join("src").display());
    println!(
        "cargo:rerun-if-changed={}",
        delivery.join("tests/simulation").display()
    );
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=plants_of_changes.rs");

    let mut out = String::new();
    let mut bugs = String::new();
    for plant in plants_of_changes::PLANTS.iter().chain(PLANTS) {
        let root = format!("crate::planted::{}", plant.name);
        let sources = |file: &str, text: String| match file == plant.file {
            false => text,
            true => {
                let count = text.matches(plant.from).count();
                assert_eq!(
                    count, 1,
                    "{}: {} has its place {count} times",
                    plant.name, plant.file
                );
                text.replace(plant.from, plant.to)
            }
        };
        let lib = inlined(&delivery.join("src"), "", "lib.rs", &sources);
        let delivery_text = lib.replace("crate::", &format!("{root}::delivery::"));
        let mut simulation = String::new();
        for module in SIMULATION {
            let text = read(&delivery.join(format!("tests/simulation/{module}.rs")))
                .replace("crate::", &format!("{root}::simulation::"))
                .replace("chat_delivery::", &format!("{root}::delivery::"));
            let _ = writeln!(simulation, "pub mod {module} {{\n{text}\n}}");
        }
        let name = plant.name;
        let _ = writeln!(
            out,
            "pub mod {name} {{\npub mod delivery {{\n{delivery_text}\n}}\n\
             pub mod simulation {{\n{simulation}\n}}\n\
             pub fn run(seed: u64) -> Option<String> {{ simulation::world::run(seed).violation }}\n}}"
        );
        let _ = writeln!(bugs, "crate::Bug {{ name: {name:?}, run: {name}::run }},");
    }
    let _ = writeln!(out, "pub const BUGS: &[crate::Bug] = &[\n{bugs}];");
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("planted.rs");
    if let Err(error) = fs::write(&target, out) {
        panic!("{} cannot be written: {error}", target.display());
    }
}

/// Reads a source file and, in the place of their declarations, its modules.
fn inlined(
    root: &Path,
    folder: &str,
    file: &str,
    sources: &impl Fn(&str, String) -> String,
) -> String {
    let path = format!("{folder}{file}");
    let text = sources(&path, read(&root.join(&path)));
    let mut inlined = String::new();
    for line in text.lines() {
        let declared = line.strip_prefix("mod ");
        match declared.and_then(|line| line.strip_suffix(';')) {
            Some(module) => {
                let inner = match file {
                    "lib.rs" => String::new(),
                    file => format!("{folder}{}/", file.trim_end_matches(".rs")),
                };
                let text = self::inlined(root, &inner, &format!("{module}.rs"), sources);
                let _ = writeln!(inlined, "pub mod {module} {{\n{text}\n}}");
            }
            None => {
                let _ = writeln!(inlined, "{line}");
            }
        }
    }
    inlined
}

/// Reads a source file without its unit tests.
fn read(path: &Path) -> String {
    let text = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    match text.find("#[cfg(test)]\nmod tests") {
        Some(tests) => text[..tests].to_owned(),
        None => text,
    }
}
