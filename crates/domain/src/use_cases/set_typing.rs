//! A user begins to type in a room, goes on, or stops.

use std::sync::Arc;

use super::Attempt;
use crate::{AccessDenied, Action, Caller, ConnectionId, RoomId, Visibility, ports::RoomDelivery};

/// Tells the others in a room whether a user is typing there.
#[derive(Clone)]
pub struct SetTyping {
    delivery: Arc<dyn RoomDelivery>,
}

/// Why nothing was told.
#[derive(Debug, thiserror::Error)]
pub enum SetTypingError {
    /// The caller may not do this in the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The permit may be outdated: it has to be read again for another attempt.
    #[error("the rules have changed")]
    Outdated,
}

impl SetTyping {
    /// Creates the use case over this delivery.
    pub fn new(delivery: Arc<dyn RoomDelivery>) -> Self {
        Self { delivery }
    }

    /// Tells the others in the room, unless the user is invisible. A user may always stop.
    ///
    /// # Errors
    /// [`SetTypingError`].
    pub fn execute(
        &self,
        caller: Caller<'_>,
        visibility: Visibility,
        (room_id, connection): (RoomId, ConnectionId),
        typing: bool,
        attempt: Attempt,
    ) -> Result<(), SetTypingError> {
        let permit = caller.access.require_joined()?;
        if typing {
            let is_first = attempt == Attempt::First;
            if is_first && permit.number < self.delivery.rules(room_id) {
                return Err(SetTypingError::Outdated);
            }
            if let Err(denied) = permit.decide(Action::Type) {
                // A mute may have expired since the permit was read, or been lifted.
                return Err(match is_first {
                    true => SetTypingError::Outdated,
                    false => SetTypingError::Denied(denied),
                });
            }
        }
        if visibility == Visibility::Visible {
            self.delivery
                .set_typing(room_id, connection, caller.user, typing);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::MockRoomDelivery;
    use crate::{
        Access, DisplayName, Forbidden, Permit, RulesNumber, Standing, Until, User, UserId,
    };

    const AGAIN: Attempt = Attempt::Again { has_turn: false };

    /// Begins to type in a room whose rules have number 7, or stops.
    fn set(
        access: Access,
        visibility: Visibility,
        typing: bool,
        attempt: Attempt,
        told: usize,
    ) -> Result<(), SetTypingError> {
        let mut delivery = MockRoomDelivery::new();
        delivery.expect_rules().return_const(RulesNumber::new(7));
        delivery
            .expect_set_typing()
            .times(told)
            .withf(move |_, _, _, told| *told == typing)
            .return_const(());
        let user = User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        };
        let caller = Caller {
            user: &user,
            access,
        };
        let place = (RoomId::new(1).unwrap(), ConnectionId::new(1));
        SetTyping::new(Arc::new(delivery)).execute(caller, visibility, place, typing, attempt)
    }

    fn permit(number: u64, muted: Option<Until>) -> Access {
        Access::Joined(Permit {
            number: RulesNumber::new(number),
            standing: Standing {
                muted,
                ..Permit::OPEN.standing
            },
            ..Permit::OPEN
        })
    }

    #[test]
    fn the_others_are_told_of_a_visible_user() {
        let (visible, invisible) = (Visibility::Visible, Visibility::Invisible);
        for typing in [true, false] {
            set(permit(7, None), visible, typing, Attempt::First, 1).unwrap();
            set(permit(7, None), invisible, typing, Attempt::First, 0).unwrap();
        }
    }

    #[test]
    fn nothing_is_decided_by_rules_that_are_older_than_those_that_are_known() {
        let outdated = set(
            permit(6, None),
            Visibility::Visible,
            true,
            Attempt::First,
            0,
        );
        assert!(matches!(outdated, Err(SetTypingError::Outdated)));
        set(permit(6, None), Visibility::Visible, true, AGAIN, 1).unwrap();
    }

    #[test]
    fn a_muted_user_is_refused_once_its_permit_was_read_again_but_may_stop() {
        let muted = permit(7, Some(Until::Lifted));
        let first = set(muted, Visibility::Visible, true, Attempt::First, 0);
        assert!(matches!(first, Err(SetTypingError::Outdated)));
        let denied = set(muted, Visibility::Invisible, true, AGAIN, 0);
        let Err(SetTypingError::Denied(AccessDenied::Forbidden(Forbidden::Muted(_)))) = denied
        else {
            panic!("{denied:?}");
        };
        set(muted, Visibility::Visible, false, Attempt::First, 1).unwrap();
    }

    #[test]
    fn a_room_that_was_not_joined_is_refused() {
        for typing in [true, false] {
            let denied = set(Access::NotJoined, Visibility::Visible, typing, AGAIN, 0);
            assert!(matches!(
                denied,
                Err(SetTypingError::Denied(AccessDenied::NotInRoom))
            ));
        }
    }
}
