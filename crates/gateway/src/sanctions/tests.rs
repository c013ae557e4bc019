use chat_domain::ports::{MockSanctions, RecentDisconnection, RecentSanctions};
use chat_domain::{DisplayName, RoomAccess, User};

use super::*;

const NOW: i64 = 1_769_860_800_000;

fn ada() -> UserId {
    UserId::new("42").unwrap()
}

fn issued(at: Option<i64>) -> Identity {
    Identity {
        user: User {
            id: ada(),
            name: DisplayName::from_text("Ada"),
        },
        rooms: RoomAccess::All,
        visibility: chat_domain::Visibility::Visible,
        issued_at: at.map(Timestamp::from_unix_millis),
        expires_at: Timestamp::from_unix_millis(i64::MAX),
        valid_until: Timestamp::from_unix_millis(i64::MAX),
        grants: None,
    }
}

fn revocation(number: u64, issued_before: Option<i64>) -> Revocation {
    Revocation {
        user_id: ada(),
        number,
        issued_before: issued_before.map(Timestamp::from_unix_millis),
    }
}

fn nothing_new() -> RecentSanctions {
    RecentSanctions {
        cursor: SanctionsCursor::new("next"),
        revocations: Some(Vec::new()),
        disconnections: Vec::new(),
    }
}

/// Knows what this storage has, once it follows it.
fn over(storage: MockSanctions) -> Arc<KnownSanctions> {
    let clients = Arc::new(Clients::new(0));
    Arc::new(KnownSanctions::new(Arc::new(storage), clients))
}

#[test]
fn of_two_states_the_one_with_the_larger_number_counts_in_whatever_order_they_arrive() {
    let states = [(1, Some(NOW)), (2, None), (3, Some(NOW - 5000))];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let known = over(MockSanctions::new());
        for place in order {
            let (number, before) = states[place];
            known.on_command(NodeCommand::RevokeTokens(revocation(number, before)));
        }
        assert!(!known.revokes(&issued(Some(NOW - 5000))), "{order:?}");
        assert!(known.revokes(&issued(Some(NOW - 5001))), "{order:?}");
        assert!(known.revokes(&issued(None)), "{order:?}");
    }
}

#[test]
fn a_connection_that_is_registered_while_its_token_is_revoked_is_found() {
    let known = over(MockSanctions::new());
    let identity = issued(Some(NOW - 1));
    assert_eq!(known.register(&identity, || 1).unwrap(), 1);
    let refused = known.register(&identity, || {
        known.apply(revocation(1, Some(NOW)));
        2
    });
    assert_eq!(refused.unwrap_err().0, 2);
    assert_eq!(known.register(&issued(Some(NOW)), || 3).unwrap(), 3);
}

/// Time stands still, and moves on when everything waits.
#[tokio::test(start_paused = true)]
async fn no_handshake_succeeds_before_the_revocations_are_known_or_when_they_are_too_old() {
    let mut storage = MockSanctions::new();
    // It fails once, then is read twice, and then fails for good.
    let mut answers = [false, true, true].into_iter();
    storage.expect_sanctions_since().returning(move |_| {
        let works = answers.next().unwrap_or_default();
        works
            .then(nothing_new)
            .ok_or_else(|| StorageError::unavailable("gone"))
    });
    let known = over(storage);
    let identity = issued(None);
    assert!(known.is_revoked(&identity).await.is_err());
    let began = Instant::now();
    let following = tokio::spawn(known.clone().follow());
    // It waits for the second reading.
    let waits = known.is_revoked(&identity).await;
    assert!(!waits.unwrap(), "no token is revoked");
    assert_eq!(began.elapsed(), SANCTIONS_RETRY_INTERVAL);
    let last_reading = Instant::now() + SANCTIONS_INTERVAL;
    tokio::time::sleep_until(last_reading + SANCTIONS_MAX_AGE).await;
    assert!(known.is_revoked(&identity).await.is_ok());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(known.is_revoked(&identity).await.is_err());
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn all_revocations_are_read_page_by_page_if_they_are_unknown() {
    let mut storage = MockSanctions::new();
    storage.expect_sanctions_since().returning(|cursor| {
        Ok(RecentSanctions {
            revocations: cursor.map(|_| Vec::new()),
            ..nothing_new()
        })
    });
    let id = |n: usize| UserId::new(format!("{n:06}")).unwrap();
    let total = 2 * PAGE + 1;
    storage
        .expect_revocations()
        .times(3)
        .returning(move |after, limit| {
            let first = after.map_or(0, |id| id.as_str().parse::<usize>().unwrap() + 1);
            let page = first..total.min(first + limit);
            let revoked = page.map(|n| Revocation {
                user_id: id(n),
                ..revocation(1, Some(NOW))
            });
            Ok(revoked.collect())
        });
    let known = over(storage);
    let following = tokio::spawn(known.clone().follow());
    for n in [0, PAGE - 1, PAGE, 2 * PAGE, total] {
        let mut identity = issued(Some(0));
        identity.user.id = id(n);
        let is_revoked = known.is_revoked(&identity).await.unwrap();
        assert_eq!(is_revoked, n < total, "{n}");
    }
    // Later readings find nothing new.
    tokio::time::sleep(3 * SANCTIONS_INTERVAL).await;
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_disconnection_is_carried_out_once_however_often_it_is_learned() {
    let disconnection = |number| Disconnection {
        user_id: ada(),
        number: Some(number),
    };
    let mut storage = MockSanctions::new();
    storage.expect_sanctions_since().returning(move |_| {
        Ok(RecentSanctions {
            disconnections: vec![RecentDisconnection {
                disconnection: disconnection(7),
                age: Duration::from_millis(1),
            }],
            ..nothing_new()
        })
    });
    let known = over(storage);
    let carried_out = || lock(&known.disconnections).get(&ada()).copied();
    known.read(None).await.unwrap();
    let first = carried_out().unwrap();
    assert_eq!(first.0, 7);
    tokio::time::advance(Duration::from_secs(1)).await;
    for number in [6, 7] {
        known.on_command(NodeCommand::DisconnectUser(disconnection(number)));
    }
    known.read(None).await.unwrap();
    assert_eq!(carried_out(), Some(first));
    known.on_command(NodeCommand::DisconnectUser(disconnection(8)));
    assert_eq!(carried_out().unwrap().0, 8);
    // It is forgotten when the storage has deleted it.
    tokio::time::advance(DISCONNECTION_LIFETIME).await;
    known.forget_old_disconnections();
    assert_eq!(carried_out(), None);
}
