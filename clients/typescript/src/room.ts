// A room: what arrives from it, and what an application sees of it.

import { createChanges } from './changes.js';
import type { Connection } from './connection.js';
import type { Message, Payload, Room as Settings, ServerEvents } from './contract.js';
import { quiet } from './errors.js';
import type { Handlers, ManagedRoom } from './managed.js';
import { createMembers } from './members.js';
import { createMembership } from './membership.js';
import type { Outbox } from './outbox.js';
import { createPager, PAGE } from './pager.js';
import { createReads } from './reads.js';
import { createPresence, createTyper, createTyping } from './signals.js';
import { reuse, type Stores } from './store.js';
import { createTimeline } from './timeline.js';
import type { Timers } from './timers.js';
import type { MessagesSnapshot, RoomInfo, RoomStatus } from './types.js';

/** In ms, after which history that could not be read is asked for again. */
const RETRY = 5_000;

export function createRoom(
  roomId: number,
  stores: Stores,
  timers: Timers,
  connection: Connection,
  outbox: Outbox,
  report: (error: unknown) => void,
  wake: () => void,
): ManagedRoom {
  const { batch, source } = stores;
  let joins = 0;
  let isSettled = false; // the window has what the last join has left open
  let settings: Settings | undefined;
  let cancelMine: (() => void) | undefined;
  const me = () => connection.identity?.user.id;

  const membership = createMembership(roomId, stores, timers, connection, {
    resume() {
      if (!timeline.loaded || timeline.foreign) return {};
      // A window that does not reach the live end wants no messages, only changes. Else the newest
      // message is replayed again: if it is another, the room was deleted and begun anew.
      const { newest, seq, follow } = timeline;
      return { afterSeq: !follow && newest < seq ? Number.MAX_SAFE_INTEGER : Math.max(newest - 1, 0), afterRev: pager.rev };
    },
    isWaiting: () => outbox.waits(roomId),
    send: () => void outbox.pump(lane),
    left(refusal) {
      isSettled = false;
      typing.clear();
      if (refusal) {
        // If it ever admits the user again, it may be another room.
        timeline.foreign = true;
        outbox.failAll(roomId, refusal);
      }
      changed();
    },
    idle() {
      timeline.shrink(PAGE);
      reads.clear();
      members.reset();
      messages.changed();
    },
    wake,
    changed: () => changed(),
  });
  const { ask, perform, isIn } = membership;
  // Using a store joins the room.
  const onUse = membership.use;

  const timeline = createTimeline();
  const pager = createPager(timeline, {
    list: (bounds) => ask('listMessages', { roomId, ...bounds }),
    use: (page, how) =>
      batch(() => {
        page.forEach(outbox.seen);
        how();
        changed();
      }),
    perform,
    changed: () => changed(),
  });
  const changes = createChanges(roomId, membership, (message, reacted) =>
    batch(() => {
      outbox.seen(message);
      timeline.take({ message, own: false, ...(reacted && { reacted }) });
      changed();
    }),
  );
  const lane = {
    roomId,
    isJoined: isIn,
    send: async (payload: Payload<'sendMessage'>, wanted: () => boolean) =>
      (await ask('sendMessage', payload, wanted)).message,
  };

  const messages = source<MessagesSnapshot>(
    (previous) =>
      reuse(previous, {
        messages: reuse(previous?.messages, [...timeline.messages, ...outbox.shown(roomId)]),
        hasOlder: timeline.oldest > 1,
        hasNewer: !timeline.follow && timeline.newest < timeline.seq,
        loading: timeline.loaded ? pager.loading : ['joining', 'in'].includes(membership.phase) ? 'first' : undefined,
        status: status(),
      }),
    onUse,
  );
  const info = source<RoomInfo>(
    (previous) =>
      reuse(previous, {
        ...(settings && { room: settings }),
        seq: timeline.seq,
        readSeq: reads.own,
        unread: Math.max(0, timeline.seq - reads.own),
        status: status(),
        ...(membership.refusal && { refusal: membership.refusal }),
      }),
    (used) => {
      onUse(used);
      describe();
    },
  );
  const reads = createReads(
    stores,
    onUse,
    me,
    (seq) => perform((wanted) => ask('markRead', { roomId, seq }, wanted)),
    () => info.changed(),
  );
  const typing = createTyping(stores, timers, onUse);
  const members = createMembers(stores, onUse, (page) => ask('listMembers', { roomId, ...page }));
  const presence = createPresence(stores, timers, onUse, () => (isIn() ? ask('listPresent', { roomId }) : undefined));
  const setTyping = createTyper((isTyping) => {
    if (isIn()) connection.request('setTyping', { roomId, typing: isTyping }).catch(() => {});
  });

  function status(): RoomStatus {
    if (membership.refusal && connection.epoch) return 'left';
    if (isIn() && isSettled) return 'live';
    if (!timeline.loaded && connection.store.getSnapshot().status === 'connecting') return 'loading';
    if (!connection.epoch) return 'offline';
    return timeline.loaded ? 'catching-up' : 'loading';
  }

  function changed(): void {
    const { loaded, follow, newest, seq } = timeline;
    batch(() => {
      // A window that stays in place does not show what is new: then it is enough that it was stored.
      if (loaded) outbox.arrived(roomId, follow ? newest : Math.max(newest, seq));
      if (timeline.stale.size) readMine(2_000 + Math.random() * 4_000);
      messages.changed();
      info.changed();
      membership.sync();
    });
  }

  function joined(answer: ServerEvents['joinedRoom']): void {
    // If messages were missed, so was the newest one's latest change. If the room was joined again by
    // other means, what happened in between was not replayed.
    if (answer.changesMissed || answer.missed || isIn()) pager.missedChanges();
    if (timeline.loaded && (answer.seq < timeline.newest || answer.rev < pager.rev)) timeline.foreign = true;
    if (timeline.foreign) pager.reset(answer.rev);
    // What was stored in the room that was before is gone.
    outbox.arrived(roomId, timeline.foreign ? Infinity : 0, answer.seq);
    pager.sawRev(answer.rev);
    timeline.seq = answer.seq;
    membership.entered();
    reads.joined(answer.readSeq);
    settle();
    describe();
    presence.ask();
    void members.reload().catch(() => {}); // again after the next join
    changed();
  }

  /** Reads what the join has left open. */
  function settle(): void {
    const own = ++joins;
    const isCurrent = () => own === joins && isIn();
    isSettled = false;
    pager.settle().then(
      () => {
        isSettled = isCurrent();
        changed();
      },
      (error) => {
        if (!isCurrent()) return;
        report(error);
        timers.after(RETRY, () => isCurrent() && settle());
      },
    );
  }

  function describe(): void {
    if (isIn() && info.used()) ask('getRoom', { roomId }).then(({ room }) => described(room), () => {}); // again after the next join
  }

  function described(room: Settings): void {
    settings = room;
    info.changed();
  }

  function take(message: Message, event?: { readonly by?: string | null }): void {
    // Until it has joined, what arrives is a replay, which is for this user alone.
    const own = membership.phase === 'joining';
    const isMerged = event ? !('by' in event) : message.reactions;
    const by = own ? undefined : isMerged ? 'several' : event && event.by === me() ? 'me' : undefined;
    outbox.seen(message);
    timeline.take({ message, own, ...(by && { by }) });
    if (by === 'me' && timeline.stale.size) readMine(300);
    changed();
  }

  /** Later, because an answer may make it needless, and because merged changes come in numbers. */
  function readMine(ms: number): void {
    cancelMine ??= timers.after(ms, () => {
      cancelMine = undefined;
      if (isIn()) pager.readMine().then(changed, () => {}); // again after the next join
    });
  }

  const handlers: Handlers = {
    newMessage(message) {
      take(message);
      typing.stopped(message.userId);
      reads.received(message.userId, message.seq); // a send moves its sender's own pointer
    },
    messageChanged(event) {
      pager.sawRev(event.rev);
      take(event.message, event);
    },
    joinedRoom(answer) {
      if (membership.phase !== 'leaving') joined(answer);
    },
    leftRoom: ({ reason }) => membership.leftFor(reason),
    markedRead: ({ userId, seq }) => reads.received(userId, seq),
    roomChanged: ({ room }) => described(room),
    memberChanged: ({ member }) => members.received(member),
    typing: typing.received,
  };

  return {
    roomId,
    messages: { ...messages, ...pager.actions },
    info,
    members: { ...members.store, loadMore: () => quiet(perform(members.loadMore)) },
    typing: typing.store,
    presence: presence.store,
    reads: reads.store,
    open: membership.open,
    send(content, more = {}) {
      const id = outbox.add(roomId, content, more);
      setTyping(false);
      membership.retry();
      return id;
    },
    retry(id) {
      outbox.retry(roomId, id);
      membership.retry();
    },
    discard: (id) => outbox.discard(roomId, id),
    ...changes,
    markRead: (seq = timeline.newest) => quiet(reads.mark(seq)),
    setTyping,
    inUse: membership.isWanted,
    online: membership.sync,
    offline: membership.offline,
    received(name, payload) {
      // Nothing arrives from a room that the connection is not in.
      if (!['out', 'refused'].includes(membership.phase)) handlers[name]?.(payload as never);
    },
    changed,
    admitted() {
      if (membership.refusal?.code === 'not_found') membership.retry();
    },
    reset() {
      timeline.reset();
      pager.reset(0);
      reads.clear(true);
      members.reset();
      settings = undefined;
      membership.forget();
      changed();
    },
  };
}
