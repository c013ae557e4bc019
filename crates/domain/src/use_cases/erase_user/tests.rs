use mockall::Sequence;
use mockall::predicate::eq;

use super::*;
use crate::ports::{
    ErasureBatch, MockClock, MockRoomDirectory, MockRoomEvents, MockSanctions, MockUserErasure,
    RoomSettings, RoomSnapshot, UserRecord,
};
use crate::use_cases::EveryNode;
use crate::{
    Disconnection, Generation, Metadata, Rev, Role, RoomKind, RoomRules, RulesNumber, Timestamp,
    Until,
};

fn ada() -> UserId {
    UserId::new("42").unwrap()
}

fn room() -> RoomId {
    RoomId::new(7).unwrap()
}

struct Mocks {
    erasure: MockUserErasure,
    directory: MockRoomDirectory,
    events: MockRoomEvents,
    sanctions: MockSanctions,
}

impl Mocks {
    fn new() -> Self {
        Self {
            erasure: MockUserErasure::new(),
            directory: MockRoomDirectory::new(),
            events: MockRoomEvents::new(),
            sanctions: MockSanctions::new(),
        }
    }

    fn batch(&mut self, stage: ErasureStage) {
        let batch = ErasureBatch {
            user_id: ada(),
            rows: 3,
            stage,
        };
        let next = self.erasure.expect_erase_batch().with(eq(10)).once();
        next.return_once(|_| Ok(Some(batch)));
    }

    fn build(self) -> EraseUser {
        let sanctions = Arc::new(self.sanctions);
        EraseUser::new(
            Arc::new(self.erasure),
            Arc::new(self.directory),
            Arc::new(self.events),
            DisconnectUser::new(sanctions.clone(), EveryNode::default()),
            RevokeTokens::new(sanctions, EveryNode::default(), Arc::new(MockClock::new())),
        )
    }
}

#[pollster::test]
async fn the_erasure_is_stored_before_the_connections_are_closed() {
    let mut mocks = Mocks::new();
    let mut order = Sequence::new();
    mocks
        .erasure
        .expect_request()
        .once()
        .in_sequence(&mut order)
        .withf(|user_id, messages| *user_id == ada() && *messages == AuthoredMessages::Erase)
        .returning(|_, _| Ok(()));
    mocks
        .sanctions
        .expect_disconnect()
        .once()
        .in_sequence(&mut order)
        .returning(|user_id| {
            Ok(Disconnection {
                user_id: user_id.clone(),
                number: Some(1),
            })
        });
    let erase = mocks.build();
    erase
        .request(&ada(), AuthoredMessages::Erase)
        .await
        .unwrap();
}

#[pollster::test]
async fn the_user_that_stands_for_erased_ones_is_not_erased() {
    let refused = Mocks::new()
        .build()
        .request(&UserId::deleted(), AuthoredMessages::Keep)
        .await;
    assert!(matches!(refused, Err(EraseUserError::Deleted)));
}

#[pollster::test]
async fn changed_messages_are_announced() {
    let mut mocks = Mocks::new();
    let rev = Rev::new(9).unwrap();
    let generation = Generation::new(2);
    mocks.batch(ErasureStage::Content(Some(ChangedRoom {
        room_id: room(),
        generation,
        rev,
    })));
    let hint = Hint {
        room_id: room(),
        generation,
        entry: RoomEntry::Changes { rev },
    };
    let announce = mocks.events.expect_announce().with(eq(hint)).once();
    announce.return_const(());
    let step = mocks.build().step(10).await.unwrap().unwrap();
    assert_eq!((step.rows, step.is_over), (3, false));
}

fn snapshot(rules: u64, record: UserRecord) -> RoomSnapshot {
    RoomSnapshot {
        rules: RulesNumber::new(rules),
        generation: Generation::default(),
        settings: None,
        owners: 1,
        users: vec![record],
    }
}

fn changed(rules: u64) -> Changed {
    Changed {
        rules: RulesNumber::new(rules),
        generation: Generation::default(),
        settings: RoomSettings {
            rules: RoomRules {
                kind: RoomKind::Open,
                frozen: false,
                slow_mode_seconds: 0,
            },
            name: None,
            metadata: Metadata::default(),
            created_at: Timestamp::from_unix_millis(0),
            member_count: 0,
        },
        member: None,
        has_changed: true,
    }
}

#[pollster::test]
async fn the_last_owner_leaves_and_what_is_left_of_its_standing_is_forgotten() {
    let mut mocks = Mocks::new();
    mocks.batch(ErasureStage::Standing);
    let standing = mocks.erasure.expect_standing().once();
    standing.returning(|_, _| Ok(vec![room()]));
    let owner = UserRecord {
        role: Some(Role::Owner),
        ..UserRecord::default()
    };
    let muted = UserRecord {
        muted: Some(Until::Lifted),
        ..UserRecord::default()
    };
    // The rules change once before the removal.
    for (rules, record) in [
        (4, owner),
        (5, owner),
        (6, muted),
        (7, UserRecord::default()),
    ] {
        let read = mocks.directory.expect_snapshot().once();
        read.return_once(move |_, _| Ok(snapshot(rules, record)));
    }
    for (rules, outcome) in [
        (4, Err(ChangeError::RulesChanged)),
        (5, Ok(changed(6))),
        (6, Ok(changed(7))),
    ] {
        let change = mocks.directory.expect_change().once();
        change
            .withf(move |_, decided_by, _, by| {
                by.is_none() && *decided_by == RulesNumber::new(rules)
            })
            .return_once(|_, _, _, _| outcome);
    }
    let forget = mocks.erasure.expect_forget_standing().once();
    forget.returning(|_, _| Ok(()));
    let step = mocks.build().step(10).await.unwrap().unwrap();
    let ended: Vec<_> = step.ended.into_iter().map(|ended| ended.change).collect();
    assert_eq!(ended, [RulesChange::Remove, RulesChange::Unmute]);
}

#[pollster::test]
async fn the_revocation_ends_before_the_last_trace() {
    let mut mocks = Mocks::new();
    mocks.batch(ErasureStage::Over);
    let mut order = Sequence::new();
    let lift = mocks.sanctions.expect_lift().once();
    lift.in_sequence(&mut order).returning(|_| Ok(None));
    let finish = mocks.erasure.expect_finish().once();
    finish.in_sequence(&mut order).returning(|_| Ok(true));
    assert!(mocks.build().step(10).await.unwrap().unwrap().is_over);
}
