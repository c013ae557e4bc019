//! The contract of [`RoomDirectory`] when many call it at once.

use chat_domain::ports::{
    AppendError, ChangeError, Changed, MessageRepository, RoomChange, RoomDirectory,
};
use chat_domain::{Role, RoomId, RulesNumber, Seq};

use crate::room_directory::{ban, freeze, number, remove, roles, set, unban};
use crate::{append, hello, room, seq, under, up_to};

crate::on_each_database!(
    concurrent_changes_leave_counts_that_equal_the_members,
    one_of_many_first_changes_is_made_while_others_create_the_room,
);

async fn concurrent_changes_leave_counts_that_equal_the_members(
    store: &(impl MessageRepository + RoomDirectory + Clone + 'static),
) {
    const CHANGERS: usize = 8;
    const EACH: usize = 12;
    let changing: Vec<_> = (0..CHANGERS)
        .map(|changer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut made = 0;
                for step in 0..EACH {
                    let id = ((changer * 5 + step * 3) % 7).to_string();
                    let step = match (changer + step) % 5 {
                        0 => set(&id, Role::Owner),
                        1 => remove(&id),
                        2 => ban(&id, None),
                        3 => set(&id, Role::Member),
                        _ => unban(&id),
                    };
                    made += u64::from(change_with_retry(&store, &step).await.has_changed);
                    if changer == 0 {
                        append_with_retry(&store, room(1)).await;
                    }
                }
                made
            })
        })
        .collect();
    let mut made = 0;
    for changing in changing {
        made += changing.await.unwrap();
    }
    let snapshot = store.snapshot(room(1), &[]).await.unwrap();
    assert_eq!(snapshot.rules.get(), made);
    let roles = roles(store).await;
    let owners = roles.iter().filter(|(_, role)| *role == Role::Owner);
    assert_eq!(snapshot.owners, owners.count() as u64);
    assert_eq!(snapshot.settings.unwrap().member_count, roles.len() as u64);
    let log = store.after(room(1), Seq::START, up_to(100)).await.unwrap();
    assert_eq!(log.newest, seq(EACH as u64));
}

async fn change_with_retry(store: &impl RoomDirectory, change: &RoomChange) -> Changed {
    loop {
        let decided_by = number(store, room(1)).await;
        match store.change(room(1), decided_by, change, None).await {
            Ok(changed) => return changed,
            Err(ChangeError::RulesChanged) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Appends a message by the room's present number, whenever that is.
async fn append_with_retry(store: &(impl MessageRepository + RoomDirectory), room_id: RoomId) {
    loop {
        let decided_by = number(store, room_id).await.get();
        match append(store, under(decided_by, hello(room_id))).await {
            Ok(_) => return,
            Err(AppendError::RulesChanged) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn one_of_many_first_changes_is_made_while_others_create_the_room(
    store: &(impl MessageRepository + RoomDirectory + Clone + 'static),
) {
    for number in 1..=10 {
        let changing: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let (none, first) = (RulesNumber::NONE, freeze());
                    match store.change(room(number), none, &first, None).await {
                        Ok(changed) => usize::from(changed.has_changed),
                        Err(ChangeError::RulesChanged) => 0,
                        Err(error) => panic!("{error:?}"),
                    }
                })
            })
            .collect();
        let sending: Vec<_> = (0..4)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { append_with_retry(&store, room(number)).await })
            })
            .collect();
        let mut made = 0;
        for changing in changing {
            made += changing.await.unwrap();
        }
        assert_eq!(made, 1);
        for sending in sending {
            sending.await.unwrap();
        }
        let snapshot = store.snapshot(room(number), &[]).await.unwrap();
        assert_eq!(snapshot.rules.get(), 1);
        let log = store.after(room(number), Seq::START, up_to(10)).await;
        assert_eq!(log.unwrap().newest, seq(4));
    }
}
