// A process with a file as its outbox is killed (SIGKILL) again and again while it sends, and started again.
// Every message that the file had is stored once, in the order of sending.
//
//   GATEWAY_BIN=… npm run chaos:killed -- [--rounds N] [--seed N]

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { wait } from './actor.mjs';
import { buildClient } from './client.mjs';
import { Reader } from './ending.mjs';
import { Gateway, gatewayProgram, temporaryFiles, token } from './gateway.mjs';
import { Proxy } from './proxy.mjs';
import { Random } from './random.mjs';

const ROOM = 1;
const DEADLINE = 30_000;

/** The process that is killed: sends without end, or until what was kept is sent, and tells what is kept. */
async function tab(url, path, round, isLast) {
  const { createClient, fileStorage } = await buildClient();
  const storage = fileStorage(path);
  const client = createClient({
    url, token: () => token('1', 'Ada'),
    socket: { transports: ['websocket'] },
    storage: {
      load: () => storage.load(),
      put: entry => storage.put(entry).then(() => console.log(`kept ${entry.content}`)),
      remove: clientMessageId => storage.remove(clientMessageId),
    },
  });
  const room = client.room(ROOM);
  room.messages.subscribe(() => {});
  client.connect();
  for (let n = 1; !isLast; n += 1) {
    room.send(`${round} ${n}`);
    await wait(n % 5 === 0 ? 15 : 0);
  }
  const isOver = () => client.connection.getSnapshot().status === 'online'
    && room.messages.getSnapshot().status === 'live'
    && room.messages.getSnapshot().messages.every(({ state }) => state === 'stored');
  for (let quiet = 0; quiet < 20; quiet = isOver() ? quiet + 1 : 0) await wait(50);
  await client.close();
}

async function run(rounds, seed) {
  const random = Random.named(seed, 'killed');
  const files = await temporaryFiles();
  const gateway = await Gateway.start({
    program: gatewayProgram(), databaseUrl: process.env.DATABASE_URL ?? files.databaseUrl, log: files.log,
  });
  const proxy = await Proxy.start(gateway.target, random);
  proxy.shape({ delay: [5, 30] });
  const kept = [];
  const start = (round, isLast) => {
    const parameters = ['--tab', proxy.url, join(files.folder, 'outbox'), `${round}`, ...isLast ? ['last'] : []];
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), ...parameters], { stdio: ['ignore', 'pipe', 'inherit'] });
    process.on('exit', () => child.kill('SIGKILL'));
    const lines = createInterface({ input: child.stdout });
    lines.on('line', line => { if (line.startsWith('kept ')) kept.push(line.slice(5)); });
    return { child, lines, ended: Promise.all([once(child, 'exit'), once(lines, 'close')]) };
  };
  for (let round = 1; round <= rounds; round += 1) {
    const { child, lines, ended } = start(round, false);
    await once(lines, 'line', { signal: AbortSignal.timeout(DEADLINE) });
    await wait(random.between(50, 800));
    child.kill('SIGKILL');
    await ended;
    proxy.cut('reset');
  }
  const { child, ended } = start(rounds + 1, true);
  const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE);
  await ended;
  clearTimeout(timer);
  const reader = await Reader.connect(gateway.url, token('1', 'Ada'));
  const stored = (await reader.messages(ROOM)).map(({ content }) => content);
  reader.close();
  proxy.close();
  await gateway.stop();
  await files.remove();

  const found = [];
  if (child.exitCode !== 0) found.push(`what was kept was not sent within ${DEADLINE} ms`);
  const places = new Map(stored.map((content, place) => [content, place]));
  if (places.size < stored.length) found.push(`${stored.length - places.size} stored twice`);
  const lost = kept.filter(content => !places.has(content));
  if (lost.length > 0) found.push(`${lost.length} kept, but not stored: ${lost.slice(0, 5).join(', ')}`);
  const sent = stored.map(content => content.split(' ').map(Number));
  const before = ([round, n], [other, m]) => round < other || (round === other && n < m);
  const swapped = sent.findIndex((one, index) => index > 0 && !before(sent[index - 1], one));
  if (swapped > 0) found.push(`stored out of the order of sending: ${stored[swapped]} after ${stored[swapped - 1]}`);
  console.log(`seed ${seed}: killed ${rounds} times; ${kept.length} messages kept, ${stored.length} stored; ${found.length} contradictions`);
  for (const line of found) console.log(`  ${line}`);
  process.exit(found.length === 0 && kept.length > 0 ? 0 : 1);
}

if (process.argv[2] === '--tab') await tab(...process.argv.slice(3, 6), process.argv[6] === 'last');
else {
  const { values } = parseArgs({
    options: { rounds: { type: 'string', default: '3' }, seed: { type: 'string', default: `${Date.now() % 1e6}` } },
  });
  await run(Number(values.rounds), Number(values.seed));
}
