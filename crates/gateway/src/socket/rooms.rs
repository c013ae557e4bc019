//! The handlers of `listRooms`, `watchRooms` and `setNotify`.

use chat_domain::ports::InboxPosition;
use chat_domain::use_cases::InboxLimit;
use chat_domain::{Membership, Notify, RoomId};

use super::context::Context;
use super::objects::{NotifyAck, WatchAck};
use super::reply::Failure;

/// How often a page is read whose rooms exclude the client before it is sent.
const ATTEMPTS: usize = 3;

pub(super) async fn list(
    context: Context<'_>,
    membership: &mut Membership,
    after: Option<InboxPosition>,
    limit: InboxLimit,
) -> Result<(), Failure> {
    // Before the rooms are read: what changes from then on is told when the client watches.
    context.client.has_listed_rooms();
    let (list_rooms, exclusions) = (&context.gateway.list_rooms, &context.client.exclusions);
    for _ in 0..ATTEMPTS {
        let page = list_rooms.execute(context.identity, after, limit).await?;
        let answer = context.request.rooms(&page);
        let rooms = page.rooms.iter().map(|room| room.room_id);
        // Nothing from a room may follow its `leftRoom`.
        if exclusions.unless_excluded_from_any(rooms, || context.send(answer)) {
            return Ok(());
        }
        exclusions.apply(membership);
    }
    Err(Failure::rooms_change())
}

pub(super) async fn watch(context: Context<'_>) -> Result<(), Failure> {
    let (gateway, client) = (context.gateway, context.client);
    let watchers = &gateway.watchers;
    let watched_before = watchers.watches(client.id());
    let identity = client.identity();
    let begin = watchers.watch(context.outbox, &identity, client.listed_rooms());
    let watched = gateway.watch_rooms.execute(&identity, begin).await;
    if watched.is_err() && !watched_before {
        watchers.unwatch(client.id());
    }
    context.send(context.request.success(&WatchAck::new(watched?)));
    Ok(())
}

pub(super) async fn set_notify(
    context: Context<'_>,
    room_id: RoomId,
    notify: Notify,
) -> Result<(), Failure> {
    let set_notify = &context.gateway.set_notify;
    set_notify
        .execute(context.identity, room_id, notify)
        .await?;
    let answer = NotifyAck::new(room_id, notify);
    context.send(context.request.success(&answer));
    Ok(())
}
