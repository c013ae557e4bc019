// Two users of npm's socket.io-client converse, over each transport.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ada, grace } from './environment.mjs';
import { Client, assertInOrder, assertMessage, assertRefused, newRoom, within } from './harness.mjs';

const TRANSPORTS = {
  'the default transports': {},
  'websocket only': { transports: ['websocket'] },
  'polling only': { transports: ['polling'] },
};

for (const [name, options] of Object.entries(TRANSPORTS)) {
  describe(name, () => scenarios(options));
}

function scenarios(options) {
  /** Runs a scenario with two connected users, and closes their connections. */
  function scenario(name, run) {
    test(name, async t => {
      const users = await Promise.all([Client.connected(ada, options), Client.connected(grace, options)]);
      t.after(() => users.forEach(user => user.close()));
      await run(...users);
    });
  }

  scenario('both users receive every message exactly as it was acknowledged', async (adaClient, graceClient) => {
    const roomId = newRoom();
    for (const user of [adaClient, graceClient]) {
      assert.equal(await user.join(roomId), 0);
      assert.deepEqual(user.events, [['joinedRoom', { roomId, seq: 0, readSeq: 0, unread: 0, rev: 0 }]]);
    }
    const sent = [await adaClient.send(roomId, 'hello'), await graceClient.send(roomId, ' hi, Ada! \n✓ 😀 \u202e"\\ ')];
    assertMessage(sent[0], { roomId, seq: 1, content: 'hello', author: ada });
    assertMessage(sent[1], { roomId, seq: 2, content: ' hi, Ada! \n✓ 😀 \u202e"\\ ', author: grace });
    for (const user of [adaClient, graceClient]) {
      await user.until('both messages', () => user.of('newMessage').length === 2);
      assert.deepEqual(user.of('newMessage'), sent);
    }
    assert.equal(await graceClient.join(roomId), 2);
  });

  scenario('two hundred messages sent without waiting arrive in their order', async (adaClient, graceClient) => {
    const roomId = newRoom();
    const contents = Array.from({ length: 200 }, (_, n) => `message ${n}`);
    await Promise.all([adaClient.join(roomId), graceClient.join(roomId)]);
    const sent = await Promise.all(contents.map(content => adaClient.send(roomId, content)));
    assertInOrder(sent, 1, contents);
    for (const user of [adaClient, graceClient]) {
      await user.until('all messages', () => user.messages(roomId).length >= contents.length);
      assert.deepEqual(user.messages(roomId), sent);
    }
  });

  scenario('two users that send at the same time see one order', async (adaClient, graceClient) => {
    const roomId = newRoom();
    await Promise.all([adaClient.join(roomId), graceClient.join(roomId)]);
    const numbers = Array.from({ length: 50 }, (_, n) => n);
    await Promise.all([adaClient, graceClient].flatMap(user => numbers.map(n => user.send(roomId, `${n}`))));
    for (const user of [adaClient, graceClient]) {
      await user.until('all messages', () => user.messages(roomId).length >= 100);
    }
    const seen = adaClient.messages(roomId);
    assert.deepEqual(graceClient.messages(roomId), seen);
    assert.deepEqual(seen.map(({ seq }) => seq), Array.from({ length: 100 }, (_, n) => n + 1));
    for (const { id } of [ada, grace]) {
      assert.deepEqual(seen.filter(({ userId }) => userId === id).map(({ content }) => Number(content)), numbers);
    }
  });

  scenario('events sent without waiting take effect in their order', async adaClient => {
    const roomId = newRoom();
    const replies = await Promise.all([
      adaClient.call('sendMessage', { roomId, content: 'too early' }),
      adaClient.call('joinRoom', { roomId }),
      adaClient.call('sendMessage', { roomId, content: 'in time' }),
      adaClient.call('leaveRoom', { roomId }),
      adaClient.call('sendMessage', { roomId, content: 'too late' }),
    ]);
    assert.deepEqual(replies.map(({ ok, error }) => ok || error.code), ['not_in_room', true, true, true, 'not_in_room']);
    assert.equal(await adaClient.join(roomId), 1);
  });

  test('the connect handler can join and send immediately', async t => {
    const roomId = newRoom();
    const eager = new Client(ada, options);
    t.after(() => eager.close());
    eager.socket.on('connect', () => {
      eager.socket.emit('joinRoom', { roomId });
      eager.socket.emit('sendMessage', { roomId, content: 'here I am' });
    });
    await eager.until('the message', () => eager.messages(roomId).length === 1);
    assertMessage(eager.messages(roomId)[0], { roomId, seq: 1, content: 'here I am', author: ada });
    assert.deepEqual(eager.events.map(([event]) => event), ['joinedRoom', 'newMessage']);
  });

  scenario('after leaving, nothing from the room arrives', async (adaClient, graceClient) => {
    const [left, kept] = [newRoom(), newRoom()];
    for (const user of [adaClient, graceClient]) await Promise.all([user.join(left), user.join(kept)]);
    await graceClient.leave(left);
    await graceClient.leave(left); // succeeds although the room is no longer joined
    assert.deepEqual(graceClient.of('leftRoom'), [{ roomId: left }, { roomId: left }]);

    // Ada sends the second message after she has received the first, and Grace receives the second.
    await adaClient.send(left, 'not for Grace');
    await adaClient.until('the message', () => adaClient.messages(left).length === 1);
    await adaClient.send(kept, 'for both');
    await graceClient.until('the message of the other room', () => graceClient.messages(kept).length === 1);
    assert.deepEqual(graceClient.messages(left), []);
    assert.equal(await graceClient.join(left), 1);
    assert.deepEqual(graceClient.messages(left), []);
  });

  scenario('a client receives nothing from a room that it has not joined', async (adaClient, graceClient) => {
    const [secret, common] = [newRoom(), newRoom()];
    await Promise.all([adaClient.join(secret), adaClient.join(common), graceClient.join(common)]);
    for (let n = 0; n < 20; n += 1) {
      adaClient.socket.emit('sendMessage', { roomId: secret, content: `secret ${n}` });
      adaClient.socket.emit('sendMessage', { roomId: common, content: `common ${n}` });
    }
    await adaClient.until('all messages', () => adaClient.of('newMessage').length === 40);
    await adaClient.send(common, 'last');
    await graceClient.until('the last message', () => graceClient.messages(common).length === 21);
    assert.deepEqual(graceClient.of('newMessage').filter(({ roomId }) => roomId !== common), []);
    assertRefused(
      await graceClient.call('sendMessage', { roomId: secret, content: 'let me in' }),
      graceClient.of('error')[0],
      { code: 'not_in_room', event: 'sendMessage', roomId: secret },
    );
  });

  scenario('an invalid event is refused by an error event, then by the acknowledgement', async adaClient => {
    const roomId = newRoom();
    await adaClient.join(roomId);
    const invalid = (event, roomId, ...payload) => ({ event, payload, refusal: { code: 'invalid_payload', event, roomId } });
    const message = content => invalid('sendMessage', roomId, { roomId, content });
    const unknown = { event: 'sendMesage', payload: [{ roomId }], refusal: { code: 'unknown_event', event: 'sendMesage' } };
    const refused = [
      unknown,
      ...['joinRoom', 'leaveRoom', 'sendMessage'].flatMap(event => [
        invalid(event, undefined),
        ...[null, 7, 'room', [], {}].map(payload => invalid(event, undefined, payload)),
        ...[null, 0, -1, 1.5, '1', 2 ** 53, [1]].map(roomId => invalid(event, undefined, { roomId, content: 'x' })),
        invalid(event, roomId, { roomId, content: 'x' }, 'a second argument'),
      ]),
      ...[undefined, null, '', ' \n\t', 7, ['x'], 'x'.repeat(4001), 'a\0b', 'half a \ud83d'].map(message),
    ];
    for (const { event, payload, refusal } of refused) {
      const before = adaClient.events.length;
      const reply = await adaClient.call(event, ...payload);
      const received = adaClient.events.slice(before);
      assert.deepEqual(received.map(([name]) => name), ['error'], JSON.stringify({ event, payload }));
      assertRefused(reply, received[0][1], refusal);
    }
    // The error event is sent even if no acknowledgement was requested.
    adaClient.events.length = 0;
    adaClient.socket.emit('sendMessage', { roomId, content: '' });
    await adaClient.until('the error event', () => adaClient.of('error').length === 1);

    const longest = '😀'.repeat(4000);
    assertMessage(await adaClient.send(roomId, longest), { roomId, seq: 1, content: longest, author: ada });
  });

  scenario('an event with binary data is refused', async adaClient => {
    const roomId = newRoom();
    await adaClient.join(roomId);
    const reply = await adaClient.call('sendMessage', { roomId, content: Buffer.from('bytes') });
    assert.equal(reply.error?.code, 'invalid_payload');
    assert.equal(adaClient.of('error')[0]?.code, 'invalid_payload');
    assert.equal((await adaClient.send(roomId, 'text')).seq, 1);
  });

  scenario('a reconnected client has joined no room, and the other stays connected', async (adaClient, graceClient) => {
    const roomId = newRoom();
    await Promise.all([adaClient.join(roomId), graceClient.join(roomId)]);
    const { id } = adaClient.socket;
    adaClient.socket.disconnect();
    await graceClient.send(roomId, 'while Ada is away');
    adaClient.socket.connect();
    await adaClient.until('the new connection', () => adaClient.socket.connected);
    assert.notEqual(adaClient.socket.id, id);
    assert.deepEqual(adaClient.states, ['connect', 'disconnect: io client disconnect', 'connect']);

    const reply = await adaClient.call('sendMessage', { roomId, content: 'am I in?' });
    assert.equal(reply.error?.code, 'not_in_room');
    assert.equal(await adaClient.join(roomId), 1);
    await adaClient.send(roomId, 'back');
    await graceClient.until('both messages', () => graceClient.messages(roomId).length === 2);
    assertInOrder(graceClient.messages(roomId), 1, ['while Ada is away', 'back']);
    assert.deepEqual(graceClient.states, ['connect']);
  });
}

