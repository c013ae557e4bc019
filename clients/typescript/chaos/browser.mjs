// The same client and the same judge in Chromium: in a page and in a dedicated worker, with IndexedDB, while
// connections are cut and the browser is offline now and then; tabs that are closed with messages pending;
// and how long a machine takes that wakes up.
//
//   GATEWAY_BIN=… npm run chaos:browser -- [--messages N] [--cuts N] [--tabs N] [--wakes N] [--seed N]
//     [--wake-limit MS]
//
// `TEST_CHROMIUM` is the browser (default: /usr/bin/chromium). `DATABASE_URL` names an empty database; without
// it, a SQLite file is used.

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { wait } from './actor.mjs';
import { Browser, servePage } from './chromium.mjs';
import { Reader } from './ending.mjs';
import { Gateway, gatewayProgram, temporaryFiles, token } from './gateway.mjs';
import { CUTS, Proxy } from './proxy.mjs';
import { Random } from './random.mjs';

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '120' }, cuts: { type: 'string', default: '6' }, tabs: { type: 'string', default: '2' },
    wakes: { type: 'string', default: '1' }, seed: { type: 'string', default: `${Date.now() % 1e6}` },
    pace: { type: 'string', default: '100' }, 'wake-limit': { type: 'string', default: '2000' },
  },
});
const [messages, cuts, tabs, wakes, seed, pace] =
  ['messages', 'cuts', 'tabs', 'wakes', 'seed', 'pace'].map(name => Number(values[name]));
/** The longest that a screen may take from the network's return until it is up to date, in ms. */
const wakeLimit = Number(values['wake-limit']);
/** How long the machine sleeps, in ms. Only a long sleep shows in the clock. */
const SLEEP = { offline: 2_000, stopped: 12_000 };
const LONG_MS = 60_000;
const ROOMS = [1, 2, 3];
const [ada, grace] = [{ id: '1', name: 'Ada', rooms: ROOMS }, { id: '2', name: 'Grace', rooms: ROOMS }];

const random = Random.named(seed, 'browser');
const served = await servePage();
const files = await temporaryFiles();
const gateway = await Gateway.start({
  program: gatewayProgram(), databaseUrl: process.env.DATABASE_URL ?? files.databaseUrl, log: files.log, environment: { FRONTEND_URL: served.origin },
});
for (const roomId of ROOMS) await gateway.createRoom(roomId, 'open', [ada, grace]);
const [pageProxy, workerProxy] = await Promise.all(
  ['page', 'worker'].map(name => Proxy.start(gateway.target, Random.named(seed, name))));
const browser = await Browser.launch();
const { context } = browser;

/** Keys of what was sent, other than by the clients that are judged. */
const keys = new Set();
const totals = { snapshots: 0, contradictions: 0, stored: 0, struck: 0, offline: 0, closed: 0 };
const found = [];
let tab = await browser.openTab(served.origin);

// With long-polling, Chromium would use idle connections that died silently while the machine slept: a real
// machine closes them as its network changes. So the last tab uses the client's own transports.
const transportsOf = closed => closed < tabs ? ['polling', 'websocket'] : undefined;
const startPage = saved => tab.scene.start({
  name: 'page', user: ada, url: pageProxy.url, seed: seed + totals.closed, saved,
  transports: transportsOf(totals.closed),
});
async function startWorker() {
  await tab.startWorker();
  await tab.worker.start({ name: 'worker', user: grace, url: workerProxy.url, seed });
}
/** Compares a client with the gateway, and reads what its judge found. It then ends. */
async function judge(scene) {
  const { stored } = await scene.conclude({ url: gateway.url, others: [...keys] });
  totals.stored = stored;
  for (const key of (await scene.outbox()).keys) keys.add(key);
}
async function collect(name, scene) {
  const { snapshots, contradictions, found: kinds } = await scene.verdict();
  totals.snapshots += snapshots;
  totals.contradictions += contradictions;
  for (const [kind, { count, details }] of Object.entries(kinds)) found.push(`${name}: ${kind} (${count})`, ...details.map(detail => `  ${detail}`));
}

await startPage();
await startWorker();

