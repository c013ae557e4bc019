// Which tokens npm's socket.io-client may connect with, and how the others are refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ada, grace, variable } from './environment.mjs';
import { Client, newRoom } from './harness.mjs';

const noToken = {};
const expired = variable('TOKEN_EXPIRED');
/** Ada's claims with the signature of Grace's token. */
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

/** Connects with these options and returns the first state of the connection. */
async function outcome(t, options) {
  const client = new Client(noToken, options);
  t.after(() => client.close());
  return client.until('a connection or a refusal', () => client.states[0]);
}

for (const transports of [['polling', 'websocket'], ['websocket'], ['polling']]) {
  for (const [place, options] of Object.entries(PLACES)) {
    test(`a token in ${place} decides, over ${transports}`, async t => {
      for (const [token, expected] of OUTCOMES) {
        assert.equal(await outcome(t, { transports, ...options(token) }), expected, token);
      }
    });
  }

  test(`a missing token is refused with token_missing, over ${transports}`, async t => {
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

  test(`a refused client connects with a valid token, over ${transports}`, async t => {
    const client = new Client({ token: expired }, { transports });
    t.after(() => client.close());
    // The application does not wait for the connection. The refusal discards its event.
    const roomId = newRoom();
    client.socket.emit('joinRoom', { roomId });
    await client.until('the refusal', () => client.states.length === 1);
    assert.equal(client.socket.active, false);
    assert.deepEqual(client.events, []);

    client.socket.auth = { token: ada.token };
    client.socket.connect();
    await client.until('the connection', () => client.socket.connected);
    assert.deepEqual(client.states, ['connect_error: token_expired', 'connect']);
    await client.join(roomId);
    assert.equal((await client.send(roomId, 'at last')).userId, ada.id);
  });
}