test('the default client upgrades to a WebSocket and loses no message', async t => {
  // Some clients connect to the namespace before the upgrade, and some after it.
  for (let run = 0; run < 10; run += 1) await upgrade(t);
});

async function upgrade(t) {
  const roomId = newRoom();
  const contents = Array.from({ length: 200 }, (_, n) => `message ${n}`);
  const client = new Client(ada);
  t.after(() => client.close());
  const transports = [];
  client.socket.io.once('open', () => {
    const { engine } = client.socket.io;
    transports.push(engine.transport.name);
    engine.once('upgrade', transport => transports.push(transport.name));
  });
  const sent = new Promise((resolve, reject) => {
    client.socket.once('connect', () => {
      client.socket.emit('joinRoom', { roomId });
      Promise.all(contents.map(content => client.send(roomId, content))).then(resolve, reject);
    });
  });
  const messages = await within(sent, 'all acknowledgements');
  assertInOrder(messages, 1, contents);
  await client.until('all messages', () => client.messages(roomId).length >= contents.length);
  assert.deepEqual(client.messages(roomId), messages);

  assert.deepEqual(transports, ['polling', 'websocket']);
  assert.equal((await client.send(roomId, 'over WebSocket')).seq, 201);
  assert.equal(client.socket.io.engine.transport.name, 'websocket');
  assert.deepEqual(client.states, ['connect']);
}

for (const transport of ['websocket', 'polling']) {
  test(`a client that allows only ${transport} stays with it`, async t => {
    const client = await Client.connected(ada, { transports: [transport] });
    t.after(() => client.close());
    await client.join(newRoom());
    assert.equal(client.socket.io.engine.transport.name, transport);
  });
}
