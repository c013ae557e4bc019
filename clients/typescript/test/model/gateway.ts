// A gateway in memory, as far as the contract describes it, and as unkind as it allows: answers and
// broadcasts take their time and overtake each other, changes are merged, and anything may be refused.

import type { Message, ServerEvents } from '../../src/contract.js';
import type { Random } from './random.js';
import { RoomModel } from './rooms.js';

export interface Limits {
  replay: number;
}

/** What of a room a connection has received. */
interface Membership {
  seq: number;
  rev: number;
}

export interface Faults {
  /** Of a request that is refused, or stored and then reported as unknown. */
  refusals: number;
  /** What a refusal says, if it is always the same. */
  code?: string;
  /** Of an answer that never comes. */
  silence: number;
}

const WRITES = new Set(['sendMessage', 'editMessage', 'deleteMessage', 'setReaction', 'markRead']);

type Emit = (event: string, payload: unknown) => void;
type Ack = (answer: unknown) => void;
type Payload = Record<string, any>;

export class Gateway {
  readonly rooms = new Map<number, RoomModel>();
  readonly connections = new Set<Connection>();
  readonly faults: Faults = { refusals: 0, silence: 0 };
  isUp = true;
  limits: Limits = { replay: 1000 };
  /** Tokens issued before this, in ms, have expired. */
  expiredBefore = 0;
  /** Every message that was stored with an id, in order, even if its room was deleted since. */
  readonly stored: { room: number; id: string }[] = [];
  readonly log: { user: string; event: string; payload: Payload }[] = [];

  constructor(readonly random: Random) {}

  room(roomId: number): RoomModel {
    const room = this.rooms.get(roomId) ?? new RoomModel(roomId);
    this.rooms.set(roomId, room);
    return room;
  }

  later(ms: number, run: () => void): void {
    setTimeout(run, this.random.below(ms));
  }

  post(roomId: number, user: string, content: string): void {
    this.room(roomId).store(user, content);
    this.touch(roomId);
  }

  /** Hands what is new in a room to its connections, in a while, and to watching ones. */
  touch(roomId: number): void {
    for (const connection of this.connections) connection.touch(roomId);
  }

  ban(roomId: number, user: string): void {
    const room = this.room(roomId);
    room.banned.add(user);
    this.removeMember(roomId, user, 'banned');
    for (const connection of this.connections) if (connection.user === user) connection.exclude(roomId, 'banned');
  }

  addMember(roomId: number, user: string): void {
    const room = this.room(roomId);
    if (room.members.has(user)) return;
    room.members.add(user);
    room.joinedAt.set(user, new Date().toISOString());
    for (const connection of this.connections) {
      if (connection.user === user && connection.isWatching) connection.push('roomAdded', { summary: room.summary(user) });
    }
  }

  removeMember(roomId: number, user: string, reason: string): void {
    if (!this.room(roomId).members.delete(user)) return;
    for (const connection of this.connections) {
      if (connection.user === user && connection.isWatching) connection.push('roomRemoved', { roomId, reason });
    }
  }

  /** Deletes a room. Its number is free at once. */
  close(roomId: number): void {
    const room = this.room(roomId);
    for (const user of [...room.members]) this.removeMember(roomId, user, 'closed');
    this.rooms.delete(roomId);
    for (const connection of this.connections) connection.exclude(roomId, 'closed');
  }

  kill(): void {
    for (const connection of [...this.connections]) connection.cut();
  }
}

/** A connection, as the gateway sees it. */
export class Connection {
  readonly joined = new Map<number, Membership>();
  readonly #due = new Set<number>();
  readonly #summaries = new Set<number>();
  isWatching = false;
  isOpen = true;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(
    readonly gateway: Gateway,
    readonly user: string,
    readonly push: Emit,
    readonly cut: () => void,
  ) {
    gateway.connections.add(this);
  }

  end(): void {
    this.isOpen = false;
    this.gateway.connections.delete(this);
  }

