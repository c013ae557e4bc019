// The members of the open room, and what this user may do with them.

import type { Member, MemberChange, Role, Room, RoomSettings, User } from 'chat-gateway-client';
import { el, iconButton, listOf, part, setText } from './dom';
import { toggleMenu, type MenuItem } from './menu';
import { say } from './notice';
import { client, me, users } from './session';
import { isMuted, moderates, owns, rank, ROLES, type Standing } from './standing';
import { brief, nameOf, sentence, until } from './words';

const MUTE_SECONDS = 600, SLOW_SECONDS = 10;

interface Person { user: User; about: string; warning: string; presence: '' | 'here' | 'online'; actions: readonly Action[] }
interface Action { label: string; icon: string; event: RuleEvent; fields?: { seconds?: number; role?: Role } }
type Patch = { frozen?: boolean; slowModeSeconds?: number };
type RuleEvent = 'setMember' | 'removeMember' | 'banMember' | 'unbanMember' | 'muteMember' | 'unmuteMember';

let room: Room | undefined;
let refresh: () => void = () => {};
/** What was asked of the room's settings, until they change: the checkboxes show it meanwhile. */
let asked: { of: RoomSettings | undefined; patch: Patch } | undefined;
const banned = new Set<string>(); // "room/user" of the bans that this page knows of: they cannot be listed
const heading = (): HTMLElement => document.querySelector('#members') as HTMLElement;

const peopleIn = (role: string): ((people: readonly Person[]) => void) => {
  const shown = new Map<string, Person>();
  const show = listOf<Person>(part(role), {
    key: ({ user }) => user.id,
    create: ({ user }) => personNode(user.id, () => shown.get(user.id)),
    update: fill,
    focusLost: () => heading().focus(),
  });
  return people => {
    // A person about whom nothing has changed stays the same object, and so does its node.
    const next = people.map(person => {
      const before = shown.get(person.user.id);
      return before && JSON.stringify(before) === JSON.stringify(person) ? before : person;
    });
    shown.clear();
    for (const person of next) shown.set(person.user.id, person);
    show(next);
  };
};

const showMembersList = peopleIn('members');
const showOutside = peopleIn('outside-list');

export function startMembers(onChange: () => void): void {
  refresh = onChange;
  part<HTMLInputElement>('frozen').onchange = event => setRoom({ frozen: (event.target as HTMLInputElement).checked });
  part<HTMLInputElement>('slow').onchange = event => setRoom({ slowModeSeconds: (event.target as HTMLInputElement).checked ? SLOW_SECONDS : 0 });
  part('more-members').onclick = () => { room?.members.loadMore().catch(error => say(...sentence('The members cannot be listed', error))); };
}

export interface MembersView {
  standing: Standing;
  isComplete: boolean; // whether all members are listed, so that who is missing is not a member
  present: ReadonlySet<string>;
  seen(userId: string): { online: boolean; lastSeenAt?: string } | undefined;
}

/** Shows the members of this room; of none, without a room. */
export function showMembers(open: Room | undefined, { standing, isComplete, present, seen }: MembersView): void {
  room = open;
  const person = (user: User, about: string, warning: string, actions: readonly Action[]): Person => {
    const { online = false, lastSeenAt } = seen(user.id) ?? {};
    const presence = present.has(user.id) ? 'here' : online ? 'online' : '';
    return { user, warning, presence, actions, about: !presence && lastSeenAt ? `${about} · ${`seen ${brief(lastSeenAt)}`.replaceAll(' ', '\u00a0')}` : about };
  };
  const members = [...standing.members.values()].sort((a, b) => rank(standing, b.userId) - rank(standing, a.userId));
  const isGuest = open !== undefined && isComplete && rank(standing) < 0;
  const outside = open && isComplete && moderates(standing) ? users.filter(({ id }) => !standing.members.has(id)) : [];
  showMembersList([
    ...(isGuest ? [person(me, 'guest: the room is not in your list', '', [{ label: 'Become a member', icon: 'add', event: 'setMember', fields: { role: 'member' } }])] : []),
    ...members.map(member => person(member.user, member.role ?? '', isMuted(member) ? `muted ${until(member.mutedUntil)}` : '', actionsFor(member, standing))),
  ]);
  showOutside(outside.map(({ id, name }) => banned.has(`${open?.roomId}/${id}`)
    ? person({ id, name }, '', 'banned', [{ label: 'Unban', icon: 'unban', event: 'unbanMember' }])
    : person({ id, name }, 'not a member', '', [{ label: 'Add', icon: 'add', event: 'setMember', fields: { role: 'member' } }])));
  part('more-members').hidden = !open?.members.getSnapshot().hasMore;
  part('outside').hidden = outside.length === 0;
  part('settings').hidden = !owns(standing);
  if (asked?.of !== standing.room) asked = undefined;
  const settings = { ...standing.room, ...asked?.patch };
  part<HTMLInputElement>('frozen').checked = settings.frozen ?? false;
  part<HTMLInputElement>('slow').checked = (settings.slowModeSeconds ?? 0) > 0;
}

