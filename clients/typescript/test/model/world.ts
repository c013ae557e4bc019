// Clients, the gateway and what happens to them, in virtual time.

import { expect, vi } from 'vitest';
import { createClient } from '../../src/client.js';
import type { ChatClient, OutboxStorage, StoredSend } from '../../src/index.js';
import { Gateway } from './gateway.js';
import { judgeEnd, judgeInbox, RoomJudge } from './judge.js';
import { Network, tokenOf } from './network.js';
import { createRandom, type Random } from './random.js';

export const ROOMS = [1, 2];
/** Two tabs of one user, and another user. */
export const USERS = ['ada', 'ada', 'bob'];

export type Step =
  | { do: 'wait'; ms: number }
  | { do: 'send'; who: number; room: number; text?: string }
  | { do: 'post'; room: number; count: number }
  | { do: 'react' | 'reactElsewhere'; who: number; room: number; back: number; on: boolean }
  | { do: 'edit' | 'delete'; who: number; room: number; back: number }
  | { do: 'editByAuthor' | 'deleteByProduct' | 'erase'; room: number; back: number }
  | { do: 'cut'; who: number; noticed: boolean }
  | { do: 'kill'; ms: number }
  | { do: 'expire' }
  | { do: 'faults'; refusals: number; silence: number }
  | { do: 'latency'; ms: number }
  | { do: 'older' | 'newer' | 'latest'; who: number; room: number }
  | { do: 'jump'; who: number; room: number; share: number }
  | { do: 'hide' | 'show'; who: number; room: number }
  | { do: 'read'; who: number; room: number }
  | { do: 'ban' | 'unban'; room: number }
  | { do: 'close'; room: number }
  | { do: 'member' | 'nonmember'; who: number; room: number }
  | { do: 'restart'; who: number };

class MemoryStorage implements OutboxStorage {
  readonly entries = new Map<string, StoredSend>();
  constructor(readonly random: Random) {}

  async #soon<T>(run: () => T): Promise<T> {
    await new Promise((resolve) => setTimeout(resolve, this.random.below(30)));
    return run();
  }
  load = () => this.#soon(() => [...this.entries.values()]);
  put = (entry: StoredSend) => this.#soon(() => void this.entries.set(entry.clientMessageId, structuredClone(entry)));
  remove = (id: string) => this.#soon(() => void this.entries.delete(id));
}

interface Tab {
  user: string;
  storage: MemoryStorage;
  client: ChatClient;
  shown: Map<number, () => void>;
  judges: Map<number, RoomJudge>;
  isOpen: boolean;
}

export class World {
  readonly random: Random;
  readonly gateway: Gateway;
  readonly network: Network;
  readonly tabs: Tab[] = [];
  /** What was sent, by room and client, in the order of sending; and what may be lost. */
  readonly sent: { who: number; room: number; text: string; id: string }[] = [];
  readonly mayBeLost = new Set<string>();
  readonly errors: unknown[] = [];
  #texts = 0;
  #closed = new Set<number>();

  constructor(seed: number, replay: number) {
    this.random = createRandom(seed);
    vi.spyOn(Math, 'random').mockImplementation(createRandom(seed + 1).next); // the clients' jitter
    this.gateway = new Gateway(this.random);
    this.gateway.limits.replay = replay;
    this.network = new Network(this.gateway);
    for (const who of USERS.keys()) this.#open(who, new MemoryStorage(this.random));
  }

