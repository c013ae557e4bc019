//! The contract of [`UserRecords`], and that an export contains everything.

use std::sync::Arc;

use chat_domain::ports::{AuthoredMessages, RecordKind, RecordPlace, UserRecordData};
use chat_domain::use_cases::{ExportUser, Exported};
use chat_domain::{ChangeKind, DisplayName, Notify, Reason, Role, Sanction, Timestamp};

use crate::user_erasure::life::live;
use crate::user_erasure::{ID, NAME, Store, ada};
use crate::whole_database::on_each_whole_database;
use crate::{append, by, room, seq};

on_each_whole_database!(
    every_record_is_read_once_in_pages_of_any_size,
    an_export_contains_everything,
);

async fn read(store: &impl Store, kind: RecordKind, size: usize) -> Vec<UserRecordData> {
    let mut records = Vec::new();
    let mut after = RecordPlace::default();
    loop {
        let page = store.records(&ada(), kind, after, size).await.unwrap();
        let is_last = page.len() < size;
        assert!(page.len() <= size);
        after = page
            .last()
            .map_or_else(Default::default, |r| r.place.clone());
        records.extend(page.into_iter().map(|placed| placed.record));
        if is_last {
            return records;
        }
    }
}

async fn every_record_is_read_once_in_pages_of_any_size(
    store: &impl Store,
    _: impl Fn(&str),
    _: impl Fn() -> String,
) {
    live(store).await;
    let spam = Sanction {
        seconds: None,
        reason: Some(Reason::new("spam").unwrap()),
    };
    let decided_by = store.snapshot(room(2), &[]).await.unwrap().rules;
    let change = chat_domain::ports::RoomChange::Mute {
        user_id: ada(),
        sanction: spam,
    };
    let changed =
        chat_domain::ports::RoomDirectory::change(store, room(2), decided_by, &change, None);
    changed.await.unwrap();
    store.disconnect(&ada()).await.unwrap();
    store
        .request(&ada(), AuthoredMessages::Erase)
        .await
        .unwrap();
    for kind in RecordKind::ALL {
        let all = read(store, kind, 100).await;
        assert!(!all.is_empty(), "{kind:?}");
        for size in [1, 2] {
            assert_eq!(read(store, kind, size).await, all, "{kind:?}");
        }
    }
    let members = read(store, RecordKind::Member, 9).await;
    let rooms: Vec<_> = members
        .iter()
        .map(|record| match record {
            UserRecordData::Member {
                room_id,
                role,
                notify: Notify::All,
                ..
            } => (room_id.get(), *role),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        rooms,
        [
            (3, Role::Owner),
            (8, Role::Member),
            (9, Role::Reader),
            (11, Role::Member)
        ]
    );
    let mutes = read(store, RecordKind::Mute, 9).await;
    let muted = UserRecordData::Mute {
        room_id: room(2),
        until: None,
        reason: Some(Reason::new("spam").unwrap()),
    };
    assert_eq!((mutes.len(), &mutes[0]), (2, &muted));
    let bans = read(store, RecordKind::Ban, 9).await;
    assert!(matches!(
        bans[..],
        [UserRecordData::Ban { until: Some(_), .. }]
    ));
    let user = UserRecordData::User {
        name: DisplayName::from_text(NAME),
        last_seen: Some(Timestamp::from_unix_millis(1_769_860_800_000)),
    };
    assert_eq!(read(store, RecordKind::User, 9).await, [user]);
    let mentions = read(store, RecordKind::Mention, 9).await;
    let mention = |position| UserRecordData::Mention {
        room_id: room(10),
        seq: seq(position),
    };
    assert_eq!(mentions, [1, 2, 3].map(mention));
    let changes = read(store, RecordKind::Change, 9).await;
    let deleted = changes.iter().filter(|record| {
        matches!(
            record,
            UserRecordData::Change {
                kind: ChangeKind::Deleted,
                ..
            }
        )
    });
    assert_eq!(deleted.count(), 2);

    let found = store.authored(&ada(), room(1), seq(0), seq(100)).await;
    assert_eq!(found.unwrap(), [2, 3, 5, 6, 8, 9].map(seq));
    let found = store.authored(&ada(), room(1), seq(2), seq(5)).await;
    assert_eq!(found.unwrap(), [3, 5].map(seq));
}

async fn an_export_contains_everything(
    store: &impl Store,
    _: impl Fn(&str),
    _: impl Fn() -> String,
) {
    live(store).await;
    // The user's messages lie apart.
    for n in 0..450 {
        let author = if n % 220 == 0 { ID } else { "7" };
        append(store, by(author, NAME, room(2), &n.to_string()))
            .await
            .unwrap();
    }
    let shared = Arc::new(store.clone());
    let mut export = ExportUser::new(shared.clone(), shared).begin(ada());
    let (mut records, mut messages) = (0, Vec::new());
    while let Some(page) = export.next().await.unwrap() {
        for exported in page {
            match exported {
                Exported::Record(_) => records += 1,
                Exported::Message(message) => {
                    assert_eq!(message.author.id, ada());
                    messages.push((message.room_id.get(), message.seq.get()));
                }
            }
        }
    }
    let first = [2, 3, 5, 6, 8, 9].map(|seq| (1, seq));
    let second = [1, 221, 441].map(|seq| (2, seq));
    let others = [(8, 1), (10, 3)];
    assert_eq!(messages, [&first[..], &second[..], &others[..]].concat());
    let mut expected = 0;
    for kind in RecordKind::ALL {
        expected += read(store, kind, 100).await.len();
    }
    assert_eq!(records, expected);
}
