// Pages of other origins connect only if their origin is allowed: by the browser's CORS check
// for long-polling, by the gateway's own check for WebSockets. The program prints the origin
// that the gateway must allow, and reads the gateway's URL from standard input.

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
    assert.deepEqual(await outcome(allowed, gateway, options), { state: 'connected', seq: 1, preflight }, name);
    const refused = await outcome(other, gateway, options);
    assert.match(refused.state, /^(xhr poll|websocket) error$/, name);
    // Another name of the same host is another origin.
    const alias = allowed.replace('127.0.0.1', 'localhost');
    assert.match((await outcome(alias, gateway, options)).state, /^(xhr poll|websocket) error$/, name);
  }
} finally {
  await browser.close();
  for (const server of servers) server.close();
  process.stdin.destroy();
}

/** Serves an empty page and the client's bundle, and returns the site's origin. */
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

/** Opens a page of this origin that connects with these options, joins a room and sends a message. */
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
    const { state, seq } = await page.evaluate(connect, [gateway, options]);
    return { state, seq, preflight };
  } finally {
    await context.close();
  }
}

/** Runs in the page. */
async function connect([gateway, options]) {
  const socket = globalThis.io(gateway, { reconnection: false, ...options });
  const state = await new Promise(resolve => {
    socket.on('connect', () => resolve('connected'));
    socket.on('connect_error', ({ message }) => resolve(message));
  });
  if (state !== 'connected') return { state };
  const roomId = Math.ceil(Math.random() * 1e12);
  const withDeadline = socket.timeout(10_000);
  await withDeadline.emitWithAck('joinRoom', { roomId });
  const { message } = await withDeadline.emitWithAck('sendMessage', { roomId, content: 'from a page' });
  socket.disconnect();
  return { state, seq: message.seq };
}
