// The demo page of `chat-gateway dev` in a browser.

import assert from 'node:assert/strict';
import { launch, open } from './browser.mjs';
import { variable } from './environment.mjs';

const inRoom1 = [
  'Hello Grace!', '<b>Hello</b> Ada 😀', 'Twice', 'Twice', 'After a refusal', 'Where are you?',
];

const browser = await launch();
try {
  const { page, problems } = await open(browser, `${variable('GATEWAY_URL')}/`, { viewport: { width: 1200, height: 800 } });
  const [ada, grace] = ['Ada', 'Grace'].map(name => panel(page, name));
  for (const user of [ada, grace]) await user.isIn(1);

  await ada.says('Hello Grace!');
  await grace.sees('Hello Grace!', { author: 'Ada', seq: 1 });
  await grace.says('<b>Hello</b> Ada 😀');
  await ada.sees('<b>Hello</b> Ada 😀', { author: 'Grace', seq: 2 });
  // The same text sent twice is two messages, and each panel shows both.
  await ada.says('Twice');
  await ada.says('Twice');
  for (const user of [ada, grace]) {
    await user.sees('Twice', { author: 'Ada', seq: 4 });
    assert.deepEqual(await user.contents(), inRoom1.slice(0, 4));
  }
  await ada.root.locator('li.own.stored').nth(2).waitFor();
  assert.equal(await page.locator('li.refused').count(), 0);

  await ada.press('invalid');
  await ada.root.locator('li.refused', { hasText: 'invalid_payload' }).waitFor();
  await ada.says('After a refusal');
  await grace.sees('After a refusal', { author: 'Ada', seq: 5 });
  assert.equal(await page.locator('li.refused').count(), 1);
  await page.screenshot({ path: variable('SCREENSHOT') });

  await wireLogHidesTokens(page);
  await roomsAreSeparate(ada, grace);
  await missedMessagesAreShown(ada, grace);
  await messagesWrittenOfflineAreSentOnce(ada, grace);
  assert.equal(await page.locator('li.refused').count(), 0);

  // After a reload, the page shows the room's messages and continues.
  await page.reload();
  for (const user of [ada, grace]) {
    await user.isIn(1);
    await user.sees('Where are you?', { author: 'Ada', seq: 6 });
    assert.deepEqual(await user.contents(), inRoom1);
  }
  await grace.says('Still here');
  await ada.sees('Still here', { author: 'Grace', seq: 7 });
  await historyIsPaged(ada, grace);
  assert.equal(await page.locator('li.refused').count(), 0);
  assert.deepEqual(problems, []);
} finally {
  await browser.close();
}

/** One of the two panels, with what its user can do and see. */
function panel(page, name) {
  const root = page.getByRole('region', { name, exact: true });
  const part = role => root.locator(`[data-role=${role}]`);
  return {
    root,
    press: role => part(role).click(),
    state: text => part('state').getByText(text, { exact: true }).waitFor(),
    async isIn(roomId) {
      await this.state('connected');
      await part('joined').getByText(`room ${roomId}`, { exact: true }).waitFor();
    },
    async goesTo(roomId) {
      await part('room').fill(`${roomId}`);
      await part('join').click();
      await this.isIn(roomId);
    },
    async says(text) {
      await part('input').fill(text);
      await part('send').click();
    },
    /** Sends, disconnects and connects in one turn of the page, before any answer can arrive. */
    async saysAndReconnects(text) {
      await part('input').fill(text);
      await root.evaluate(panel => {
        for (const role of ['send', 'connection', 'connection']) panel.querySelector(`[data-role=${role}]`).click();
      });
    },
    sees(text, { author, seq }) {
      const message = part('messages').locator(`[data-seq="${seq}"]`);
      return message.filter({ hasText: text }).filter({ hasText: author }).waitFor();
    },
    /** Returns the listed messages, from top to bottom. */
    contents: () => part('messages').locator('.bubble').allInnerTexts(),
  };
}

async function wireLogHidesTokens(page) {
  await page.getByText('Wire log').click();
  const lines = page.getByRole('list', { name: 'Packets, oldest first' });
  await lines.getByText('42["newMessage"').or(lines.getByText('"sendMessage"')).first().waitFor();
  assert.ok(!/eyJ[\w-]*\.eyJ[\w-]*\.[\w-]/.test(await lines.innerText()), 'the wire log shows a whole token');
  await page.getByText('Wire log').click();
}

async function roomsAreSeparate(ada, grace) {
  await grace.goesTo(2);
  await grace.root.getByText('Nothing in room 2 yet').waitFor();
  await ada.says('Where are you?');
  await ada.sees('Where are you?', { author: 'Ada', seq: 6 });
  await grace.says('In room 2');
  await grace.sees('In room 2', { author: 'Grace', seq: 1 });
  assert.deepEqual(await grace.contents(), ['In room 2']);
}

async function missedMessagesAreShown(ada, grace) {
  await ada.goesTo(2);
  await ada.sees('In room 2', { author: 'Grace', seq: 1 });
  await grace.press('connection');
  await grace.state('offline');
  await ada.says('While you are away');
  await ada.sees('While you are away', { author: 'Ada', seq: 2 });
  await grace.press('connection');
  await grace.isIn(2);
  await grace.sees('While you are away', { author: 'Ada', seq: 2 });
  for (const user of [ada, grace]) assert.deepEqual(await user.contents(), ['In room 2', 'While you are away']);
}

async function messagesWrittenOfflineAreSentOnce(ada, grace) {
  await grace.press('connection');
  await grace.state('offline');
  for (const text of ['Written offline', 'And this']) await grace.says(text);
  await grace.root.getByText('waiting for the connection…').nth(1).waitFor();
  await ada.says('You are still away');
  await ada.sees('You are still away', { author: 'Ada', seq: 3 });
  await grace.press('connection');
  await grace.isIn(2);
  const contents = ['In room 2', 'While you are away', 'You are still away', 'Written offline', 'And this'];
  for (const user of [ada, grace]) {
    await user.sees('And this', { author: 'Grace', seq: 5 });
    assert.deepEqual(await user.contents(), contents);
  }
  // A message whose answer is lost is sent again and stored once. Answered messages are not sent again.
  await grace.saysAndReconnects('Cut short');
  await grace.isIn(2);
  await grace.sees('Cut short', { author: 'Grace', seq: 6 });
  await grace.root.locator('.stored', { hasText: 'Cut short' }).waitFor();
  await grace.says('Back again');
  for (const user of [ada, grace]) {
    await user.sees('Back again', { author: 'Grace', seq: 7 });
    assert.deepEqual(await user.contents(), [...contents, 'Cut short', 'Back again']);
  }
}

/** The room has more messages than one page of history. */
async function historyIsPaged(ada, grace) {
  const texts = Array.from({ length: 60 }, (_, n) => `Number ${n + 1}`);
  for (const user of [ada, grace]) await user.goesTo(3);
  for (const text of texts) await grace.says(text);
  await ada.sees('Number 60', { author: 'Grace', seq: 60 });
  await ada.goesTo(1);
  await ada.goesTo(3);
  await ada.sees('Number 60', { author: 'Grace', seq: 60 });
  assert.deepEqual(await ada.contents(), texts.slice(10));
  await ada.root.getByRole('button', { name: 'Earlier messages' }).click();
  await ada.sees('Number 1', { author: 'Grace', seq: 1 });
  assert.deepEqual(await ada.contents(), texts);
  assert.equal(await ada.root.getByRole('button', { name: 'Earlier messages' }).count(), 0);
}