  #open(who: number, storage: MemoryStorage): void {
    const user = USERS[who] as string;
    const tab: Tab = { user, storage, shown: new Map(), judges: new Map(), isOpen: true, client: undefined as never };
    const guarded: OutboxStorage = {
      load: () => storage.load(),
      put: async (entry) => void (tab.isOpen && (await storage.put(entry))),
      remove: async (id) => void (tab.isOpen && (await storage.remove(id))),
    };
    tab.client = createClient({
      url: 'fake:',
      token: () => tokenOf(user),
      storage: guarded,
      onError: (error) => this.errors.push(error),
    });
    this.tabs[who] = tab;
    for (const room of ROOMS) this.#show(tab, who, room);
    tab.client.inbox.subscribe(() => {});
    tab.client.connect();
  }

  #show(tab: Tab, who: number, room: number): void {
    if (tab.shown.has(room)) return;
    const judge = tab.judges.get(room) ?? new RoomJudge(`client ${who}, room ${room}`);
    tab.judges.set(room, judge);
    const { messages } = tab.client.room(room);
    const look = () => {
      try {
        judge.look(messages.getSnapshot());
      } catch (error) {
        this.errors.push(error);
      }
    };
    tab.shown.set(room, messages.subscribe(look));
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      this.#do(step);
      await vi.advanceTimersByTimeAsync(this.random.below(120));
      if (step.do === 'wait') await vi.advanceTimersByTimeAsync(step.ms);
    }
    await this.#settle();
  }

  #do(step: Step): void {
    const { gateway } = this;
    const tab = 'who' in step ? (this.tabs[step.who] as Tab) : undefined;
    const room = 'room' in step ? tab?.client.room(step.room) : undefined;
    const model = 'room' in step ? gateway.room(step.room) : undefined;
    const seq = 'back' in step && model ? Math.max(1, model.seq - step.back) : 1;
    const touch = () => 'room' in step && gateway.touch(step.room);
    switch (step.do) {
      case 'send': {
        const text = step.text ?? `${step.who}: ${++this.#texts}`;
        const id = room?.send(text) as string;
        if (!step.text) this.sent.push({ who: step.who, room: step.room, text, id });
        break;
      }
      case 'post':
        for (let i = 0; i < step.count; i++) gateway.post(step.room, 'bot', `post ${++this.#texts}`);
        break;
      case 'react':
        void room?.react(seq, 'x', step.on);
        break;
      case 'reactElsewhere':
        model?.react(seq, tab?.user as string, ['x', 'y'][seq % 2] as string, step.on);
        touch();
        break;
      case 'edit':
        void room?.edit(seq, `edit ${++this.#texts}`);
        break;
      case 'delete':
        void room?.delete(seq);
        break;
      case 'editByAuthor':
        model?.edit(seq, model.messages[seq - 1]?.userId as string, `edit ${++this.#texts}`);
        touch();
        break;
      case 'deleteByProduct':
        model?.delete(seq, 'bot');
        touch();
        break;
      case 'erase':
        // An erased message has no id any more: a repeat would be stored again.
        if (!this.#isUnanswered(model?.messages[seq - 1]?.clientMessageId)) model?.erase(seq);
        touch();
        break;
      case 'cut':
        for (const socket of [...this.network.sockets]) {
          if (socket.user === tab?.user && this.random.chance(0.6)) socket.cut(step.noticed);
        }
        break;
      case 'kill':
        gateway.isUp = false;
        this.network.cutAll();
        setTimeout(() => (gateway.isUp = true), step.ms);
        break;
      case 'expire':
        gateway.expiredBefore = Date.now();
        for (const socket of this.network.sockets) socket.expire();
        break;
      case 'faults':
        Object.assign(gateway.faults, { refusals: step.refusals, silence: step.silence });
        break;
      case 'latency':
        this.network.latency = step.ms;
        break;
      case 'older':
        void room?.messages.loadOlder();
        break;
      case 'newer':
        void room?.messages.loadNewer();
        break;
      case 'latest':
        void room?.messages.jumpToLatest();
        break;
      case 'jump':
        void room?.messages.jumpTo(Math.max(1, Math.ceil((model?.seq ?? 0) * step.share)));
        break;
      case 'hide':
        tab?.shown.get(step.room)?.();
        tab?.shown.delete(step.room);
        tab?.judges.get(step.room)?.hidden();
        break;
      case 'show':
        this.#show(tab as Tab, step.who, step.room);
        break;
      case 'read':
        void room?.markRead();
        break;
      case 'ban':
        gateway.ban(step.room, 'ada');
        break;
      case 'unban':
        model?.banned.delete('ada');
        break;
      case 'close':
        gateway.close(step.room);
        this.#closed.add(step.room);
        break;
      case 'member':
        gateway.addMember(step.room, tab?.user as string);
        break;
      case 'nonmember':
        gateway.removeMember(step.room, tab?.user as string, 'removed');
        break;
      case 'restart': {
        const old = tab as Tab;
        for (const { who, id } of this.sent) if (who === step.who && !old.storage.entries.has(id)) this.mayBeLost.add(id);
        old.isOpen = false;
        void old.client.close();
        this.#open(step.who, old.storage);
        break;
      }
    }
  }

  #isUnanswered(id: string | undefined): boolean {
    return this.tabs.some(({ client, storage }) =>
      storage.entries.has(id as string) ||
      ROOMS.some((room) => client.room(room).messages.getSnapshot().messages.some((m) => m.state !== 'stored' && m.clientMessageId === id)),
    );
  }

  /** Heals everything, waits, and judges. */
  async #settle(): Promise<void> {
    Object.assign(this.gateway.faults, { refusals: 0, silence: 0 });
    this.network.latency = 100;
    this.gateway.isUp = true;
    for (const room of this.gateway.rooms.values()) room.banned.delete('ada');
    await vi.advanceTimersByTimeAsync(100_000);
    // A client that was refused joins again on its next connection.
    this.network.cutAll();
    await vi.advanceTimersByTimeAsync(1_000);
    for (const [who, tab] of this.tabs.entries()) for (const room of ROOMS) this.#show(tab, who, room);
    await vi.advanceTimersByTimeAsync(100_000);
    expect(this.errors).toEqual([]);
    for (const [who, tab] of this.tabs.entries()) {
      for (const roomId of ROOMS) {
        const snapshot = tab.client.room(roomId).messages.getSnapshot();
        judgeEnd(`client ${who}, room ${roomId}`, tab.user, snapshot, this.gateway.room(roomId));
      }
      judgeInbox(`client ${who}`, tab.user, tab.client.inbox.getSnapshot(), this.gateway);
    }
    this.#judgeSent();
  }

  #judgeSent(): void {
    for (const room of ROOMS) {
      if (this.#closed.has(room)) continue;
      for (const who of USERS.keys()) {
        const mine = this.sent.filter((it) => it.who === who && it.room === room);
        const failed = new Set(
          this.tabs[who]?.client.room(room).messages.getSnapshot().messages.filter((m) => m.state === 'failed').map((m) => m.clientMessageId),
        );
        const places = mine.map(({ id }) => this.gateway.stored.filter((it) => it.room === room && it.id === id).length);
        mine.forEach(({ id, text }, index) => {
          expect(places[index], `${text} is stored once`).toBeLessThanOrEqual(1);
          if (!this.mayBeLost.has(id) && !failed.has(id)) expect(places[index], `${text} is stored`).toBe(1);
        });
        const order = this.gateway.stored.filter((it) => it.room === room && mine.some(({ id }) => id === it.id)).map(({ id }) => id);
        expect(order, `client ${who}, room ${room}: the order of sending`).toEqual(mine.map(({ id }) => id).filter((id) => order.includes(id)));
      }
    }
  }

  async close(): Promise<void> {
    for (const tab of this.tabs) void tab.client.close();
    await vi.advanceTimersByTimeAsync(100_000);
    // Closed clients leave no timer.
    expect(vi.getTimerCount()).toBe(0);
  }
}
