//! What happens when more messages arrive than are stored.

use futures_util::FutureExt as _;

use super::*;

fn by(user: &str, content: &str) -> NewMessage {
    let mut message = message(room(1), content);
    message.author.id = UserId::new(user).unwrap();
    message
}

/// An append that has taken its place, if it was not refused at once.
async fn begin(
    commits: &GroupCommit,
    message: NewMessage,
) -> Result<impl Future<Output = Result<Appended, AppendError>>, AppendError> {
    let commits = commits.clone();
    let mut append = Box::pin(async move { commits.append(message).await });
    match append.as_mut().now_or_never() {
        Some(Err(refused)) => Err(refused),
        Some(Ok(stored)) => panic!("{stored:?} before the committer could run"),
        None => Ok(append),
    }
}

#[tokio::test]
async fn a_light_sender_overtakes_the_backlog_of_a_heavy_one() {
    let (commits, database) = MemoryStore::start(1);
    let mut appends = Vec::new();
    for n in 0..3 * BATCH {
        appends.push(begin(&commits, by("heavy", &n.to_string())).await.unwrap());
    }
    for n in 0..3 {
        appends.push(
            begin(&commits, by("light", &format!("light {n}")))
                .await
                .unwrap(),
        );
    }
    for append in appends {
        append.await.unwrap();
    }
    let batches = database.state().batches.clone();
    let (light, heavy): (Vec<_>, Vec<_>) = batches
        .iter()
        .flatten()
        .partition(|content| content.starts_with("light"));
    assert_eq!(light, ["light 0", "light 1", "light 2"]);
    assert!(batches[0].ends_with(&["light 0".into(), "light 1".into(), "light 2".into()]));
    let order: Vec<_> = (0..3 * BATCH).map(|n| n.to_string()).collect();
    assert!(heavy.into_iter().eq(&order), "in the order of the sender");
}

#[tokio::test]
async fn the_heaviest_senders_are_refused_first_and_at_once() {
    let (commits, _) = MemoryStore::start(1);
    let mut appends = Vec::new();
    let refused = loop {
        match begin(&commits, by("heavy", "x")).await {
            Ok(append) => appends.push(append),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(
        refused,
        AppendError::Storage(StorageError::Unavailable(_))
    ));
    assert!(appends.len() < QUEUE);
    for user in 0..BATCH / 2 {
        let light = by(&user.to_string(), "x");
        appends.push(begin(&commits, light).await.unwrap());
    }
    begin(&commits, by("heavy", "x")).await.err().unwrap();
    for append in appends {
        append.await.unwrap();
    }
    // Nothing waits any more.
    begin(&commits, by("heavy", "x"))
        .await
        .unwrap()
        .await
        .unwrap();
}

#[tokio::test]
async fn fewer_messages_may_wait_for_a_slow_database() {
    let admission = Arc::new(Admission::default());
    // 1,000 messages per second: 250 in a batch, and a second's worth of them waits.
    for messages in [500, 250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 250] {
        let took = Duration::from_millis(messages as u64);
        admission.learn(messages, took);
    }
    assert!(
        (240..=250).contains(&admission.batch()),
        "{}",
        admission.batch()
    );
    let heavy = UserId::new("heavy").unwrap();
    let places: Vec<_> = (0..2000)
        .map_while(|_| admission.enter(&heavy).ok())
        .collect();
    assert!((950..=1010).contains(&places.len()), "{}", places.len());
    // 100,000 messages per second.
    for _ in 0..50 {
        let took = Duration::from_millis(5);
        admission.learn(500, took);
    }
    let more: Vec<_> = (0..2 * BATCH)
        .map_while(|_| admission.enter(&heavy).ok())
        .collect();
    assert_eq!(more.len(), 2 * BATCH);
    assert_eq!(admission.batch(), BATCH);
}

#[tokio::test]
async fn a_database_that_is_slow_for_small_batches_gets_large_ones() {
    let admission = Arc::new(Admission::default());
    // The first estimate is too low: it takes all of the time for that of the messages.
    let mut smallest = BATCH;
    for _ in 0..50 {
        let messages = admission.batch();
        let took = Duration::from_millis(400) + Duration::from_micros(100) * messages as u32;
        admission.learn(messages, took);
        smallest = smallest.min(admission.batch());
    }
    assert!(smallest < BATCH, "{smallest}");
    assert_eq!(admission.batch(), BATCH);
}

#[tokio::test]
async fn a_database_that_stores_nothing_refuses_at_once_until_it_does() {
    let (commits, database) = MemoryStore::start(1);
    database.state().fault = Fault::Stuck;
    let first = begin(&commits, by("1", "first")).await.unwrap();
    yield_now().await;
    let second = begin(&commits, by("1", "second")).await.unwrap();
    // Each attempt gives the committer the chance to notice.
    let refused = timeout(Duration::from_secs(20), async {
        loop {
            match begin(&commits, by("2", "third")).await {
                Err(refused) => break refused,
                // What waits is dropped by its sender, but stored nevertheless.
                Ok(append) => drop(append),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(matches!(
        refused.await.unwrap(),
        AppendError::Storage(StorageError::Unavailable(_))
    ));
    database.state().fault = Fault::None;
    database.gate.add_permits(1);
    first.await.unwrap();
    second.await.unwrap();
    begin(&commits, by("2", "fourth"))
        .await
        .unwrap()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_suspended_process_does_not_take_the_database_for_silent() {
    let (commits, database) = MemoryStore::start(2);
    database.state().fault = Fault::Stuck;
    let first = begin(&commits, by("1", "first")).await.unwrap();
    while database.state().stuck == 0 {
        yield_now().await;
    }
    // Nothing runs meanwhile, as after SIGSTOP.
    std::thread::sleep(Duration::from_secs(5));
    let second = begin(&commits, by("1", "second")).await.unwrap();
    yield_now().await;
    yield_now().await;
    database.state().fault = Fault::None;
    database.gate.add_permits(1);
    first.await.unwrap();
    second.await.unwrap();
}
