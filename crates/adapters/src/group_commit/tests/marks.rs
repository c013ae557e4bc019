//! Read marks.

use super::*;

async fn mark(
    commits: &GroupCommit,
    user: &str,
    position: u64,
) -> Result<MarkedRead, StorageError> {
    let user_id = UserId::new(user).unwrap();
    let mark = Mark {
        room_id: room(1),
        generation: Generation::FIRST,
        user_id,
        position: seq(position),
    };
    Ok(commits.mark_read(mark).await?.unwrap())
}

#[tokio::test]
async fn marks_of_one_pointer_are_combined_and_its_move_is_reported_once() {
    let (commits, database) = MemoryStore::start(1);
    let outcomes = async {
        // While the first mark is being stored, the others wait.
        let first = mark(&commits, "1", 1);
        let others = async {
            while commits.marks.capacity() < QUEUE {
                yield_now().await;
            }
            let others = tokio::join!(
                mark(&commits, "2", 3),
                mark(&commits, "2", 5),
                mark(&commits, "2", 4),
                mark(&commits, "2", 5),
            );
            [others.0, others.1, others.2, others.3]
        };
        let release = async {
            while commits.marks.capacity() > QUEUE - 4 {
                yield_now().await;
            }
            database.gate.add_permits(10);
        };
        tokio::join!(biased; first, others, release)
    };
    let (first, others, ()) = outcomes.await;
    assert!(first.unwrap().moved);
    let others = others.map(|outcome| outcome.unwrap());
    assert_eq!(
        others.map(|marked| marked.moved),
        [false, true, false, false]
    );
    assert_eq!(others.map(|marked| marked.state.read), [seq(5); 4]);
    let calls = database.state().marks.clone();
    let calls: Vec<_> = calls.iter().map(|marks| marks.len()).collect();
    assert_eq!(calls, [1, 1]);

    let again = mark(&commits, "2", 5).await.unwrap();
    assert!(!again.moved);
}

#[tokio::test]
async fn a_mark_that_cannot_be_stored_fails_alone() {
    let (commits, database) = MemoryStore::start(1);
    database.gate.add_permits(1000);
    let users: Vec<_> = (0..100)
        .map(|n| n.to_string())
        .chain([BAD.into()])
        .collect();
    let marks = users.iter().map(|user| {
        let (commits, user) = (commits.clone(), user.clone());
        tokio::spawn(async move { mark(&commits, &user, 1).await })
    });
    for (marking, user) in marks.collect::<Vec<_>>().into_iter().zip(&users) {
        match marking.await.unwrap() {
            Ok(marked) => assert!(marked.moved && user != BAD),
            Err(StorageError::Unavailable(_)) => assert_eq!(user, BAD),
            Err(error) => panic!("{user}: {error:?}"),
        }
    }
}
