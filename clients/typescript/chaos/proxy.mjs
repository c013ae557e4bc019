// A TCP proxy between one client and the gateway, which breaks, silences, delays and throttles
// connections. Each client has its own proxy, so that a fault can strike one client or all.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** How much one direction of a connection holds back before it stops reading. */
const HELD_BYTES = 1 << 20;
const PIECE_BYTES = 512;

/** One direction of a connection: passes bytes on in order, each after a delay, at a limited rate. */
class Pipe {
  #queue = []; #held = 0; #timer; #silent = false; #ended = false; #freeAt = 0;

  constructor(from, to) {
    Object.assign(this, { from, to, delay: 0, bytesPerSecond: Infinity });
    from.on('data', bytes => {
      // A limited rate passes small pieces, so that a cut can strike within a packet.
      const size = this.bytesPerSecond === Infinity ? bytes.length : PIECE_BYTES;
      for (let start = 0; start < bytes.length; start += size) {
        this.#queue.push({ bytes: bytes.subarray(start, start + size), at: Date.now() + this.delay });
      }
      this.#held += bytes.length;
      if (this.#held > HELD_BYTES) from.pause();
      this.#pass();
    });
    to.on('drain', () => this.#pass());
    from.on('end', () => {
      this.#ended = true;
      this.#pass();
    });
  }

  set silent(silent) {
    this.#silent = silent;
    this.#pass();
  }

  #pass() {
    clearTimeout(this.#timer);
    if (this.#silent || this.to.destroyed || this.to.writableEnded) return;
    while (this.#queue.length > 0) {
      if (this.to.writableNeedDrain) return;
      const now = Date.now(), at = Math.max(this.#queue[0].at, this.#freeAt);
      if (at > now) {
        this.#timer = setTimeout(() => this.#pass(), at - now);
        return;
      }
      const { bytes } = this.#queue.shift();
      this.#held -= bytes.length;
      this.#freeAt = now + bytes.length / this.bytesPerSecond * 1000;
      this.to.write(bytes);
    }
    if (this.from.isPaused()) this.from.resume();
    if (this.#ended) this.to.end();
  }

  stop() { clearTimeout(this.#timer); }
}

/** One connection through the proxy. */
class Connection {
  constructor(client, upstream, { up, down, bytesPerSecond }) {
    Object.assign(this, { client, upstream });
    this.up = new Pipe(client, upstream);
    this.down = new Pipe(upstream, client);
    Object.assign(this.up, { delay: up, bytesPerSecond });
    Object.assign(this.down, { delay: down, bytesPerSecond });
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true);
      // A reset by one side resets the other, as without a proxy.
      socket.on('error', () => this.reset());
      socket.on('close', () => this.up.stop());
    }
  }

  reset() {
    for (const socket of [this.client, this.upstream]) {
      if (!socket.destroyed) socket.resetAndDestroy();
    }
    this.up.stop();
    this.down.stop();
  }

  /** Ends both sides in order (FIN); a side that does not answer with its own is reset. */
  finish() {
    this.client.end();
    this.upstream.end();
    setTimeout(() => this.reset(), 1000).unref();
  }
}

/** What `Proxy.cut` can do to connections. */
export const CUTS = ['reset', 'fin', 'silence', 'answers-lost', 'no-network'];

export class Proxy {
  #server; #connections = new Set(); #random; #isDown = false; #settings = {}; #timers = new Set();
  /** Connections that a cut broke so far. */
  broken = 0;

  constructor(target, random) {
    this.target = target;
    this.#random = random;
    // `allowHalfOpen`: the end of one direction passes through the pipe, after what precedes it.
    this.#server = createServer({ allowHalfOpen: true }, client => this.#accept(client));
  }

  /** Starts a proxy in front of `{ host, port }` on a free port of this machine. */
  static async start(target, random) {
    const proxy = new Proxy(target, random);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url() { return `http://127.0.0.1:${this.#server.address().port}`; }
  get size() { return this.#connections.size; }

  /** Shapes the connections accepted from now on, and with `all`, those that exist. Delays are in
   *  milliseconds, `[low, high]`: each connection and direction gets its own, so that what arrives on
   *  two connections is reordered between them. Without settings, nothing is delayed. */
  shape({ delay = [0, 0], bytesPerSecond = Infinity } = {}, all = false) {
    this.#settings = { delay, bytesPerSecond };
    if (!all) return;
    for (const { up, down } of this.#connections) {
      for (const pipe of [up, down]) Object.assign(pipe, { delay: this.#random.between(...delay), bytesPerSecond });
    }
  }

  /** Breaks every connection of this client. Returns how many there were.
   *  - `reset`: RST to both sides; `fin`: an orderly end of both.
   *  - `silence`: nothing passes in either direction for `ms`, while the connection stays open; then it is reset.
   *  - `answers-lost`: what the client sends arrives, nothing comes back for `ms`; then it is reset.
   *  - `no-network`: reset, and no new connection for `ms`. */
  cut(kind, ms = 0) {
    const struck = [...this.#connections];
    this.broken += struck.length;
    const later = act => {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        act();
      }, ms);
      this.#timers.add(timer);
    };
    for (const connection of struck) {
      if (kind === 'fin') connection.finish();
      else if (kind === 'silence' || kind === 'answers-lost') {
        connection.down.silent = true;
        connection.up.silent = kind === 'silence';
        later(() => connection.reset());
      } else connection.reset();
    }
    if (kind === 'no-network') {
      this.#isDown = true;
      later(() => { this.#isDown = false; });
    }
    return struck.length;
  }

  /** Ends all faults: new connections pass unharmed. Connections that are silent are reset at their time. */
  heal() {
    this.#isDown = false;
    this.shape({}, true);
  }

  close() {
    for (const timer of this.#timers) clearTimeout(timer);
    for (const connection of this.#connections) connection.reset();
    this.#server.close();
  }

  #accept(client) {
    if (this.#isDown) {
      client.resetAndDestroy();
      return;
    }
    const { delay = [0, 0], bytesPerSecond = Infinity } = this.#settings;
    const upstream = connect({ ...this.target, allowHalfOpen: true });
    const [up, down] = [this.#random.between(...delay), this.#random.between(...delay)];
    const connection = new Connection(client, upstream, { up, down, bytesPerSecond });
    this.#connections.add(connection);
    client.on('close', () => this.#connections.delete(connection));
  }
}