function actionsFor(member: Member, standing: Standing): Action[] {
  if (member.userId === me.id) return [{ label: 'Leave', icon: 'leave', event: 'removeMember' }];
  const isBelow = rank(standing, member.userId) < rank(standing);
  const roles: Action[] = owns(standing)
    ? ROLES.filter(role => role !== member.role).map(role => ({ label: `Make ${role === 'owner' ? 'an' : 'a'} ${role}`, icon: 'role', event: 'setMember', fields: { role } }))
    : [];
  if (!moderates(standing) || !isBelow) return roles;
  return [
    isMuted(member)
      ? { label: 'Unmute', icon: 'unmute', event: 'unmuteMember' }
      : { label: 'Mute 10 min', icon: 'mute', event: 'muteMember', fields: { seconds: MUTE_SECONDS } },
    ...roles,
    { label: 'Remove', icon: 'leave', event: 'removeMember' },
    { label: 'Ban', icon: 'ban', event: 'banMember' },
  ];
}

/** Returns the node of a person, with one button or a menu for what may be done. */
function personNode(userId: string, current: () => Person | undefined): HTMLElement {
  const actions = el('div', 'actions');
  const node = el('li', { data: { user: userId } },
    el('span', { className: 'avatar', ariaHidden: 'true' }),
    el('p', '', el('b'), el('span', 'unseen'), el('span', 'about quiet'), el('span', 'warning')),
    actions);
  const menu = iconButton('more', '', button => {
    const person = current();
    if (person) toggleMenu(button, `Actions for ${nameOf(person.user)}`, person.actions.map(action => itemOf(person.user, action)));
  });
  menu.ariaHasPopup = 'menu';
  menu.ariaExpanded = 'false';
  menu.classList.add('open-menu');
  actions.append(menu);
  return node;
}

function fill(node: HTMLElement, { user, about, warning, presence, actions }: Person): void {
  const name = nameOf(user);
  const find = (selector: string): HTMLElement => node.querySelector(selector) as HTMLElement;
  node.dataset.presence = presence;
  setText(find('.avatar'), name.slice(0, 1));
  setText(find('b'), user.id === me.id ? `${name} (you)` : name);
  setText(find('.unseen'), presence === 'here' ? ', in the room now' : presence ? ', online' : '');
  setText(find('.about'), about);
  setText(find('.warning'), warning);
  const menu = find('.open-menu') as HTMLButtonElement;
  const single = actions.length === 1 ? actions[0] : undefined;
  menu.hidden = actions.length === 0 || single !== undefined;
  menu.ariaLabel = menu.title = `Actions for ${name}`;
  const hadFocus = find('.actions').contains(document.activeElement);
  find('.actions .single')?.remove();
  if (single) {
    const button = el('button', { type: 'button', className: 'small single', ariaLabel: `${single.label}: ${name}` }, single.label);
    button.onclick = itemOf(user, single).choose;
    find('.actions').append(button);
  }
  if (hadFocus && !node.contains(document.activeElement)) (single ? find('.single') : menu.hidden ? heading() : menu).focus();
}

/** An action changes where a user stands in the open room, whose connections receive `memberChanged`. */
function itemOf(user: User, { label, icon, event, fields }: Action): MenuItem {
  const isHarsh = event === 'banMember' || event === 'removeMember';
  return { label, icon, isHarsh, choose: () => void act(user, label, event, fields) };
}

async function act(user: User, label: string, event: RuleEvent, fields: Action['fields']): Promise<void> {
  if (!room) return;
  const { roomId } = room, key = `${roomId}/${user.id}`;
  say();
  try {
    await client.call(event, { roomId, userId: user.id, ...fields } as never);
    if (event === 'banMember') banned.add(key);
    if (event === 'unbanMember') banned.delete(key);
  } catch (error) {
    say(...sentence(`“${label}” was refused for ${nameOf(user)}`, error));
    // A ban from another page is known when its user cannot be added.
    if (event === 'setMember' && (error as { code?: string }).code === 'conflict') banned.add(key);
  }
  refresh();
}

function setRoom(patch: Patch): void {
  if (!room) return;
  const own = asked = { of: room.info.getSnapshot().room, patch: { ...asked?.patch, ...patch } };
  client.call('setRoom', { roomId: room.roomId, ...patch }).catch(error => {
    say(...sentence('The room cannot be changed', error));
    if (asked === own) asked = undefined;
    refresh();
  });
}

/** Says what has changed about a member, or returns "". */
export function changeOf(before: Member | undefined, after: MemberChange): string {
  if (!after.role) return before ? 'is no longer a member' : '';
  const role = after.role === 'owner' ? 'an owner' : `a ${after.role}`;
  if (!before || before.role !== after.role) return `is now ${role}`;
  if (isMuted(after) && after.mutedUntil !== before.mutedUntil) return `is muted ${until(after.mutedUntil)}`;
  return isMuted(before) && !isMuted(after) ? 'can write again' : '';
}
