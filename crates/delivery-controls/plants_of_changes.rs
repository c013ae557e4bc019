//! Planted bugs in how changes of messages travel.

use crate::Plant;

pub(crate) const PLANTS: &[Plant] = &[
    Plant {
        name: "a_change_whose_hint_was_lost_is_not_found",
        file: "reconciliation.rs",
        from: "state.changes.reaches(position.rev);",
        to: "let _ = position.rev;",
    },
    Plant {
        name: "a_change_that_is_found_during_a_join_is_forgotten_again",
        file: "changes.rs",
        from: "self.handed.get_or_insert(Progress::at(rev));\n        self.reaches(rev);",
        to: "self.handed.get_or_insert(Progress::at(rev));\n        self.newest = rev;",
    },
    Plant {
        name: "changes_that_cannot_be_read_are_not_tried_again",
        file: "changes.rs",
        from: "\"changes cannot be read\");\n                    return drop(claim);",
        to: "\"changes cannot be read\");\n                    return claim.release(&mut lock(&room.state));",
    },
    Plant {
        name: "a_read_of_changes_that_was_not_fresh_enough_is_not_repeated",
        file: "changes.rs",
        from: "state.changes.forget_beyond(page.newest);\n                    return drop(claim);",
        to: "state.changes.forget_beyond(page.newest);\n                    return claim.release(&mut state);",
    },
    Plant {
        name: "each_page_of_changes_waits_for_the_next_round",
        file: "changes.rs",
        from: "(batch.has_more && batch.reach < end)",
        to: "(batch.has_more && batch.reach > end)",
    },
    Plant {
        name: "a_member_that_falls_behind_with_a_change_is_not_served",
        file: "changes.rs",
        from: "if member.hand_out_message_changes(&batch) == Handed::FellBehind {",
        to: "if member.hand_out_message_changes(&batch) == Handed::FellBehind\n                        && member.recipient.is_gone() {",
    },
    Plant {
        name: "the_cursor_of_changes_passes_a_page_that_is_pending",
        file: "changes_batch.rs",
        from: "None if page.has_more => reach,",
        to: "None if page.has_more => reach.max(page.newest),",
    },
    Plant {
        name: "the_cursor_of_changes_passes_one_whose_message_is_pending",
        file: "changes_batch.rs",
        from: "end = Rev::new(rev.get().saturating_sub(1));",
        to: "end = Some(rev);",
    },
    Plant {
        name: "a_change_arrives_before_its_message",
        file: "changes_batch.rs",
        from: "if changed.message.seq > released {",
        to: "if false {",
    },
    Plant {
        name: "a_change_is_handed_out_again",
        file: "changes_batch.rs",
        from: "let lacking = changes.filter(move |change| change.rev > has.reach);",
        to: "let lacking = changes.filter(move |change| change.rev.next() > has.reach);",
    },
    Plant {
        name: "a_change_that_was_merged_names_who_made_the_last",
        file: "changes_batch.rs",
        from: "if !batch.is_cut && batch.seen >= self.seen {",
        to: "if batch.seen >= self.seen {",
    },
    Plant {
        name: "an_older_state_follows_a_newer_one",
        file: "member.rs",
        from: "if !follows || batch.seen < place.shown {",
        to: "if !follows {",
    },
    Plant {
        name: "an_older_state_is_read_for_a_member_that_is_behind",
        file: "catch_up.rs",
        from: "if batch.reach <= after || batch.seen < lacking.shown {",
        to: "if batch.reach <= after {",
    },
    Plant {
        name: "a_member_has_caught_up_without_the_changes",
        file: "member.rs",
        from: "if place.changes.reach < handed {",
        to: "if false {",
    },
    Plant {
        name: "a_member_enters_live_though_it_lacks_changes",
        file: "entrance.rs",
        from: "seam < released || changes.progress.reach < state.changes.handed()",
        to: "seam < released",
    },
    Plant {
        name: "changes_are_forgotten_at_a_rejoin",
        file: "entrance.rs",
        from: "if let Some(changed) = &joining.changed {",
        to: "if let Some(changed) = joining.changed.as_ref().filter(|_| false) {",
    },
    Plant {
        name: "a_replay_of_changes_goes_beyond_its_welcome",
        file: "entrance.rs",
        from: "to: Some(to),",
        to: "to: None,",
    },
    Plant {
        name: "changes_that_were_not_replayed_are_not_reported",
        file: "entrance.rs",
        from: "missed: Some((after.next(), to)),",
        to: "missed: Some((after.next().next(), to)).filter(|(from, to)| from <= to),",
    },
];
