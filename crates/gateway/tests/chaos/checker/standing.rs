//! What users may have been allowed to do at each time, as it follows from the changes of rules
//! that clients sent, and from their answers.
//!
//! A change has its effect at some time between when it was sent and when it was acknowledged.
//! One without an answer, or whose outcome is unknown, has its effect at some time, or none, until
//! it cannot be carried out any more. A refused one has none. The rest is what one value at a
//! time allows: kinds, roles, bans and mutes are independent of each other.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chat_domain::{Role, RoomKind};

use self::made::{Made, looks};
use super::register::Register;
use crate::record::{Change, Evidence, History, Seen};

pub(super) mod made;

/// A ban or a mute that ends by itself does so by the database's clock, which counts
/// milliseconds.
const CLOCK: Duration = Duration::from_millis(20);

/// Whether a user is banned or muted, if so: for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sanction {
    None,
    For(Duration),
    UntilLifted,
}

impl Sanction {
    fn new(seconds: Option<u64>) -> Self {
        seconds.map_or(Self::UntilLifted, |seconds| {
            Self::For(Duration::from_secs(seconds))
        })
    }
}

/// A period in which something happened.
pub(super) type Period = [Duration; 2];

/// The rooms with rules, and where users stand with them.
#[derive(Default)]
pub(super) struct Standing<'a> {
    kinds: HashMap<u64, Register<RoomKind>>,
    frozen: HashMap<u64, Register<bool>>,
    roles: HashMap<(u64, &'a str), Register<Option<Role>>>,
    bans: HashMap<(u64, &'a str), Register<Sanction>>,
    mutes: HashMap<(u64, &'a str), Register<Sanction>>,
    /// When each change of a room may have been made.
    changes: HashMap<u64, Vec<Period>>,
}

impl<'a> Standing<'a> {
    pub(super) fn new(evidence: &'a Evidence) -> Self {
        let mut standing = Self::default();
        let before = &evidence.rules.before;
        for (room, kind, frozen) in &before.rooms {
            standing.kinds.insert(*room, Register::new(*kind));
            standing.frozen.insert(*room, Register::new(*frozen));
        }
        for (room, user, role) in &before.members {
            let role = Register::new(Some(*role));
            standing.roles.insert((*room, user), role);
        }
        for history in &evidence.histories {
            for made in Made::all(history, evidence) {
                standing.add(&made);
            }
        }
        standing.index();
        for history in &evidence.histories {
            standing.settle(history);
        }
        standing
    }

    fn add(&mut self, made: &Made) {
        let Made {
            room,
            what,
            period,
            is_certain,
        } = *made;
        self.changes.entry(room).or_default().push(period);
        match what {
            Change::SetMember { user, role } => {
                self.role(room, user).add(Some(role), period, is_certain);
            }
            Change::Remove { user } => self.role(room, user).add(None, period, is_certain),
            Change::Ban { user, seconds } => {
                self.role(room, user).add(None, period, is_certain);
                let ban = sanction(&mut self.bans, room, user);
                ban.add(Sanction::new(seconds), period, is_certain);
            }
            Change::Unban { user } => {
                let ban = sanction(&mut self.bans, room, user);
                ban.add(Sanction::None, period, is_certain);
            }
            Change::Mute { user, seconds } => {
                let mute = sanction(&mut self.mutes, room, user);
                mute.add(Sanction::new(seconds), period, is_certain);
            }
            Change::Unmute { user } => {
                let mute = sanction(&mut self.mutes, room, user);
                mute.add(Sanction::None, period, is_certain);
            }
            Change::SetFrozen(frozen) => {
                let register = self.frozen.entry(room);
                let register = register.or_insert_with(|| Register::new(false));
                register.add(frozen, period, is_certain);
            }
            Change::SetKind(kind) => {
                let register = self.kinds.entry(room);
                let register = register.or_insert_with(|| Register::new(RoomKind::Open));
                register.add(kind, period, is_certain);
            }
        }
    }

    fn role(&mut self, room: u64, user: &'a str) -> &mut Register<Option<Role>> {
        let register = self.roles.entry((room, user));
        register.or_insert_with(|| Register::new(None))
    }

    fn index(&mut self) {
        self.kinds.values_mut().for_each(Register::index);
        self.frozen.values_mut().for_each(Register::index);
        self.roles.values_mut().for_each(Register::index);
        self.bans.values_mut().for_each(Register::index);
        self.mutes.values_mut().for_each(Register::index);
    }

    /// Settles unanswered changes that a client saw.
    fn settle(&mut self, history: &History) {
        for (room, seen, [from, to]) in looks(history) {
            match seen {
                Seen::Room { kind, frozen } => {
                    if let Some(register) = self.kinds.get_mut(&room) {
                        register.settle(*kind, from, to);
                    }
                    if let Some(register) = self.frozen.get_mut(&room) {
                        register.settle(*frozen, from, to);
                    }
                }
                Seen::Members(members) => {
                    for ((_, user), register) in
                        self.roles.iter_mut().filter(|((of, _), _)| *of == room)
                    {
                        let mut members = members.iter();
                        let member = members.find(|member| member.user == *user);
                        register.settle(member.map(|member| member.role), from, to);
                    }
                }
            }
        }
    }

    /// Returns whether the room has rules.
    pub(super) fn has_rules(&self, room: u64) -> bool {
        self.kinds.contains_key(&room)
    }

    /// Returns the users of this room whose standing changed.
    pub(super) fn users(&self, room: u64) -> BTreeSet<&'a str> {
        let users = self.roles.keys().chain(self.bans.keys());
        let users = users.chain(self.mutes.keys());
        users
            .filter(|(of, _)| *of == room)
            .map(|(_, user)| *user)
            .collect()
    }

    /// Returns the rooms that have rules.
    pub(super) fn rooms(&self) -> impl Iterator<Item = u64> {
        self.kinds.keys().copied()
    }

    /// Returns how many changes of the room may have been made in this period.
    pub(super) fn changes(&self, room: u64, [from, to]: Period) -> usize {
        let changes = self.changes.get(&room).into_iter().flatten();
        changes
            .filter(|[begin, end]| *begin <= to && *end >= from)
            .count()
    }

    /// Returns the times at which what the user may see of the room may have begun to change.
    pub(super) fn turning_points(&self, room: u64, user: &str) -> Vec<Duration> {
        let kinds = self.kinds.get(&room).into_iter();
        let roles = self.roles.get(&(room, user)).into_iter();
        let bans = self.bans.get(&(room, user)).into_iter();
        let ends = bans.clone().flat_map(|register| {
            let bans = register.between(Duration::ZERO, Duration::MAX);
            bans.filter_map(|(ban, [begin, _])| match ban {
                Sanction::For(time) => Some((begin + time).saturating_sub(CLOCK)),
                _ => None,
            })
        });
        kinds
            .flat_map(Register::beginnings)
            .chain(roles.flat_map(Register::beginnings))
            .chain(bans.flat_map(Register::beginnings))
            .chain(ends)
            .collect()
    }

    pub(super) fn may_be_of_kind(&self, room: u64, kind: RoomKind, period: Period) -> bool {
        self.kinds
            .get(&room)
            .map_or(kind == RoomKind::Open, |register| {
                may_be(register, kind, period)
            })
    }

    pub(super) fn may_be_frozen(&self, room: u64, frozen: bool, period: Period) -> bool {
        self.frozen
            .get(&room)
            .map_or(!frozen, |register| may_be(register, frozen, period))
    }

    pub(super) fn may_have_role(
        &self,
        room: u64,
        user: &str,
        [from, to]: Period,
        wanted: impl Fn(Option<Role>) -> bool,
    ) -> bool {
        match self.roles.get(&(room, user)) {
            None => wanted(None),
            Some(register) => register.between(from, to).any(|(role, _)| wanted(role)),
        }
    }

    pub(super) fn may_be_banned(&self, room: u64, user: &str, period: Period) -> bool {
        may_apply(self.bans.get(&(room, user)), period)
    }

    pub(super) fn may_not_be_banned(&self, room: u64, user: &str, period: Period) -> bool {
        may_not_apply(self.bans.get(&(room, user)), period)
    }

    pub(super) fn may_be_muted(&self, room: u64, user: &str, period: Period) -> bool {
        may_apply(self.mutes.get(&(room, user)), period)
    }

    pub(super) fn may_not_be_muted(&self, room: u64, user: &str, period: Period) -> bool {
        may_not_apply(self.mutes.get(&(room, user)), period)
    }

    /// Returns whether the room may have existed for the user at some time in the period.
    pub(super) fn may_see(&self, room: u64, user: &str, period: Period) -> bool {
        let is_open = self.may_be_of_kind(room, RoomKind::Open, period);
        self.may_not_be_banned(room, user, period)
            && self.may_have_role(room, user, period, |role| role.is_some() || is_open)
    }

    /// Returns whether the room may have been private, and the user no member of it.
    pub(super) fn may_be_removed(&self, room: u64, user: &str, period: Period) -> bool {
        self.may_be_of_kind(room, RoomKind::Private, period)
            && self.may_have_role(room, user, period, |role| role.is_none())
    }

    /// Returns whether the room may not have existed for the user at some time in the period.
    pub(super) fn may_be_hidden(&self, room: u64, user: &str, period: Period) -> bool {
        self.may_be_banned(room, user, period) || self.may_be_removed(room, user, period)
    }

    /// Returns whether the user may have been allowed to write at some time in the period.
    pub(super) fn may_write(&self, room: u64, user: &str, period: Period) -> bool {
        let is_open = self.may_be_of_kind(room, RoomKind::Open, period);
        let is_free = self.may_be_frozen(room, false, period);
        self.may_not_be_banned(room, user, period)
            && self.may_not_be_muted(room, user, period)
            && self.may_have_role(room, user, period, |role| match role {
                None => is_open && is_free,
                Some(Role::Reader) => false,
                Some(Role::Member) => is_free,
                Some(Role::Moderator | Role::Owner) => true,
            })
    }

    /// Returns whether the user may have been forbidden to write in a room that it sees.
    pub(super) fn may_be_forbidden(&self, room: u64, user: &str, period: Period) -> bool {
        let is_frozen = self.may_be_frozen(room, true, period);
        self.may_be_muted(room, user, period)
            || self.may_have_role(room, user, period, |role| match role {
                Some(Role::Reader) => true,
                None | Some(Role::Member) => is_frozen,
                Some(Role::Moderator | Role::Owner) => false,
            })
    }
}

fn sanction<'a, 'b>(
    sanctions: &'b mut HashMap<(u64, &'a str), Register<Sanction>>,
    room: u64,
    user: &'a str,
) -> &'b mut Register<Sanction> {
    let register = sanctions.entry((room, user));
    register.or_insert_with(|| Register::new(Sanction::None))
}

fn may_be<T: Copy + PartialEq>(register: &Register<T>, value: T, [from, to]: Period) -> bool {
    register.between(from, to).any(|(other, _)| other == value)
}

fn may_apply(register: Option<&Register<Sanction>>, [from, to]: Period) -> bool {
    let sanctions = register.into_iter().flat_map(|it| it.between(from, to));
    sanctions
        .into_iter()
        .any(|(sanction, [_, end])| match sanction {
            Sanction::None => false,
            Sanction::For(time) => from <= end.saturating_add(time + CLOCK),
            Sanction::UntilLifted => true,
        })
}

fn may_not_apply(register: Option<&Register<Sanction>>, [from, to]: Period) -> bool {
    let Some(register) = register else {
        return true;
    };
    let mut sanctions = register.between(from, to);
    sanctions.any(|(sanction, [begin, _])| match sanction {
        Sanction::None => true,
        Sanction::For(time) => begin + time <= to + CLOCK,
        Sanction::UntilLifted => false,
    })
}
