// The stage of a run in Node: a gateway, its rooms and users, and clients that each reach it through a proxy
// of their own.

import { join } from 'node:path';
import { Actor } from './actor.mjs';
import { Gateway, temporaryFiles, token } from './gateway.mjs';
import { Judge } from './judge.mjs';
import { CUTS, Proxy } from './proxy.mjs';
import { Random } from './random.mjs';
import { Tab } from './tab.mjs';

export const USERS = [
  { id: '1', name: 'Ada', rooms: [1, 2, 3, 4] },
  { id: '2', name: 'Grace', rooms: [1, 2, 3, 4] },
  { id: '3', name: 'Barbara', rooms: [1, 2, 3, 4] },
  { id: '4', name: 'Ken', rooms: [1, 2, 3, 4] },
  { id: '5', name: 'Linus', rooms: [1, 2, 3] },
];
/** Room 4 is private: Linus is not a member. */
const PRIVATE = 4;
/** Messages in each room at the start, so that there is something to page through. */
const HISTORY = 250;
const [ada, grace, barbara, ken, linus] = USERS;

/** The clients. Ada has two; some keep their outbox in a file, and have their tab closed; Ken's tokens
 *  expire often; Barbara reads old messages most of the time. */
export const CLIENTS = [
  { name: 'ada-laptop', user: ada, isKept: true },
  { name: 'ada-phone', user: ada, socket: { transports: ['polling', 'websocket'] } },
  { name: 'grace', user: grace, isKept: true },
  { name: 'barbara', user: barbara, weights: { page: 40 } },
  { name: 'ken', user: ken, tokenSeconds: 12, closes: true },
  { name: 'linus', user: linus, isKept: true, socket: { transports: ['polling'] } },
];

export class Stage {
  /** Keys of the messages that were there before. */
  history = [];
  actors = []; strikes = Object.fromEntries(CUTS.map(kind => [kind, 0])); broken = 0; tabsClosed = 0;
  #tabs = new Map(); #proxies = new Map();

  /** `client` has the client's modules: `{ createClient, fileStorage }`. */
  static async open({ client, program, databaseUrl, seed, environment }) {
    const stage = new Stage();
    Object.assign(stage, { client, seed, random: Random.named(seed, 'faults'), judge: new Judge() });
    stage.files = await temporaryFiles();
    stage.gateway = await Gateway.start({
      program, environment, databaseUrl: databaseUrl ?? stage.files.databaseUrl, log: stage.files.log,
    });
    for (const roomId of [1, 2, 3, PRIVATE]) {
      const members = USERS.filter(({ rooms }) => rooms.includes(roomId));
      await stage.gateway.createRoom(roomId, roomId === PRIVATE ? 'private' : 'open', members);
      stage.history.push(...await stage.gateway.importHistory(roomId, HISTORY));
    }
    return stage;
  }

  /** Adds a client, which is not started yet. `take()` says whether it may send one more message. */
  async add({ name, user, isKept, socket, tokenSeconds, closes, weights, createClient, judge = this.judge }, take) {
    const proxy = await Proxy.start(this.gateway.target, Random.named(this.seed, `proxy ${name}`));
    this.#proxies.set(name, proxy);
    const open = actor => {
      const tab = isKept && new Tab(this.client.fileStorage(join(this.files.folder, `${name}.outbox`)), actor.outbox);
      if (tab) this.#tabs.set(name, tab);
      const options = {
        url: proxy.url,
        token: () => token(user.id, user.name, tokenSeconds),
        socket: { forceNew: true, ...socket },
        storage: tab || undefined,
        // The storage of a closed tab does not answer.
        onError: error => tab?.isClosed || judge.convict('an error without a caller', name, error?.stack ?? error),
      };
      return (createClient ?? this.client.createClient)(options);
    };
    const random = Random.named(this.seed, name);
    const actor = new Actor({ name, user, judge, random, rooms: user.rooms, open, take, isKept, weights });
    actor.closes = closes || isKept;
    this.actors.push(actor);
    return actor;
  }

  proxy({ name }) { return this.#proxies.get(name); }

  /** Cuts the connections of one client, or now and then of all. Returns whether any was struck. */
  cut() {
    const { random } = this;
    const proxies = random.chance(0.2) ? [...this.#proxies.values()] : [this.proxy(random.pick(this.actors))];
    const kind = random.pick(CUTS), ms = random.between(0, random.chance(0.2) ? 4000 : 1000);
    const struck = proxies.reduce((sum, proxy) => sum + proxy.cut(kind, ms), 0);
    if (struck > 0) this.strikes[kind] += 1;
    return struck > 0;
  }

  /** Gives the connections of one client other delays, and sometimes a low rate. */
  disturb() {
    const { random } = this, proxy = this.proxy(random.pick(this.actors));
    const delay = random.pick([[0, 0], [0, 30], [0, 200], [100, 400]]);
    const bytesPerSecond = random.chance(0.2) ? random.between(20_000, 100_000) : Infinity;
    proxy.shape({ delay, bytesPerSecond }, random.chance(0.7));
  }

  /** Closes a tab without warning, and opens a new one with the same storage. */
  async closeTab(actor = this.random.pick(this.actors.filter(({ closes }) => closes))) {
    this.tabsClosed += 1;
    const tab = this.#tabs.get(actor.name);
    let closed;
    actor.closeTab(() => {
      closed = tab?.close();
      this.proxy(actor).cut('reset');
    });
    await closed;
    await actor.start();
  }

  heal() { for (const proxy of this.#proxies.values()) proxy.heal(); }

  async close() {
    for (const { client } of this.actors) await client?.close();
    for (const proxy of this.#proxies.values()) {
      this.broken += proxy.broken;
      proxy.close();
    }
    await this.gateway.stop();
    await this.files.remove();
  }
}
