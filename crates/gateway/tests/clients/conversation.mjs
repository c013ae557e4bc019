// What two users of npm's socket.io-client see of each other, over each transport.

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
  describe(name, () => stories(options));
}

function stories(options) {
  /** Runs a story for two connected users, and closes their connections. */
  function story(name, tell) {
    test(name, async t => {
      const users = await Promise.all([Client.connected(ada, options), Client.connected(grace, options)]);
      t.after(() => users.forEach(user => user.close()));
      await tell(...users);
    });
  }

  story('what one says, both receive, exactly as acknowledged', async (ada_, grace_) => {
    const roomId = newRoom();
    for (const user of [ada_, grace_]) {
      assert.equal(await user.join(roomId), 0);
      assert.deepEqual(user.events, [['joinedRoom', { roomId, seq: 0, readSeq: 0, unread: 0 }]]);
    }
    const sent = [await ada_.send(roomId, 'hello'), await grace_.send(roomId, ' hi, Ada! \n✓ 😀 \u202e"\\ ')];
    assertMessage(sent[0], { roomId, seq: 1, content: 'hello', author: ada });
    assertMessage(sent[1], { roomId, seq: 2, content: ' hi, Ada! \n✓ 😀 \u202e"\\ ', author: grace });
    for (const user of [ada_, grace_]) {
      await user.until('both messages', () => user.of('newMessage').length === 2);
      assert.deepEqual(user.of('newMessage'), sent);
    }
    assert.equal(await grace_.join(roomId), 2);
  });

  story('two hundred messages sent without waiting arrive in their order', async (ada_, grace_) => {
    const roomId = newRoom();
    const contents = Array.from({ length: 200 }, (_, n) => `message ${n}`);
    await Promise.all([ada_.join(roomId), grace_.join(roomId)]);
    const sent = await Promise.all(contents.map(content => ada_.send(roomId, content)));
    assertInOrder(sent, 1, contents);
    for (const user of [ada_, grace_]) {
      await user.until('all messages', () => user.messages(roomId).length >= contents.length);
      assert.deepEqual(user.messages(roomId), sent);
    }
  });

  story('two who write at the same time see one order', async (ada_, grace_) => {
    const roomId = newRoom();
    await Promise.all([ada_.join(roomId), grace_.join(roomId)]);
    const numbers = Array.from({ length: 50 }, (_, n) => n);
    await Promise.all([ada_, grace_].flatMap(user => numbers.map(n => user.send(roomId, `${n}`))));
    for (const user of [ada_, grace_]) {
      await user.until('all messages', () => user.messages(roomId).length >= 100);
    }
    const seen = ada_.messages(roomId);
    assert.deepEqual(grace_.messages(roomId), seen);
    assert.deepEqual(seen.map(({ seq }) => seq), Array.from({ length: 100 }, (_, n) => n + 1));
    for (const { id } of [ada, grace]) {
      assert.deepEqual(seen.filter(({ userId }) => userId === id).map(({ content }) => Number(content)), numbers);
    }
  });

  story('events sent without waiting take effect in their order', async ada_ => {
    const roomId = newRoom();
    const replies = await Promise.all([
      ada_.call('sendMessage', { roomId, content: 'too early' }),
      ada_.call('joinRoom', { roomId }),
      ada_.call('sendMessage', { roomId, content: 'in time' }),
      ada_.call('leaveRoom', { roomId }),
      ada_.call('sendMessage', { roomId, content: 'too late' }),
    ]);
    assert.deepEqual(replies.map(({ ok, error }) => ok || error.code), ['not_in_room', true, true, true, 'not_in_room']);
    assert.equal(await ada_.join(roomId), 1);
  });

  test('the connect handler may join and send at once', async t => {
    const roomId = newRoom();
    const eager = new Client(ada, options);
    t.after(() => eager.close());
    eager.socket.on('connect', () => {
      eager.socket.emit('joinRoom', { roomId });
      eager.socket.emit('sendMessage', { roomId, content: 'here I am' });
    });
    await eager.until('its own message', () => eager.messages(roomId).length === 1);
    assertMessage(eager.messages(roomId)[0], { roomId, seq: 1, content: 'here I am', author: ada });
    assert.deepEqual(eager.events.map(([event]) => event), ['joinedRoom', 'newMessage']);
  });

  story('after leaving, nothing of the room arrives', async (ada_, grace_) => {
    const [left, kept] = [newRoom(), newRoom()];
    for (const user of [ada_, grace_]) await Promise.all([user.join(left), user.join(kept)]);
    await grace_.leave(left);
    await grace_.leave(left); // leaving a room not joined is a success
    assert.deepEqual(grace_.of('leftRoom'), [{ roomId: left }, { roomId: left }]);

    // Ada has received the first before she sends the second, and Grace the second.
    await ada_.send(left, 'not for Grace');
    await ada_.until('her message', () => ada_.messages(left).length === 1);
    await ada_.send(kept, 'for both');
    await grace_.until('the message of the other room', () => grace_.messages(kept).length === 1);
    assert.deepEqual(grace_.messages(left), []);
    assert.equal(await grace_.join(left), 1);
    assert.deepEqual(grace_.messages(left), []);
  });

  story('who has not joined a room sees nothing of it', async (ada_, grace_) => {
    const [secret, common] = [newRoom(), newRoom()];
    await Promise.all([ada_.join(secret), ada_.join(common), grace_.join(common)]);
    for (let n = 0; n < 20; n += 1) {
      ada_.socket.emit('sendMessage', { roomId: secret, content: `secret ${n}` });
      ada_.socket.emit('sendMessage', { roomId: common, content: `common ${n}` });
    }
    await ada_.until('all messages', () => ada_.of('newMessage').length === 40);
    await ada_.send(common, 'the end');
    await grace_.until('the end', () => grace_.messages(common).length === 21);
    assert.deepEqual(grace_.of('newMessage').filter(({ roomId }) => roomId !== common), []);
    assertRefused(
      await grace_.call('sendMessage', { roomId: secret, content: 'let me in' }),
      grace_.of('error')[0],
      { code: 'not_in_room', event: 'sendMessage', roomId: secret },
    );
  });

  story('what is wrong is refused by an error event, then by the acknowledgement', async ada_ => {
    const roomId = newRoom();
    await ada_.join(roomId);
    const invalid = (event, roomId, ...payload) => ({ event, payload, refusal: { code: 'invalid_payload', event, roomId } });
    const message = content => invalid('sendMessage', roomId, { roomId, content });
    const unknown = { event: 'sendMesage', payload: [{ roomId }], refusal: { code: 'unknown_event', event: 'sendMesage' } };
    const wrongs = [
      unknown,
      ...['joinRoom', 'leaveRoom', 'sendMessage'].flatMap(event => [
        invalid(event, undefined),
        ...[null, 7, 'room', [], {}].map(payload => invalid(event, undefined, payload)),
        ...[null, 0, -1, 1.5, '1', 2 ** 53, [1]].map(roomId => invalid(event, undefined, { roomId, content: 'x' })),
        invalid(event, roomId, { roomId, content: 'x' }, 'a second argument'),
      ]),
      ...[undefined, null, '', ' \n\t', 7, ['x'], 'x'.repeat(4001), 'a\0b', 'half a \ud83d'].map(message),
    ];
    for (const { event, payload, refusal } of wrongs) {
      const before = ada_.events.length;
      const reply = await ada_.call(event, ...payload);
      const told = ada_.events.slice(before);
      assert.deepEqual(told.map(([name]) => name), ['error'], JSON.stringify({ event, payload }));
      assertRefused(reply, told[0][1], refusal);
    }
    // Who asks for no acknowledgement is told as well.
    ada_.events.length = 0;
    ada_.socket.emit('sendMessage', { roomId, content: '' });
    await ada_.until('the error', () => ada_.of('error').length === 1);

    const longest = '😀'.repeat(4000);
    assertMessage(await ada_.send(roomId, longest), { roomId, seq: 1, content: longest, author: ada });
  });

  story('binary is answered', async ada_ => {
    const roomId = newRoom();
    await ada_.join(roomId);
    const reply = await ada_.call('sendMessage', { roomId, content: Buffer.from('bytes') });
    assert.equal(reply.error?.code, 'invalid_payload');
    assert.equal(ada_.of('error')[0]?.code, 'invalid_payload');
    assert.equal((await ada_.send(roomId, 'text')).seq, 1);
  });

  story('who disconnects and connects again is a newcomer, the others stay', async (ada_, grace_) => {
    const roomId = newRoom();
    await Promise.all([ada_.join(roomId), grace_.join(roomId)]);
    const { id } = ada_.socket;
    ada_.socket.disconnect();
    await grace_.send(roomId, 'while Ada is away');
    ada_.socket.connect();
    await ada_.until('connected again', () => ada_.socket.connected);
    assert.notEqual(ada_.socket.id, id);
    assert.deepEqual(ada_.life, ['connect', 'disconnect: io client disconnect', 'connect']);

    const reply = await ada_.call('sendMessage', { roomId, content: 'am I in?' });
    assert.equal(reply.error?.code, 'not_in_room');
    assert.equal(await ada_.join(roomId), 1);
    await ada_.send(roomId, 'back');
    await grace_.until('both messages', () => grace_.messages(roomId).length === 2);
    assertInOrder(grace_.messages(roomId), 1, ['while Ada is away', 'back']);
    assert.deepEqual(grace_.life, ['connect']);
  });
}

test('the default client upgrades to a WebSocket and loses nothing meanwhile', async t => {
  // Some of them are connected before the upgrade, and some by it.
  for (let run = 0; run < 10; run += 1) await upgrades(t);
});

async function upgrades(t) {
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
  assert.equal((await client.send(roomId, 'by WebSocket')).seq, 201);
  assert.equal(client.socket.io.engine.transport.name, 'websocket');
  assert.deepEqual(client.life, ['connect']);
}

for (const transport of ['websocket', 'polling']) {
  test(`a client of ${transport} only stays with it`, async t => {
    const client = await Client.connected(ada, { transports: [transport] });
    t.after(() => client.close());
    await client.join(newRoom());
    assert.equal(client.socket.io.engine.transport.name, transport);
  });
}
