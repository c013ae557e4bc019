// The end of a run: what the gateway has stored, read by a socket.io-client of its own, and what differs
// from it on the screens.

import { io } from 'socket.io-client';
import { asStored, canonical } from './judge.mjs';

const ANSWER_DEADLINE = 10_000;

/** One user's own view of what is stored: its reactions are marked `mine`. */
export class Reader {
  static async connect(url, token) {
    const reader = new Reader();
    reader.socket = io(url, { forceNew: true, auth: { token }, transports: ['websocket'] });
    await new Promise((resolve, reject) => {
      reader.socket.once('connect', resolve);
      reader.socket.once('connect_error', reject);
    });
    return reader;
  }

  async call(event, payload) {
    const answer = await this.socket.timeout(ANSWER_DEADLINE).emitWithAck(event, payload);
    if (!answer.ok) throw new Error(`${event}: ${JSON.stringify(answer.error)}`);
    return answer;
  }

  /** Returns all messages of a room. */
  async messages(roomId) {
    await this.call('joinRoom', { roomId });
    const messages = [];
    for (let hasMore = true; hasMore;) {
      const page = await this.call('listMessages', { roomId, afterSeq: messages.at(-1)?.seq ?? 0, limit: 200 });
      messages.push(...page.messages);
      hasMore = page.hasMore;
    }
    return messages;
  }

  /** Returns the whole inbox. */
  async inbox() {
    const rooms = [];
    for (let after; ;) {
      const page = await this.call('listRooms', { after, limit: 100 });
      rooms.push(...page.rooms);
      if (!page.next) return { rooms, unreadTotal: page.unreadTotal };
      after = page.next;
    }
  }

  close() { this.socket.disconnect(); }
}

/** Reads what each of these users sees. Returns a map from user ids to `{ rooms: Map, inbox }`. `rooms` are those
 *  that the user may join. */
export async function readAll(url, users, token) {
  const views = new Map();
  for (const user of users) {
    const reader = await Reader.connect(url, await token(user));
    const rooms = new Map();
    for (const roomId of user.rooms) rooms.set(roomId, await reader.messages(roomId));
    views.set(user.id, { rooms, inbox: await reader.inbox() });
    reader.close();
  }
  return views;
}

/** What differs on an attached screen from the user's view of the stored messages: a list of `[kind, detail]`. */
export function differences(screen, messages) {
  const { stored, unsent, first, last, hasOlder, hasNewer, status } = { ...screen.last };
  const found = [];
  const newest = messages.at(-1)?.seq;
  if (status !== 'live') found.push(['not up to date at the end', `status ${status}`]);
  if (unsent?.length > 0) found.push(['not sent at the end', unsent.map(({ state, content }) => `${state} ${content}`).join(', ')]);
  if (newest && first === undefined) found.push(['not up to date at the end', `nothing of ${newest} messages`]);
  if (screen.mode === 'live' && last !== newest) found.push(['not up to date at the end', `${last} of ${newest}`]);
  if (first !== undefined && hasOlder !== first > 1) found.push(['hasOlder is wrong at the end', `the window begins at ${first}`]);
  if (first !== undefined && hasNewer !== last < newest) found.push(['hasNewer is wrong at the end', `${last} of ${newest}`]);
  for (const message of stored ?? []) {
    const truth = messages[message.seq - 1];
    const [shown, expected] = [canonical(asStored(message)), canonical(truth && asStored(truth))];
    if (shown !== expected) found.push(['another state than what is stored', `${shown}, stored: ${expected}`]);
  }
  return found;
}

/** What differs in an inbox from `listRooms`. */
export function inboxDifferences({ rooms, unreadTotal, hasMore, status }, inbox) {
  const found = [];
  const differ = detail => found.push(['the inbox differs from listRooms', detail]);
  if (status !== 'live') differ(`status ${status}`);
  if (hasMore) differ('hasMore');
  if (unreadTotal !== inbox.unreadTotal) differ(`unreadTotal ${unreadTotal}, not ${inbox.unreadTotal}`);
  const [shown, stored] = [rooms, inbox.rooms].map(list => inOneOrder(list).map(canonical));
  for (let index = 0; index < Math.max(shown.length, stored.length); index += 1) {
    if (shown[index] !== stored[index]) differ(`${shown[index]}, not ${stored[index]}`);
  }
  return found;
}

/** Rooms that were active in the same millisecond may be in any order: the gateway's clock may be finer than a summary. */
function inOneOrder(rooms) {
  const activity = ({ lastMessage }) => lastMessage?.createdAt;
  return rooms.map((room, index) => {
    let first = index;
    while (first > 0 && activity(room) && activity(rooms[first - 1]) === activity(room)) first -= 1;
    return { room, first };
  }).sort((one, other) => one.first - other.first || one.room.roomId - other.room.roomId).map(({ room }) => room);
}
