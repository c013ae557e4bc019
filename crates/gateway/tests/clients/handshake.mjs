// Who npm's socket.io-client is let in as, and what it is told when it is not.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ada, grace, variable } from './environment.mjs';
import { Client, newRoom } from './harness.mjs';

const nobody = {};
const expired = variable('TOKEN_EXPIRED');
/** Ada's claims under the signature of Grace's. */
const forged = [...ada.token.split('.').slice(0, 2), grace.token.split('.')[2]].join('.');

const PLACES = {
  auth: token => ({ auth: { token } }),
  'the Authorization header': token => ({ extraHeaders: { Authorization: token } }),
  'the query': token => ({ query: { token } }),
};
const OUTCOMES = [
  [`Bearer ${ada.token}`, 'connect'],
  [`bEARER ${ada.token}`, 'connect'],
  [ada.token, 'connect'],
  [`Bearer ${expired}`, 'connect_error: token_expired'],
  [`Bearer ${forged}`, 'connect_error: token_invalid'],
  ['Bearer', 'connect_error: token_invalid'],
  ['gibberish', 'connect_error: token_invalid'],
];

/** The first thing that happens to a client that connects with these options. */
async function outcome(t, options) {
  const client = new Client(nobody, options);
  t.after(() => client.close());
  return client.until('let in or refused', () => client.life[0]);
}

for (const transports of [['polling', 'websocket'], ['websocket'], ['polling']]) {
  for (const [place, options] of Object.entries(PLACES)) {
    test(`a token in ${place} decides, over ${transports}`, async t => {
      for (const [token, expected] of OUTCOMES) {
        assert.equal(await outcome(t, { transports, ...options(token) }), expected, token);
      }
    });
  }

  test(`no token at all is told so, over ${transports}`, async t => {
    assert.equal(await outcome(t, { transports }), 'connect_error: token_missing');
    assert.equal(await outcome(t, { transports, auth: { token: null } }), 'connect_error: token_missing');
  });

  test(`the first place that holds a token decides alone, over ${transports}`, async t => {
    const query = { token: ada.token };
    const extraHeaders = { Authorization: `Bearer ${ada.token}` };
    const wrong = 'connect_error: token_invalid';
    for (const token of [forged, '', 7, false, {}]) {
      assert.equal(await outcome(t, { transports, auth: { token }, extraHeaders, query }), wrong, `${token}`);
    }
    assert.equal(await outcome(t, { transports, extraHeaders: { Authorization: forged }, query }), wrong);
    assert.equal(await outcome(t, { transports, auth: { token: null }, query }), 'connect');
  });

  test(`who was refused gets in with a better token, over ${transports}`, async t => {
    const client = new Client({ token: expired }, { transports });
    t.after(() => client.close());
    // Written by an application that does not wait: none of it takes place.
    const roomId = newRoom();
    client.socket.emit('joinRoom', { roomId });
    await client.until('refused', () => client.life.length === 1);
    assert.equal(client.socket.active, false);
    assert.deepEqual(client.events, []);

    client.socket.auth = { token: ada.token };
    client.socket.connect();
    await client.until('let in', () => client.socket.connected);
    assert.deepEqual(client.life, ['connect_error: token_expired', 'connect']);
    await client.join(roomId);
    assert.equal((await client.send(roomId, 'at last')).userId, ada.id);
  });
}
