// The end of a run: waits until every screen equals what is stored, and convicts what does not.

import { differences, inboxDifferences, readAll } from './ending.mjs';
import { wait } from './actor.mjs';

/** How long screens may take until they are up to date, once the network is quiet. */
const DEADLINE_MS = 30_000;

/** Ends a run whose actors no longer act: discards, waits, reads and judges. `token(user)` returns a token.
 *  Returns figures: `settledMs` is how long it took until every screen was up to date. */
export async function conclude({ judge, actors, url, token, deadlineMs = DEADLINE_MS, others }) {
  const began = Date.now(), deadline = began + deadlineMs;
  await Promise.all(actors.map(actor => actor.finish(deadline)));
  const users = [...new Map(actors.map(({ user }) => [user.id, user])).values()];
  let views, found, isMissing;
  do {
    views = await readAll(url, users, token);
    found = actors.flatMap(actor => compare(actor, views.get(actor.user.id)));
    isMissing = actors.some(({ outbox, user }) => outbox.missing(views.get(user.id).rooms).length > 0);
    if (found.length > 0 || isMissing) await wait(100);
  } while ((found.length > 0 || isMissing) && Date.now() < deadline);
  const settledMs = Date.now() - began;
  for (const [kind, where, detail] of found) judge.convict(kind, where, detail);
  const truth = new Map(users.flatMap(({ id }) => [...views.get(id).rooms]));
  judge.settle(truth, others);
  const messages = [...truth.values()].flat();
  return {
    settledMs, stored: messages.length,
    changed: messages.filter(({ rev }) => rev).length,
    revs: [...truth.values()].reduce((sum, room) => sum + Math.max(0, ...room.map(({ rev }) => rev ?? 0)), 0),
  };
}

function compare({ name, client, screens }, { rooms, inbox }) {
  const found = inboxDifferences(client.inbox.getSnapshot(), inbox).map(([kind, detail]) => [kind, name, detail]);
  for (const screen of screens.values()) {
    for (const [kind, detail] of differences(screen, rooms.get(screen.roomId))) found.push([kind, screen.where, detail]);
    const { seq, readSeq, unread } = screen.room.info.getSnapshot();
    const { seq: newest, readSeq: read, unread: left } = inbox.rooms.find(({ roomId }) => roomId === screen.roomId);
    if (seq !== newest || readSeq !== read || unread !== left) {
      found.push(['info differs from listRooms', screen.where, `${seq}, ${readSeq}, ${unread}, not ${newest}, ${read}, ${left}`]);
    }
    if (screen.isAttached && screen.last.snapshot !== screen.room.messages.getSnapshot()) {
      found.push(['changed without a notification', screen.where, 'the snapshot is not the last one shown']);
    }
  }
  return found;
}
