// Whether the judge finds anything: the same short scenario with each planted bug, which must be convicted,
// and without one, which must not.
//
//   GATEWAY_BIN=… npm run chaos:controls

import { wait } from './actor.mjs';
import { buildClient } from './client.mjs';
import { gatewayProgram, token } from './gateway.mjs';
import { Judge } from './judge.mjs';
import { BUGS, withBug } from './planted.mjs';
import { Stage } from './stage.mjs';
import { conclude } from './verdict.mjs';

const DEADLINE = 15_000;
/** With a bug, some screens are never up to date. */
const BUG_DEADLINE = 2000;
/** Scenarios that run at the same time. */
const PARALLEL = 10;

const program = gatewayProgram();
const client = await buildClient();
const stage = await Stage.open({ program, client, seed: 1 });

/** Waits until the condition holds. If it `isSure`, the deadline is a failure. */
async function until(what, condition, { isSure = true } = {}) {
  for (const deadline = Date.now() + (isSure ? DEADLINE : BUG_DEADLINE); !condition();) {
    if (Date.now() > deadline) {
      if (isSure) throw new Error(`after ${DEADLINE} ms, still not ${what}`);
      return;
    }
    await wait(10);
  }
}

/** An honest client and one with the bug, in a room of their own. Returns the judge. */
async function scenario(bug, roomId) {
  const judge = new Judge();
  const [one, other] = ['1', '2'].map(n => ({ id: `${roomId}-${n}`, name: `user ${n}`, rooms: [roomId] }));
  await stage.gateway.createRoom(roomId, 'private', [one, other]);
  const name = `${bug?.name ?? 'no bug'}`;
  const honest = await stage.add({ name: `${name}, the other`, user: other, judge });
  const planted = await stage.add({
    name, user: one, judge, isKept: true, createClient: bug && withBug(client.createClient, bug),
  });
  const [there, here] = [honest, planted].map(({ screens }) => screens.get(roomId));
  const newest = () => there.room.messages.getSnapshot().messages.findLast(({ state }) => state === 'stored')?.seq ?? 0;
  /** Sends, and waits until both clients have it all. A bug may send less. */
  const send = async (screen, count) => {
    const before = newest();
    for (let n = 0; n < count; n += 1) screen.send(`${screen.outbox.name} ${screen.count = (screen.count ?? 0) + 1}`);
    await until('sent', () => newest() >= before + count, { isSure: screen === there });
    if (planted.client) await until('received', () => planted.client.room(roomId).info.getSnapshot().seq >= newest());
  };
  await honest.start();
  await send(there, 120);
  await planted.start();
  await until('shown', () => planted.client.room(roomId).messages.getSnapshot().status === 'live');
  await send(here, 8);
  const seq = newest();
  await there.room.react(seq, 'ok');
  await there.room.react(seq, '👀');
  await here.room.react(seq - 1, '👍');
  await there.room.edit(seq - 20, 'edited');
  await send(there, 3);
  await here.navigate('loadOlder');
  await send(there, 10);
  await here.navigate('jumpToLatest');
  await send(there, 4);
  await wait(200);
  if (!bug || bug.load) await loseTab(planted, here);
  const view = user => token(user.id, user.name);
  await conclude({ judge, actors: [honest, planted], url: stage.gateway.url, token: view, deadlineMs: bug ? BUG_DEADLINE : DEADLINE });
  return judge;
}

/** Closes its tab while it cannot send, and opens another. */
async function loseTab(planted, here) {
  stage.proxy(planted).cut('silence', 60_000);
  for (const n of [1, 2, 3]) here.send(`${here.outbox.name}, pending ${n}`);
  await until('kept', () => [...planted.outbox.entries()].slice(-3).every(({ isKept }) => isKept));
  await stage.closeTab(planted);
  await until('online', () => planted.client.connection.getSnapshot().status === 'online');
}

let failures = 0;
const report = (failed, line) => {
  failures += failed;
  console.log(`${failed ? 'FAILED  ' : ''}${line}`);
};
const queue = [undefined, ...BUGS].map((bug, index) => [bug, index + 101]);
await Promise.all(Array.from({ length: PARALLEL }, async () => {
  for (let next; (next = queue.shift());) {
    const [bug, roomId] = next;
    const { found, snapshots, contradictions } = await scenario(bug, roomId);
    const kinds = Object.entries(found).map(([kind, { count }]) => `${kind} (${count})`).join('; ');
    if (bug) report(!(bug.convicts in found), `${bug.name}: ${bug.convicts in found ? 'convicted' : `not convicted of "${bug.convicts}"`}: ${kinds}`);
    else report(contradictions > 0, `no bug: ${snapshots} snapshots, ${contradictions} contradictions ${JSON.stringify(found)}`);
  }
}));
await stage.close();
console.log(`${BUGS.length - failures} of ${BUGS.length} bugs convicted`);
process.exit(failures > 0 ? 1 : 0);