  receive(event: string, payload: Payload, ack: Ack): void {
    this.gateway.log.push({ user: this.user, event, payload });
    const { random, faults } = this.gateway;
    const answer = (result: unknown) => {
      if (this.isOpen && !random.chance(faults.silence)) ack(structuredClone(result));
    };
    const isRead = event.startsWith('list') || event === 'getRoom';
    // What takes effect does so in the order of arrival; what only reads may be answered later.
    this.#tail = this.#tail
      .then(() => new Promise<void>((resolve) => this.gateway.later(isRead ? 5 : 60, resolve)))
      .then(() => {
        if (!this.isOpen) return;
        if (random.chance(faults.refusals)) {
          const code = faults.code ?? ['rate_limited', 'unavailable', 'outcome_unknown'][random.below(3)];
          if (code === 'outcome_unknown' && WRITES.has(event) && random.chance(0.5)) this.#run(event, payload);
          const retryAfterMs = code === 'rate_limited' && random.chance(0.5) ? { retryAfterMs: random.below(3000) } : {};
          return this.gateway.later(50, () =>
            answer({ ok: false, error: { code, message: code, retryable: true, ...retryAfterMs } }),
          );
        }
        if (event === 'joinRoom') return answer(this.#join(payload));
        if (isRead) return this.gateway.later(200, () => {
          const result = this.#run(event, payload);
          this.gateway.later(200, () => answer(result));
        });
        const result = this.#run(event, payload);
        this.gateway.later(150, () => answer(result));
      });
  }

  #run(event: string, p: Payload): unknown {
    const { gateway, user } = this;
    if (event === 'leaveRoom') {
      this.joined.delete(p.roomId);
      this.push('leftRoom', { roomId: p.roomId });
      return { ok: true, roomId: p.roomId };
    }
    if (event === 'renewToken') return { ok: true, expiresAt: new Date(Date.now() + 3_600_000).toISOString() };
    if (event === 'watchRooms') {
      this.isWatching = true;
      return { ok: true, unreadTotal: this.#unreadTotal() };
    }
    if (event === 'listRooms') return this.#listRooms(p);
    if (event === 'watchUsers') return { ok: true, users: [] };
    const room = gateway.room(p.roomId);
    if (event === 'getRoom') {
      const shape = { kind: 'open', name: null, frozen: false, slowModeSeconds: 0, metadata: {}, createdAt: null };
      return { ok: true, room: { roomId: p.roomId, ...shape, memberCount: room.members.size } };
    }
    if (!this.joined.has(p.roomId)) {
      return room.banned.has(user) ? refusal('not_found') : refusal('not_in_room');
    }
    const changed = (message: ReturnType<RoomModel['react']>) => {
      gateway.touch(p.roomId);
      return message ? { ok: true, message: room.wire(message) } : refusal('not_found');
    };
    switch (event) {
      case 'sendMessage': {
        if (p.content === 'refuse') return refusal('forbidden');
        const { message, isRepeat } = room.store(user, p.content, p.clientMessageId);
        if (!isRepeat) {
          gateway.stored.push({ room: p.roomId, id: p.clientMessageId });
          gateway.touch(p.roomId);
        }
        return { ok: true, message: room.wire(message) };
      }
      case 'listMessages': {
        const limit = p.limit ?? 50;
        const all = room.messages;
        const page = 'afterSeq' in p ? all.slice(p.afterSeq, p.afterSeq + limit) : all.slice(0, p.beforeSeq ? p.beforeSeq - 1 : undefined).slice(-limit);
        return { ok: true, messages: page.map((m) => room.wire(m, user)), hasMore: false };
      }
      case 'listMembers':
        return { ok: true, members: [], hasMore: false };
      case 'listPresent':
        return { ok: true, users: [], count: 0, complete: true };
      case 'markRead': {
        const seq = Math.max(room.read.get(user) ?? 0, Math.min(p.seq, room.seq));
        room.read.set(user, seq);
        gateway.touch(p.roomId);
        return { ok: true, roomId: p.roomId, seq, unread: room.seq - seq };
      }
      case 'setReaction':
        return changed(room.react(p.seq, user, p.key, p.on));
      case 'editMessage':
        return room.messages[p.seq - 1]?.userId === user ? changed(room.edit(p.seq, user, p.content)) : refusal('forbidden');
      case 'deleteMessage':
        return room.messages[p.seq - 1]?.userId === user ? changed(room.delete(p.seq, user)) : refusal('forbidden');
      case 'setTyping':
        return { ok: true, roomId: p.roomId, typing: p.typing };
      default:
        return refusal('unknown_event');
    }
  }

  #join({ roomId, afterSeq, afterRev }: Payload): unknown {
    const room = this.gateway.room(roomId);
    if (room.banned.has(this.user)) return refusal('not_found');
    const { replay } = this.gateway.limits;
    const after = Math.min(afterSeq ?? room.seq, room.seq);
    let ranges = {};
    if (afterSeq !== undefined && afterRev !== undefined) {
      const changed = room.messages.filter((m) => m.seq <= after && m.rev > afterRev).sort((a, b) => a.rev - b.rev);
      if (changed.length > replay) ranges = { changesMissed: { from: afterRev + 1, to: room.rev } };
      else for (const message of changed) this.#pushChange(room, room.wire(message, this.user));
    }
    if (room.seq - after > replay) ranges = { ...ranges, missed: { from: after + 1, to: room.seq } };
    else for (const message of room.messages.slice(after)) this.push('newMessage', room.wire(message, this.user));
    this.joined.set(roomId, { seq: room.seq, rev: room.rev });
    const joined: ServerEvents['joinedRoom'] = {
      roomId,
      seq: room.seq,
      rev: room.rev,
      readSeq: room.read.get(this.user) ?? 0,
      unread: room.unread(this.user),
      ...ranges,
    };
    this.push('joinedRoom', joined);
    return { ok: true, ...joined };
  }

