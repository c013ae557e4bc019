//! The tables that diesel's query builder reads, as the migrations leave them.

diesel::table! {
    rooms (id) {
        id -> BigInt,
        last_seq -> BigInt,
        rules -> BigInt,
        generation -> BigInt,
        last_rev -> BigInt,
    }
}

diesel::table! {
    read_pointers (room_id, user_id) {
        room_id -> BigInt,
        user_id -> Text,
        seq -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(rooms, read_pointers);
