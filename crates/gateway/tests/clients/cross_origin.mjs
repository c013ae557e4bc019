// Pages of other origins, and the browser's rules for them: CORS for long-polling, the
// gateway's own check for WebSockets. Says on standard output which origin the gateway
// is to allow, and reads on standard input where it is.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { launch } from './browser.mjs';
import { ada } from './environment.mjs';

const client = await readFile(new URL('node_modules/socket.io-client/dist/socket.io.js', import.meta.url));
const servers = [];
const browser = await launch();
try {
  const [allowed, other] = [await serveSite(), await serveSite()];
  console.log(`the allowed origin is ${allowed}`);
  const gateway = await new Promise(resolve => createInterface(process.stdin).once('line', resolve));

  for (const [name, options, preflight] of [
    ['polling', { transports: ['polling'], auth: { token: ada.token } }, false],
    ['websocket', { transports: ['websocket'], auth: { token: ada.token } }, false],
    ['the upgrade', { auth: { token: ada.token }, withCredentials: true }, false],
    ['a header and cookies', {
      transports: ['polling'], withCredentials: true, extraHeaders: { Authorization: `Bearer ${ada.token}` },
    }, true],
  ]) {
    assert.deepEqual(await outcome(allowed, gateway, options), { life: 'connected', reply: 1, preflight }, name);
    const refused = await outcome(other, gateway, options);
    assert.match(refused.life, /^(xhr poll|websocket) error$/, name);
    // A name of the same machine is another origin too.
    const twin = allowed.replace('127.0.0.1', 'localhost');
    assert.match((await outcome(twin, gateway, options)).life, /^(xhr poll|websocket) error$/, name);
  }
} finally {
  await browser.close();
  for (const server of servers) server.close();
  process.stdin.destroy();
}

/** Serves an empty page and the client's bundle; the site's origin. */
async function serveSite() {
  const server = createServer((request, response) => {
    const isScript = request.url === '/socket.io.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? client : '<!doctype html><link rel="icon" href="data:,"><script src="/socket.io.js"></script>');
  });
  servers.push(server);
  await new Promise(resolve => server.listen(0, resolve));
  return `http://127.0.0.1:${server.address().port}`;
}

/** What a page of this origin gets when it connects with these options, joins a room, and sends. */
async function outcome(origin, gateway, options) {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    let preflight = false;
    const devtools = await context.newCDPSession(page);
    devtools.on('Network.requestWillBeSent', ({ request }) => { preflight ||= request.method === 'OPTIONS'; });
    await devtools.send('Network.enable');
    await page.goto(origin);
    const { life, reply } = await page.evaluate(connect, [gateway, options]);
    return { life, reply, preflight };
  } finally {
    await context.close();
  }
}

/** Runs in the page. */
async function connect([gateway, options]) {
  const socket = globalThis.io(gateway, { reconnection: false, ...options });
  const life = await new Promise(resolve => {
    socket.on('connect', () => resolve('connected'));
    socket.on('connect_error', ({ message }) => resolve(message));
  });
  if (life !== 'connected') return { life };
  const roomId = Math.ceil(Math.random() * 1e12);
  const patient = socket.timeout(10_000);
  await patient.emitWithAck('joinRoom', { roomId });
  const { message } = await patient.emitWithAck('sendMessage', { roomId, content: 'from a page' });
  socket.disconnect();
  return { life, reply: message.seq };
}
