//! The handler of `renewToken`.

use chat_domain::Membership;

use super::context::Context;
use super::objects::{LeftRoom, RenewedToken};
use super::packet;
use super::protocol::Token;
use super::reply::Failure;

pub(super) async fn renew(
    context: Context<'_>,
    membership: &mut Membership,
    token: &Token,
) -> Result<(), Failure> {
    let (gateway, client) = (context.gateway, context.client);
    let renew_token = &gateway.renew_token;
    let renewed = renew_token
        .execute(context.identity, token.as_str())
        .await?;
    let renewed = client.renew(renewed)?;
    let sanctions = &gateway.sanctions;
    if sanctions.register(&renewed, || ()).is_err() {
        // It was revoked after it was checked.
        sanctions.end_revoked(&renewed.user.id);
        return Err(Failure::token_revoked());
    }
    let excluded = gateway
        .leave_room
        .execute_for_excluded(client.id(), membership, &renewed);
    gateway.watchers.renew(client.id(), &renewed);
    gateway.presence.renew(client.id(), &renewed);
    client.reappear(&renewed);
    let left = excluded
        .into_iter()
        .map(|room_id| packet::event("leftRoom", &LeftRoom::removed(room_id)));
    let answer = context.request.success(&RenewedToken::new(&renewed));
    context.send(left.chain(answer));
    Ok(())
}