// Both act while their connections are cut, and the whole browser is offline now and then.
let isOver = false;
const acting = Promise.all([tab.scene, tab.worker].map(scene => scene.act(messages / 2, pace))).finally(() => { isOver = true; });
async function strike() {
  while (!isOver || totals.struck < cuts) {
    await wait(random.between(100, 600));
    if (totals.struck >= 4 * totals.offline + 2) {
      totals.offline += 1;
      await context.setOffline(true);
      await wait(random.between(100, 1000));
      await context.setOffline(false);
    }
    if (random.pick([pageProxy, workerProxy]).cut(random.pick(CUTS), random.between(0, 800)) > 0) totals.struck += 1;
  }
}
await Promise.all([acting, strike()]);
for (const scene of [tab.scene, tab.worker]) {
  for (const key of (await scene.outbox()).keys) keys.add(key);
}
await judge(tab.worker);
await collect('worker', tab.worker);

// A tab is closed with messages pending: they never left it, or their answers never arrived. A new tab sends
// what is not stored.
for (; totals.closed < tabs;) {
  await judge(tab.scene);
  pageProxy.cut(totals.closed % 2 === 0 ? 'silence' : 'answers-lost', LONG_MS);
  const contents = [1, 2, 3, 4, 5].map(n => `page, closed tab ${totals.closed + 1}, message ${n}`);
  assert.deepEqual((await tab.scene.sendKept(1, contents)).slice(-contents.length), contents);
  const { saved } = await tab.scene.outbox();
  await collect(`page, tab ${totals.closed + 1}`, tab.scene);
  await tab.page.close({ runBeforeUnload: false });
  totals.closed += 1;
  // Chromium would use what is left of its connections in the next tab.
  pageProxy.cut('reset');
  tab = await browser.openTab(served.origin);
  await startPage(saved);
  await tab.scene.online();
}
await judge(tab.scene);

// The machine sleeps: its connections die silently while the browser is offline, or its processes are stopped.
if (tabs > 0) await startWorker();
const sender = await Reader.connect(gateway.url, token('3', 'Barbara'));
await sender.call('joinRoom', { roomId: 1 });
const slept = {};
async function sleepAndWake(how) {
  const scenes = { page: tab.scene, worker: tab.worker };
  for (const scene of Object.values(scenes)) await scene.follow(1);
  for (const proxy of [pageProxy, workerProxy]) proxy.cut('silence', LONG_MS);
  if (how === 'offline') await context.setOffline(true);
  const goOn = how === 'offline' ? () => context.setOffline(false) : await browser.stop();
  let seq;
  for (let n = 0; n < 60; n += 1) {
    const clientMessageId = `asleep-${keys.size}`;
    keys.add(`3/${clientMessageId}`);
    ({ message: { seq } } = await sender.call('sendMessage', { roomId: 1, content: clientMessageId, clientMessageId }));
  }
  await wait(SLEEP[how]);
  const back = Date.now();
  await goOn();
  await Promise.all(Object.entries(scenes).map(async ([name, scene]) => {
    (slept[`${name}, ${how}`] ??= []).push(await scene.upToDate(1, seq) - back);
  }));
}
for (let n = 0; n < wakes; n += 1) {
  await sleepAndWake('offline');
  await sleepAndWake('stopped');
}
await judge(tab.scene);
await judge(tab.worker);
await collect('page, the last tab', tab.scene);
await collect('worker, after sleeping', tab.worker);

sender.close();
await browser.close();
for (const proxy of [pageProxy, workerProxy]) proxy.close();
await gateway.stop();
served.close();
await files.remove();

console.log(`seed ${seed}: ${totals.stored} messages stored, in a page and a worker; ${totals.struck} cuts, offline ${totals.offline} times, `
  + `${totals.closed} tabs closed with messages pending`);
console.log(`  ${totals.snapshots} snapshots judged; ${totals.contradictions} contradictions`);
console.log(`  ms from waking up until up to date: ${JSON.stringify(slept)}`);
for (const line of found) console.log(`  ${line.slice(0, 600)}`);
const slow = Object.values(slept).flat().filter(ms => ms >= wakeLimit);
if (slow.length > 0) console.log(`  ${slow.length} times, a screen took ${wakeLimit} ms or more after waking up`);
for (const error of browser.errors) console.log(`  an error in a page: ${error}`);
process.exit(totals.contradictions + slow.length + browser.errors.length === 0 ? 0 : 1);