  #pushChange(room: RoomModel, message: Message, by?: { by: string | null }): void {
    this.push('messageChanged', { roomId: room.roomId, rev: message.rev, change: 'reactions', message, ...by });
  }

  exclude(roomId: number, reason: string): void {
    if (this.joined.delete(roomId)) this.push('leftRoom', { roomId, reason });
  }

  touch(roomId: number): void {
    if (this.isWatching && this.gateway.room(roomId).members.has(this.user) && !this.#summaries.has(roomId)) {
      this.#summaries.add(roomId);
      this.gateway.later(1000, () => {
        this.#summaries.delete(roomId);
        const room = this.gateway.room(roomId);
        if (this.isOpen && room.members.has(this.user)) this.push('roomUpdated', room.summary(this.user));
      });
    }
    if (!this.joined.has(roomId) || this.#due.has(roomId)) return;
    this.#due.add(roomId);
    this.gateway.later(200, () => {
      this.#due.delete(roomId);
      if (this.isOpen) this.#deliver(roomId);
    });
  }

  /** New messages as they were sent, or in their newest state; then changes, merged. */
  #deliver(roomId: number): void {
    const membership = this.joined.get(roomId);
    if (!membership) return;
    const { random } = this.gateway;
    const room = this.gateway.room(roomId);
    for (const message of room.messages.slice(membership.seq)) {
      const isOriginal = !('deletedAt' in message) && !('erasedAt' in message) && random.chance(0.7);
      const { rev: _, reactions: __, ...original } = room.wire(message) as Message;
      this.push('newMessage', isOriginal ? original : room.wire(message));
    }
    membership.seq = room.seq;
    const changed = room.messages.filter((m) => m.rev > membership.rev).sort((a, b) => a.rev - b.rev);
    for (const message of changed) {
      const makers = [...message.by].filter(([rev]) => rev > membership.rev);
      const by = makers.length === 1 ? { by: (makers[0] as [number, string | null])[1] } : undefined;
      // One that has fallen behind is served from the log, for its user alone.
      this.#pushChange(room, room.wire(message, random.chance(0.1) ? this.user : undefined), by);
    }
    membership.rev = room.rev;
    for (const [userId, seq] of room.read) this.push('markedRead', { roomId, userId, seq });
  }

  #mine(): RoomModel[] {
    const { user } = this;
    return [...this.gateway.rooms.values()]
      .filter((room) => room.members.has(user))
      .sort((a, b) => compare(b.activity(user), a.activity(user)) || b.roomId - a.roomId);
  }

  #unreadTotal(): number {
    return this.#mine().reduce((sum, room) => sum + room.unread(this.user), 0);
  }

  #listRooms({ after, limit = 50 }: Payload): unknown {
    const all = this.#mine();
    const [activity, id] = (after ?? '~ 0').split(' ');
    const rest = all.filter(
      (room) => compare(room.activity(this.user), activity) < 0 || (room.activity(this.user) === activity && room.roomId < Number(id)),
    );
    const page = rest.slice(0, limit);
    const last = page.at(-1);
    return {
      ok: true,
      rooms: page.map((room) => room.summary(this.user)),
      ...(last && rest.length > limit && { next: `${last.activity(this.user)} ${last.roomId}` }),
      unreadTotal: this.#unreadTotal(),
    };
  }
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
const refusal = (code: string) => ({ ok: false, error: { code, message: code, retryable: false } });
