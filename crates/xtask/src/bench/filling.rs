//! Rows that are in the database before a measurement.

/// Messages of a hundred characters, spread evenly over the rooms, each of which has ten
/// authors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling {
    messages: u64,
    rooms: u64,
}

/// The number of messages that are inserted at once.
const CHUNK: u64 = 1_000_000;
const AUTHORS: u64 = 1000;

/// Leaves old files of PostgreSQL's write-ahead log behind, which it reuses faster than it
/// creates new ones. Without them, the first points would be the slowest.
pub(super) const LEAVE_OLD_LOG: [&str; 4] = [
    "create table scrap as select rpad(n::text, 200) from generate_series(1, 2000000) n",
    "checkpoint",
    "drop table scrap",
    "checkpoint",
];

impl Filling {
    /// The number of rooms must divide the number of messages.
    pub(super) fn new(messages: u64, rooms: u64) -> Self {
        Self { messages, rooms }
    }

    pub(super) fn messages(self) -> u64 {
        self.messages
    }

    /// Returns the statements for empty tables, one transaction each.
    pub(super) fn statements(self) -> Vec<String> {
        let Self { messages, rooms } = self;
        let mut statements = vec![format!(
            "insert into users select n::text, 'user' || n from generate_series(1, {AUTHORS}) n"
        )];
        // As in the load test, the first author of a room has the room's number.
        statements.extend((0..messages).step_by(CHUNK as usize).map(|first| {
            let last = (first + CHUNK).min(messages) - 1;
            format!(
                "insert into messages (room_id, seq, user_id, content, created_at)
                 select 1 + n % {rooms}, 1 + n / {rooms},
                        (1 + (n % {rooms} + n / {rooms} % 10) % {AUTHORS})::text,
                        rpad(n::text, 100, ' the quick brown fox jumps over the lazy dog'),
                        now() - ({messages} - n) * interval '1 millisecond'
                 from generate_series({first}::bigint, {last}) n"
            )
        }));
        statements.push(format!(
            "insert into rooms select n, {messages} / {rooms} from generate_series(1, {rooms}) n"
        ));
        statements.push(
            "insert into read_pointers
             select room_id, user_id, max(seq) from messages group by room_id, user_id"
                .to_owned(),
        );
        // Otherwise, autovacuum and a checkpoint would follow in the middle of a run.
        statements.extend(["vacuum (analyze)", "checkpoint"].map(str::to_owned));
        statements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunks_insert_every_message_once() {
        let filling = Filling::new(2_500_000, 1000);
        let statements = filling.statements();
        let ranges: Vec<_> = statements
            .iter()
            .filter_map(|sql| sql.split("generate_series(").nth(1)?.strip_suffix(") n"))
            .filter(|range| range.contains("bigint"))
            .collect();
        assert_eq!(
            ranges,
            [
                "0::bigint, 999999",
                "1000000::bigint, 1999999",
                "2000000::bigint, 2499999"
            ]
        );
        assert_eq!(statements.last().unwrap(), "checkpoint");
    }
}
