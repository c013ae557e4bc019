// Clients with a planted bug: each is the real client, but what it shows, or what it is asked to send, is
// tampered with. `convicts` is the kind of contradiction that the judge must find.

const isStored = ({ state }) => state === 'stored';
const change = (snapshot, messages) => ({ ...snapshot, messages });
/** Tampers with the messages of each snapshot. `memory` is the room's, for what a bug remembers. */
const shown = tamper => ({ shown: tamper });

export const BUGS = [
  { name: 'leaves out a message', convicts: 'a gap', ...shown(snapshot =>
    change(snapshot, snapshot.messages.filter(({ seq }) => seq === undefined || seq % 100 !== 7))) },
  { name: 'shows a message twice', convicts: 'shown twice', ...shown(snapshot =>
    change(snapshot, snapshot.messages.flatMap(message => message.seq % 100 === 7 ? [message, message] : [message]))) },
  { name: 'shows two messages in the wrong order', convicts: 'out of order', ...shown(snapshot => {
    const messages = [...snapshot.messages];
    const at = messages.findIndex(({ seq }) => seq % 100 === 7);
    if (at > 1) [messages[at - 1], messages[at]] = [messages[at], messages[at - 1]];
    return change(snapshot, messages);
  }) },
  { name: 'stops to show new messages', convicts: 'not up to date at the end', ...shown((snapshot, memory) => {
    memory.newest ??= snapshot.messages.findLast(isStored)?.seq;
    return change(snapshot, snapshot.messages.filter(({ seq }) => !(seq > memory.newest)));
  }) },
  { name: 'drops messages far below the bound', convicts: 'a stored message disappeared', ...shown(snapshot =>
    change(snapshot, snapshot.messages.slice(Math.max(0, snapshot.messages.length - 20)))) },
  { name: 'keeps what was stored among the pending', convicts: 'stored and pending at once', ...shown((snapshot, memory) => {
    const pending = snapshot.messages.filter(({ state }) => state === 'pending');
    memory.kept ??= pending[0];
    return memory.kept && !pending.includes(memory.kept) ? change(snapshot, [...snapshot.messages, memory.kept]) : snapshot;
  }) },
  { name: 'shows a stored message as pending again', convicts: 'pending after stored', ...shown((snapshot, memory) => {
    const own = snapshot.messages.filter(message => isStored(message) && memory.sent.includes(message.clientMessageId));
    const again = memory.isDone ? undefined : own.find(({ seq }) => memory.seen?.has(seq));
    memory.seen = new Set(own.map(({ seq }) => seq));
    if (!again) return snapshot;
    memory.isDone = true;
    const { clientMessageId, content, user, createdAt } = again;
    const rest = snapshot.messages.filter(message => message !== again);
    return change(snapshot, [...rest, { state: 'pending', clientMessageId, content, user, createdAt }]);
  }) },
  { name: 'shows pending messages in the wrong order', convicts: 'pending out of the order of sending', ...shown(snapshot =>
    change(snapshot, [...snapshot.messages.filter(isStored), ...snapshot.messages.filter(message => !isStored(message)).reverse()])) },
  { name: 'shows pending messages before the stored ones', convicts: 'stored after pending', ...shown(snapshot =>
    change(snapshot, snapshot.messages.toSorted((one, other) => isStored(one) - isStored(other)))) },
  { name: 'hides what is pending for a moment', convicts: 'a pending message vanished', ...shown((snapshot, memory) => {
    const pending = snapshot.messages.filter(message => !isStored(message));
    if (pending.length < 2 || memory.isDone || !memory.seen) {
      memory.seen ||= pending.length > 1;
      return snapshot;
    }
    memory.isDone = true;
    return change(snapshot, snapshot.messages.filter(isStored));
  }) },
  { name: 'does not show what it sends', convicts: 'accepted, but not shown', ...shown(snapshot =>
    change(snapshot, snapshot.messages.filter(isStored))) },
  { name: 'shows a failure without a reason', convicts: 'failed without a reason', ...shown(snapshot =>
    change(snapshot, snapshot.messages.map(message => message.state === 'pending' ? { ...message, state: 'failed' } : message))) },
  { name: 'shows an older state after a newer one', convicts: 'an older state after a newer one', ...shown((snapshot, memory) => {
    memory.first ??= new Map();
    memory.newer ??= new Set();
    const index = memory.isDone ? -1 : snapshot.messages.findIndex(({ seq }) => memory.newer.has(seq));
    for (const message of snapshot.messages.filter(isStored)) {
      if (!memory.first.has(message.seq)) memory.first.set(message.seq, message);
      else if (message.rev > (memory.first.get(message.seq).rev ?? 0)) memory.newer.add(message.seq);
    }
    if (index < 0) return snapshot;
    memory.isDone = true;
    return change(snapshot, snapshot.messages.toSpliced(index, 1, memory.first.get(snapshot.messages[index].seq)));
  }) },
  { name: 'forgets a change', convicts: 'another state than what is stored', ...shown((snapshot, memory) => {
    memory.first ??= new Map();
    for (const message of snapshot.messages) {
      if (isStored(message) && !memory.first.has(message.seq)) memory.first.set(message.seq, message);
    }
    return change(snapshot, snapshot.messages.map(message => isStored(message) ? memory.first.get(message.seq) : message));
  }) },
  { name: 'forgets whose reaction it is', convicts: 'another state than what is stored', ...shown((snapshot, memory) => {
    memory.without ??= new Map();
    return change(snapshot, snapshot.messages.map(message => {
      if (!message.reactions?.length) return message;
      if (!memory.without.has(message)) {
        memory.without.set(message, { ...message, reactions: message.reactions.map(({ key, count }) => ({ key, count })) });
      }
      return memory.without.get(message);
    }));
  }) },
  { name: 'makes up a state', convicts: 'two versions of one state', ...shown((snapshot, memory) => {
    memory.made ??= new Map();
    return change(snapshot, snapshot.messages.map(message => {
      if (message.seq % 100 !== 7) return message;
      if (!memory.made.has(message)) memory.made.set(message, { ...message, content: `${message.content}!` });
      return memory.made.get(message);
    }));
  }) },
  { name: 'moves a window that was paged to', convicts: 'a paged window moved', ...shown((snapshot, memory) => {
    const last = snapshot.messages.findLast(isStored)?.seq;
    memory.last = memory.isPaged ? memory.last ?? last : undefined;
    return last > memory.last ? change(snapshot, snapshot.messages.slice(1)) : snapshot;
  }) },
  { name: 'replaces messages that did not change', convicts: 'a new object for an unchanged message', ...shown(snapshot =>
    change(snapshot, snapshot.messages.map(message => ({ ...message })))) },
  { name: 'denies that there are older ones', convicts: 'older ones denied', ...shown(snapshot => ({ ...snapshot, hasOlder: false })) },
  { name: 'returns another snapshot for each call', convicts: 'an unstable snapshot', isUnstable: true, ...shown(snapshot => ({ ...snapshot })) },
  { name: 'does not send a message', convicts: 'accepted, but not stored', send: ({ room, memory, content, more }) => {
    if (memory.isLost) return room.send(content, more);
    memory.isLost = true;
    return 'never-sent';
  } },
  { name: 'sends a message twice', convicts: 'stored, but not sent by any client', send({ room, content, more }) {
    room.send(content, more);
    return room.send(content, more);
  } },
  { name: 'sends in the wrong order', convicts: 'stored out of the order of sending', send({ client, room, memory, content, more }) {
    if (memory.isHeld) return room.send(content, more);
    memory.isHeld = true;
    const clientMessageId = 'held-back';
    setTimeout(() => client.call('sendMessage', { roomId: room.roomId, clientMessageId, content, ...more }), 100);
    return clientMessageId;
  } },
  { name: 'forgets its outbox with the tab', convicts: 'accepted, but not stored', load: () => [] },
  { name: 'sends again what was stored, under another id', convicts: 'accepted, but not stored',
    load: entries => entries.map(entry => ({ ...entry, clientMessageId: `again-${entry.clientMessageId}` })) },
  { name: 'counts the unread wrongly', convicts: 'the inbox differs from listRooms', inbox: snapshot =>
    ({ ...snapshot, unreadTotal: snapshot.unreadTotal + 1 }) },
  { name: 'shows an old summary', convicts: 'the inbox differs from listRooms', inbox: (snapshot, memory) => {
    memory.first ??= snapshot.rooms.find(({ seq }) => seq > 100);
    return { ...snapshot, rooms: snapshot.rooms.map(room => memory.first ?? room) };
  } },
];

