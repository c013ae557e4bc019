// The client under faults, and its screens before the judge:
//
//   GATEWAY_BIN=… npm run chaos -- [--messages N] [--cuts N] [--kills N] [--seed N] [--pace MS]
//
// `DATABASE_URL` names an empty database; without it, a SQLite file is used. Prints the figures and every kind
// of contradiction, and ends with 1 if there is one. All random choices follow from the seed, but the
// interleaving of the processes is not repeated.

import { parseArgs } from 'node:util';
import { wait } from './actor.mjs';
import { buildClient } from './client.mjs';
import { gatewayProgram, token } from './gateway.mjs';
import { CLIENTS, Stage } from './stage.mjs';
import { conclude } from './verdict.mjs';

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '300' }, cuts: { type: 'string', default: '12' },
    kills: { type: 'string', default: '1' }, tabs: { type: 'string' },
    seed: { type: 'string', default: `${Date.now() % 1e6}` }, pace: { type: 'string', default: '120' },
  },
});
const [messages, cuts, kills, seed, pace] = ['messages', 'cuts', 'kills', 'seed', 'pace'].map(name => Number(values[name]));
const tabs = Number(values.tabs ?? Math.ceil(cuts / 5));
/** How long the whole load may make no progress at all. */
const STALL = 60_000;

const stage = await Stage.open({ program: gatewayProgram(), client: await buildClient(), databaseUrl: process.env.DATABASE_URL, seed });

let accepted = 0;
const take = () => accepted < messages && (accepted += 1) > 0;
const isOver = () => accepted >= messages;
for (const client of CLIENTS) await stage.add(client, take);
await Promise.all(stage.actors.map(actor => actor.start()));

/** Strikes so often, spread over the messages. */
async function spread(times, strike) {
  for (let done = 0; done < times;) {
    const due = messages * (done + 0.5) / times;
    for (let seen = accepted, since = Date.now(); accepted < due;) {
      await wait(20);
      if (accepted !== seen) [seen, since] = [accepted, Date.now()];
      if (Date.now() - since > STALL) throw new Error(`no message was accepted for ${STALL} ms`);
    }
    if (await strike() !== false) done += 1;
    else await wait(20);
  }
}

const began = Date.now();
const faults = [
  spread(cuts, () => {
    stage.disturb();
    return stage.cut();
  }),
  spread(kills, () => stage.gateway.killAndRestart(stage.random.between(0, 1000))),
  spread(tabs, () => stage.closeTab()),
];
await Promise.all([...stage.actors.map(actor => actor.act(isOver, pace)), ...faults]);
stage.heal();
const ranMs = Date.now() - began;
const view = user => token(user.id, user.name);
const { judge, actors, gateway } = stage;
const figures = await conclude({ judge, actors, url: gateway.url, token: view, others: stage.history });
await stage.close();

const codes = {};
for (const actor of actors) for (const [code, count] of Object.entries(actor.codes)) codes[code] = (codes[code] ?? 0) + count;
console.log(`seed ${seed}: ${accepted} messages sent by ${actors.length} clients in ${(ranMs / 1000).toFixed(1)} s, ${figures.stored - stage.history.length} stored, `
  + `${judge.lost(false)} lost with tabs that keep nothing, ${judge.lost(true)} before the storage had them, `
  + `${figures.revs} changes of ${figures.changed} messages`);
console.log(`  ${cuts} cuts ${JSON.stringify(stage.strikes)} broke ${stage.broken} connections; ${gateway.kills} kills; ${stage.tabsClosed} tabs closed`);
console.log(`  requests: ${JSON.stringify(codes)}`);
console.log(`  ${judge.snapshots} snapshots, ${judge.paged} of them of paged windows, and ${judge.inboxes} inboxes judged; up to date ${figures.settledMs} ms after the end; `
  + `${judge.contradictions} contradictions`);
for (const [kind, { count, details }] of Object.entries(judge.found)) {
  console.log(`  ${kind}: ${count}`);
  for (const detail of details) console.log(`    ${detail.slice(0, 600)}`);
}
process.exit(judge.contradictions === 0 ? 0 : 1);
