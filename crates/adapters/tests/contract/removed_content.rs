//! What a change removes from the tables, and what another program may have stored there.

use chat_domain::ports::{ChangeRepository, MessageChange};
use chat_domain::{MessageEdit, MessageExtras, MessageMetadata, Rev, RulesNumber, StorageError};

use crate::change_repository::{Store, edit, make, react, user};
use crate::changed_rows::on_each_database_with_sql;
use crate::message_extras::{mentions, with};
use crate::{append, by, hello, room, seq, up_to, with_id};

on_each_database_with_sql!(
    no_table_keeps_what_was_removed,
    a_row_of_changes_that_is_not_valid_is_corrupt,
);

const WITH_TEXT: [(&str, &str); 8] = [
    (
        "messages",
        "user_id || content || coalesce(client_message_id, '') || coalesce(extras, '')",
    ),
    (
        "message_changes",
        "kind || coalesce(changed_by, '') || coalesce(reactions, '')",
    ),
    ("reactions", "key || user_id"),
    ("mentions", "user_id"),
    ("room_settings", "coalesce(name, '') || metadata"),
    ("members", "user_id"),
    ("bans", "user_id || coalesce(reason, '')"),
    ("mutes", "user_id || coalesce(reason, '')"),
];

async fn no_table_keeps_what_was_removed(store: &impl Store, sql: impl Fn(&str)) {
    let is_absent = |needle: &str| {
        for (table, text) in WITH_TEXT {
            sql(&format!(
                "CREATE TABLE checked (n bigint CHECK (n = 0)); \
                 INSERT INTO checked SELECT count(*) FROM {table} WHERE {text} LIKE '%{needle}%'; \
                 DROP TABLE checked"
            ));
        }
    };
    let sent = with_id(by("secret-author", "Ada", room(1), "secret-1"), "secret-id");
    let extras = MessageExtras {
        reply_to: None,
        metadata: MessageMetadata::new(r#"{"a":"secret-extras"}"#).ok(),
        ..mentions([user("secret-mention")])
    };
    append(store, with(sent, extras)).await.unwrap();
    make(store, room(1), 1, edit("secret-2")).await;
    is_absent("secret-1");
    make(store, room(1), 1, react("secret-user", "secret-key", true)).await;
    make(store, room(1), 1, MessageEdit::Delete).await;
    for needle in [
        "secret-1",
        "secret-2",
        "secret-key",
        "secret-user",
        "secret-extras",
        "secret-mention",
    ] {
        is_absent(needle);
    }
    let erasure = MessageChange {
        room_id: room(1),
        seq: seq(1),
        edit: MessageEdit::Erase,
        by: None,
        rules: RulesNumber::NONE,
    };
    ChangeRepository::change(store, erasure).await.unwrap();
    is_absent("secret");
}

async fn a_row_of_changes_that_is_not_valid_is_corrupt(store: &impl Store, sql: impl Fn(&str)) {
    append(store, hello(room(1))).await.unwrap();
    append(store, hello(room(1))).await.unwrap();
    make(store, room(1), 1, react("1", "+", true)).await;
    make(store, room(1), 2, edit("x")).await;
    let is_corrupt = async || {
        let page = store
            .changed_after(room(1), Rev::START, None, up_to(9))
            .await;
        assert!(matches!(page, Err(StorageError::Corrupt(_))), "{page:?}");
    };
    sql("UPDATE message_changes SET kind = 'other' WHERE seq = 2");
    is_corrupt().await;
    sql("UPDATE message_changes SET kind = 'edited', reactions = '[[1]]' WHERE seq = 2");
    is_corrupt().await;
    sql(
        "UPDATE message_changes SET reactions = NULL WHERE seq = 2; \
         UPDATE messages SET content = '' WHERE seq = 2",
    );
    is_corrupt().await;
    sql("UPDATE messages SET content = 'x' WHERE seq = 2");
    let page = store
        .changed_after(room(1), Rev::START, None, up_to(9))
        .await;
    assert_eq!(page.unwrap().messages.len(), 2);
}
