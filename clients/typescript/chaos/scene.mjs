// One client in a browser, with its judge: bundled for a page, which has it as `scene`, and for a dedicated
// worker, which answers calls by messages. The driver (browser.mjs) calls its functions.

import { createClient } from '../src/index.ts';
import { indexedDbStorage } from '../src/storage/indexeddb.ts';
import { Actor, wait } from './actor.mjs';
import { Judge } from './judge.mjs';
import { Random } from './random.mjs';
import { Tab } from './tab.mjs';
import { conclude } from './verdict.mjs';

let judge, actor, accepted, limit;

/** The token cannot be fetched while the browser is offline. */
class Offline extends Error {}

async function token({ id, name }) {
  const response = await fetch(`/token?user=${id}&name=${name}`).catch(cause => { throw new Offline('offline', { cause }); });
  if (!response.ok) throw new Error(`no token: ${response.status}`);
  return response.text();
}

async function until(what, condition) {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`still not ${what}: ${JSON.stringify(state())}`);
    await wait(5);
  }
}

function state() {
  const screens = [...actor.screens.values()].map(({ roomId, last, unsent }) =>
    `${roomId}: ${last?.status} ${last?.first} to ${last?.last}, ${unsent.map(({ state, content }) => `${state} ${content}`)}`);
  return { connection: actor.client.connection.getSnapshot(), screens };
}

const scene = {
  /** Opens the client. `saved` is the outbox of the tab that was closed. */
  async start({ name, user, url, seed, saved, transports }) {
    judge = new Judge();
    accepted = limit = 0;
    const open = ({ outbox }) => createClient({
      url,
      token: () => token(user),
      storage: new Tab(indexedDbStorage(name), outbox),
      socket: { forceNew: true, ...(transports && { transports }) },
      onError: error => error instanceof Offline || judge.convict('an error without a caller', name, error?.stack ?? error),
    });
    const take = () => accepted < limit && (accepted += 1) > 0;
    const random = Random.named(seed, name);
    actor = new Actor({ name: saved ? `${name}, a new tab` : name, user, judge, random, rooms: user.rooms, open, take, isKept: true });
    if (saved) actor.outbox.restore(saved);
    await actor.start();
  },

  /** Acts until it has sent so many more messages. */
  async act(messages, pace) {
    limit = accepted + messages;
    await actor.act(() => accepted >= limit, pace);
  },

  /** Sends messages in a room, and returns when they are on the screen as pending and kept by the storage. */
  async sendKept(roomId, contents) {
    const screen = actor.screens.get(roomId);
    const entries = contents.map(content => screen.send(content));
    await until('kept', () => entries.every(({ isKept }) => isKept));
    return screen.unsent.map(({ content }) => content);
  },

  /** Returns the contents that a room's screen shows as pending. */
  unsent: roomId => actor.screens.get(roomId).unsent.map(({ content }) => content),
  newest: roomId => actor.screens.get(roomId).last?.last ?? 0,
  status: () => actor.client.connection.getSnapshot().status,
  online: () => until('online', () => actor.client.connection.getSnapshot().status === 'online'
    && [...actor.screens.values()].every(({ last }) => last?.status === 'live')),

  /** Goes to the live end of a room, and returns when it is shown. */
  async follow(roomId) {
    const screen = actor.screens.get(roomId);
    await until('online', () => actor.client.connection.getSnapshot().status === 'online');
    const error = await screen.navigate('jumpToLatest');
    if (error) throw error;
    await until('live', () => screen.last.status === 'live' && screen.unsent.length === 0);
  },

  /** Returns the time, in ms since the epoch, at which a room's screen shows this message and all before it. */
  async upToDate(roomId, seq) {
    const screen = actor.screens.get(roomId);
    if (!(screen.last?.last >= seq)) {
      const { messages } = screen.room;
      await new Promise(done => {
        const end = messages.subscribe(() => {
          if (!(screen.last?.last >= seq)) return;
          end();
          done();
        });
      });
    }
    return Date.now();
  },

  outbox: () => ({ saved: actor.outbox.save(), keys: judge.keys() }),

  async conclude({ url, others, deadlineMs }) {
    const figures = await conclude({ judge, actors: [actor], url, token, others, deadlineMs });
    return figures;
  },

  verdict: () => ({ snapshots: judge.snapshots, contradictions: judge.contradictions, found: judge.found }),
};

if (typeof document === 'undefined') {
  globalThis.onmessage = async ({ data: { id, method, parameters } }) => {
    try {
      globalThis.postMessage({ id, value: await scene[method](...parameters) });
    } catch (error) {
      globalThis.postMessage({ id, error: `${error?.stack ?? error}` });
    }
  };
} else {
  globalThis.scene = scene;
  globalThis.startWorker = () => {
    const worker = new Worker('/scene.js'), waiting = new Map();
    let last = 0;
    worker.onmessage = ({ data: { id, value, error } }) => {
      const { done, failed } = waiting.get(id);
      waiting.delete(id);
      if (error) failed(new Error(error)); else done(value);
    };
    worker.onerror = ({ message }) => { for (const { failed } of waiting.values()) failed(new Error(message)); };
    globalThis.workerScene = new Proxy({}, {
      get: (_, method) => (...parameters) => new Promise((done, failed) => {
        last += 1;
        waiting.set(last, { done, failed });
        worker.postMessage({ id: last, method, parameters });
      }),
    });
  };
}
