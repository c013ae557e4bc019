// Chromium with a page that has the client, its judge (scene.mjs), and a worker that has the same.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { token } from './gateway.mjs';

// That of the gateway's tests.
const { chromium } = createRequire(new URL('../../../crates/gateway/tests/clients/', import.meta.url))('playwright-core');

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];
/** How long a call into the page may take. */
const DEADLINE = 90_000;

/** Serves the page, its script and its tokens. */
export async function servePage() {
  const { outputFiles: [{ text }] } = await build({
    entryPoints: [fileURLToPath(new URL('scene.mjs', import.meta.url))],
    bundle: true, write: false, format: 'iife', platform: 'browser', target: 'es2022', logLevel: 'warning',
  });
  const answers = {
    '/': () => ['text/html', '<!doctype html><link rel="icon" href="data:,"><title>chaos</title><script src="/scene.js"></script>'],
    '/scene.js': () => ['text/javascript', text],
    '/token': parameters => ['text/plain', token(parameters.get('user'), parameters.get('name'))],
  };
  const server = createServer(({ url }, response) => {
    const { pathname, searchParams } = new URL(url, 'http://page');
    const answer = answers[pathname]?.(searchParams);
    response.writeHead(answer ? 200 : 404, { 'content-type': answer?.[0] ?? 'text/plain' }).end(answer?.[1]);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

export class Browser {
  /** Errors that no code of a page caught. */
  errors = [];

  static async launch() {
    const browser = new Browser();
    browser.process = await chromium.launch({ executablePath: process.env.TEST_CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
    browser.context = await browser.process.newContext();
    browser.session = await browser.process.newBrowserCDPSession();
    return browser;
  }

  /** Opens a tab. Returns it with what calls into the page, and into its worker. */
  async openTab(origin) {
    const page = await this.context.newPage();
    page.on('pageerror', error => this.errors.push(error.message));
    await page.goto(origin);
    const calls = object => new Proxy({}, {
      // Not a promise: it has no `then`.
      get: (_, method) => method === 'then' ? undefined : (...parameters) => within(method, page.evaluate(
        ([object, method, parameters]) => globalThis[object][method](...parameters), [object, method, parameters])),
    });
    return { page, scene: calls('scene'), worker: calls('workerScene'), startWorker: () => page.evaluate(() => globalThis.startWorker()) };
  }

  /** Stops the processes of all pages, as a machine that sleeps does. Returns a function that lets them go on. */
  async stop() {
    const { processInfo } = await this.session.send('SystemInfo.getProcessInfo');
    const renderers = processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id);
    for (const id of renderers) process.kill(id, 'SIGSTOP');
    return () => { for (const id of renderers) process.kill(id, 'SIGCONT'); };
  }

  close() { return this.process.close(); }
}

async function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${DEADLINE} ms`)), DEADLINE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
