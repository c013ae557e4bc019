// The network between clients and the gateway, in place of socket.io-client: packets arrive in order
// and late, and connections break at any moment, noticed or not.

import { Connection, type Gateway } from './gateway.js';

type Listener = (...args: any[]) => void;

export class Network {
  readonly sockets = new Set<FakeSocket>();
  /** In ms, for each way. */
  latency = 100;

  constructor(readonly gateway: Gateway) {}

  open(options: { auth: { token: string } }): FakeSocket {
    return new FakeSocket(this, options.auth.token);
  }

  cutAll(isNoticed = true): void {
    for (const socket of [...this.sockets]) socket.cut(isNoticed);
  }
}

/** Packets of one direction: in order, each after a delay of its own. */
class Way {
  #at = 0;
  isOpen = true;

  constructor(readonly network: Network) {}

  send(arrive: () => void): void {
    const { random } = this.network.gateway;
    this.#at = Math.max(this.#at, Date.now() + random.below(this.network.latency));
    setTimeout(() => this.isOpen && arrive(), this.#at - Date.now());
  }
}

export class FakeSocket {
  active = true;
  connected = false;
  readonly #listeners = new Map<string, Set<Listener>>();
  readonly #any = new Set<Listener>();
  readonly #up: Way;
  readonly #down: Way;
  #server: Connection | undefined;

  constructor(readonly network: Network, readonly token: string) {
    this.#up = new Way(network);
    this.#down = new Way(network);
  }

  get user(): string {
    return claims(this.token).sub;
  }

  on(event: string, listener: Listener): this {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return this;
  }

  onAny(listener: Listener): this {
    this.#any.add(listener);
    return this;
  }

  off(): this {
    this.#listeners.clear();
    return this;
  }

  offAny(): this {
    this.#any.clear();
    return this;
  }

  connect(): this {
    const { gateway } = this.network;
    this.network.sockets.add(this);
    this.#up.send(() => {
      if (!gateway.isUp) return this.#down.send(() => this.#fail('xhr poll error', true));
      if (claims(this.token).issued < gateway.expiredBefore) return this.#down.send(() => this.#fail('token_expired', false));
      this.#server = new Connection(
        gateway,
        this.user,
        (event, payload) => {
          const copy = structuredClone(payload);
          this.#down.send(() => this.#event(event, copy));
        },
        () => this.cut(true),
      );
      this.#down.send(() => {
        this.connected = true;
        this.#fire('connect');
      });
    });
    return this;
  }

  emit(event: string, payload: unknown, ack: (answer: unknown) => void): this {
    const copy = structuredClone(payload) as Record<string, unknown>;
    this.#up.send(() => this.#server?.receive(event, copy, (answer) => this.#down.send(() => ack(answer))));
    return this;
  }

  disconnect(): this {
    this.active = false;
    this.#close();
    return this;
  }

  /** What is on its way is lost. The client learns of it soon, or only as pings stay away. */
  cut(isNoticed: boolean): void {
    this.#close();
    const { random } = this.network.gateway;
    const ms = isNoticed ? random.below(200) : 20_000 + random.below(25_000);
    setTimeout(() => this.#fire(this.connected ? 'disconnect' : 'connect_error', new Error('cut')), ms);
  }

  expire(): void {
    this.#down.send(() => {
      this.#event('error', { message: 'expired', code: 'token_expired', retryable: false });
      this.cut(true);
    });
  }

  #fail(message: string, active: boolean): void {
    this.active = active;
    this.#fire('connect_error', new Error(message));
  }

  #close(): void {
    this.#up.isOpen = this.#down.isOpen = false;
    this.#server?.end();
    this.network.sockets.delete(this);
  }

  #event(event: string, payload: unknown): void {
    for (const listener of [...this.#any]) listener(event, payload);
    this.#fire(event, payload);
  }

  #fire(event: string, ...args: unknown[]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(...args);
  }
}

/** Returns a token of the fake gateway. It expires for the gateway when a test says so. */
export function tokenOf(sub: string, more: object = {}): string {
  return `header.${btoa(JSON.stringify({ sub, name: sub, issued: Date.now(), ...more }))}.signature`;
}

function claims(token: string): { sub: string; issued: number } {
  return JSON.parse(atob(token.split('.')[1] ?? ''));
}
