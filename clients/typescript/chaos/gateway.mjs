// A real gateway that can be killed and started again on the same port, its tokens, and its rooms.

import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

const SECRET = '0123456789abcdef0123456789abcdef';
const API_KEY = 'a-key-of-the-server-api-for-tests-0123456789';
const START_DEADLINE = 30_000;

/** Returns a token that the gateway accepts for an hour. */
export function token(user, name, seconds = 3600) {
  const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, name, iat: now, exp: now + seconds })}`;
  return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
}

/** The gateway that a run tests. */
export function gatewayProgram() {
  const program = process.env.GATEWAY_BIN;
  if (program) return program;
  console.error('GATEWAY_BIN is not set: it names the gateway, such as target/debug/chat-gateway');
  process.exit(2);
}

/** A new folder for a SQLite database, the gateway's log, and other files of a run. */
export async function temporaryFiles() {
  const folder = await mkdtemp(join(tmpdir(), 'chat-screen-'));
  return {
    folder, databaseUrl: `sqlite://${join(folder, 'chat.db')}`, log: join(folder, 'gateway.log'),
    remove: () => rm(folder, { recursive: true }),
  };
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export class Gateway {
  #process; #log; #environment;
  kills = 0;

  /** Starts the program on this database (`sqlite://…` or `postgres://…`). Its log goes to the file `log`. */
  static async start({ program, databaseUrl, log, port, environment = {} }) {
    const gateway = new Gateway();
    gateway.program = program;
    gateway.port = port ?? await freePort();
    gateway.#log = createWriteStream(log, { flags: 'a' });
    gateway.#environment = {
      ...process.env, HOST: '127.0.0.1', PORT: `${gateway.port}`, DATABASE_URL: databaseUrl, JWT_SECRET: SECRET,
      API_KEYS: `chaos:${API_KEY}`, MESSAGE_RATE: '0', MAX_CONNECTIONS_PER_USER: '0', LOG_FORMAT: 'json',
      ...environment,
    };
    await gateway.#run();
    return gateway;
  }

  get target() { return { host: '127.0.0.1', port: this.port }; }
  get url() { return `http://127.0.0.1:${this.port}`; }

  async #run() {
    this.#process = spawn(this.program, ['serve'], { env: this.#environment, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process.stdout.pipe(this.#log, { end: false });
    this.#process.stderr.pipe(this.#log, { end: false });
    if (this.kills === 0) process.on('exit', () => this.#process.kill('SIGKILL'));
    const deadline = Date.now() + START_DEADLINE;
    for (;;) {
      const ready = await fetch(`${this.url}/readyz`).then(({ ok }) => ok, () => false);
      if (ready) return;
      if (this.#process.exitCode !== null) throw new Error(`the gateway ended with ${this.#process.exitCode}: see ${this.#log.path}`);
      if (Date.now() > deadline) throw new Error(`the gateway is not ready after ${START_DEADLINE} ms`);
      await wait(20);
    }
  }

  /** Kills the process with SIGKILL, and starts it again after a pause. */
  async killAndRestart(pause = 0) {
    this.kills += 1;
    await this.#end('SIGKILL');
    await wait(pause);
    await this.#run();
  }

  async stop() {
    await this.#end('SIGTERM');
    this.#log.end();
  }

  async #end(signal) {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill(signal);
    await ended;
  }

  /** Calls the server API. */
  async api(method, path, body, type = 'application/json') {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${API_KEY}`, 'content-type': type },
      body: typeof body === 'string' ? body : body && JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** Creates a room with these members. */
  async createRoom(roomId, kind, users) {
    await this.api('PUT', `/rooms/${roomId}`, { kind, name: `room ${roomId}` });
    const members = users.map(({ id, name }) => ({ userId: id, role: 'member', name }));
    await this.api('POST', `/rooms/${roomId}/members`, { members });
  }

  /** Gives a room a history. Returns what identifies its messages. */
  async importHistory(roomId, count) {
    const userId = 'history';
    const ids = Array.from({ length: count }, (_, n) => `${roomId}-${n + 1}`);
    const lines = ids.map((clientMessageId, n) => JSON.stringify({
      userId, clientMessageId, content: `history ${n + 1}`, createdAt: new Date(Date.now() - (count - n) * 1000).toISOString(),
    }));
    await this.api('POST', `/rooms/${roomId}/import`, `${lines.join('\n')}\n`, 'application/x-ndjson');
    return ids.map(clientMessageId => `${userId}/${clientMessageId}`);
  }
}