/** Returns a `createClient` with this bug. */
export function withBug(createClient, bug) {
  return options => {
    if (bug.load) {
      const { storage } = options;
      options = { ...options, storage: { ...asObject(storage), load: async () => bug.load(await storage.load()) } };
    }
    const client = createClient(options), rooms = new Map();
    const inbox = bug.inbox ? store(client.inbox, bug.inbox, {}) : client.inbox;
    const room = roomId => {
      if (!rooms.has(roomId)) rooms.set(roomId, plant(client, client.room(roomId), bug));
      return rooms.get(roomId);
    };
    return replaced(client, { inbox, room });
  };
}

function plant(client, room, bug) {
  const memory = { sent: [] };
  const send = (content, more) => {
    const id = bug.send ? bug.send({ client, room, memory, content, more }) : room.send(content, more);
    memory.sent.push(id);
    return id;
  };
  const messages = bug.shown ? store(room.messages, bug.shown, memory, bug.isUnstable) : room.messages;
  return replaced(room, { send, messages });
}

function store(real, tamper, memory, isUnstable) {
  let seen, shown;
  const getSnapshot = () => {
    const snapshot = real.getSnapshot();
    if (snapshot !== seen || isUnstable) shown = tamper(snapshot, memory);
    seen = snapshot;
    return shown;
  };
  const paging = (isPaged, move) => (...parameters) => {
    memory.isPaged = isPaged;
    return real[move](...parameters);
  };
  return replaced(real, { getSnapshot, loadOlder: paging(true, 'loadOlder'), jumpToLatest: paging(false, 'jumpToLatest') });
}

/** The object, but for these properties. */
function replaced(object, properties) {
  return new Proxy(object, {
    get(target, key) {
      if (key in properties) return properties[key];
      const value = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function asObject(storage) {
  return { put: entry => storage.put(entry), remove: id => storage.remove(id) };
}
