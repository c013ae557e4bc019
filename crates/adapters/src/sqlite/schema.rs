//! The tables as the migrations create them.

diesel::table! {
    users (id) {
        id -> Text,
        name -> Text,
    }
}

diesel::table! {
    rooms (id) {
        id -> BigInt,
        last_seq -> BigInt,
        rules -> BigInt,
        active_at -> Nullable<Text>,
        generation -> BigInt,
        last_rev -> BigInt,
    }
}

diesel::table! {
    messages (id) {
        id -> BigInt,
        room_id -> BigInt,
        seq -> BigInt,
        user_id -> Text,
        content -> Text,
        client_message_id -> Nullable<Text>,
        created_at -> Text,
        extras -> Nullable<Text>,
    }
}

diesel::table! {
    message_changes (room_id, seq) {
        room_id -> BigInt,
        seq -> BigInt,
        rev -> BigInt,
        edited_at -> Nullable<Text>,
        deleted_at -> Nullable<Text>,
        erased_at -> Nullable<Text>,
        reactions -> Nullable<Text>,
    }
}

diesel::table! {
    mentions (room_id, user_id, seq) {
        room_id -> BigInt,
        user_id -> Text,
        seq -> BigInt,
    }
}

diesel::table! {
    read_pointers (room_id, user_id) {
        room_id -> BigInt,
        user_id -> Text,
        seq -> BigInt,
    }
}

diesel::table! {
    members (room_id, user_id) {
        room_id -> BigInt,
        user_id -> Text,
        role -> Text,
        notify -> Text,
        joined_at -> Text,
    }
}

diesel::joinable!(messages -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(messages, message_changes, rooms, users);
diesel::allow_tables_to_appear_in_same_query!(rooms, read_pointers);
diesel::allow_tables_to_appear_in_same_query!(members, read_pointers);
