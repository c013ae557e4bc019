// The demo page of `chat-gateway dev` in two windows of a browser: messages, once and in order.

import assert from 'node:assert/strict';
import { launch } from './browser.mjs';
import { openAs } from './demo_user.mjs';

const inRoom1 = [
  'Hello Grace!', '<b>Hello</b> Ada 😀', 'Twice', 'Twice', 'After a refusal', 'Where are you?',
];

const browser = await launch();
try {
  const [ada, grace] = [await openAs(browser, 'Ada'), await openAs(browser, 'Grace')];
  const refused = ada.page.locator('li.failed');
  for (const user of [ada, grace]) await user.goesTo(1);
  await grace.member('Ada').getByText('in the room now').waitFor({ state: 'attached' });
  await grace.page.getByLabel('Message', { exact: true }).pressSequentially('Hello');
  await ada.page.getByText('Grace is typing…').waitFor();
  await grace.page.getByLabel('Message', { exact: true }).fill('');
  await ada.page.getByText('Grace is typing…').waitFor({ state: 'detached' });

  await ada.says('Hello Grace!');
  await grace.sees('Hello Grace!', { author: 'Ada', seq: 1 });
  await grace.says('<b>Hello</b> Ada 😀');
  await ada.sees('<b>Hello</b> Ada 😀', { author: 'Grace', seq: 2 });
  // The same text sent twice is two messages, and each window shows both.
  await ada.says('Twice');
  await ada.says('Twice');
  for (const user of [ada, grace]) {
    await user.sees('Twice', { author: 'Ada', seq: 4 });
    assert.deepEqual(await user.contents(), inRoom1.slice(0, 4));
  }
  await ada.page.locator('li.own.stored').nth(2).waitFor();
  assert.equal(await refused.count(), 0);

  await ada.says('   ');
  await refused.filter({ hasText: 'invalid_payload' }).waitFor();
  await ada.says('After a refusal');
  await grace.sees('After a refusal', { author: 'Ada', seq: 5 });
  assert.equal(await refused.count(), 1);
  await ada.isPictured('');
  await ada.presses('Discard');
  await refused.waitFor({ state: 'detached' });

  await wireLogHidesTokens(ada.page);
  await roomsAreSeparate(ada, grace);
  await missedMessagesAreShown(ada, grace);
  await messagesWrittenOfflineAreSentOnce(ada, grace);

  // After a reload, the page shows the room's messages and continues.
  for (const user of [ada, grace]) {
    await user.goesTo(1);
    await user.page.reload();
    await user.isIn(1);
    await user.sees('Where are you?', { author: 'Ada', seq: 6 });
    assert.deepEqual(await user.contents(), inRoom1);
    // The room with the newest activity comes first, also after its messages have been read.
    await user.listed('Engine room').waitFor();
    assert.match((await user.rooms.getByRole('link').allInnerTexts())[0], /^Lobby/);
  }
  await grace.says('Still here');
  await ada.sees('Still here', { author: 'Grace', seq: 7 });
  await historyIsPaged(ada, grace);
  for (const { page, problems } of [ada, grace]) {
    assert.equal(await page.locator('li.failed').count(), 0);
    assert.deepEqual(problems, []);
  }
} finally {
  await browser.close();
}

async function wireLogHidesTokens(page) {
  await page.getByText('Wire log').click();
  const lines = page.getByRole('list', { name: 'Packets, oldest first' });
  await lines.getByText('42["newMessage"').or(lines.getByText('"sendMessage"')).first().waitFor();
  assert.ok(!/eyJ[\w-]*\.eyJ[\w-]*\.[\w-]/.test(await lines.innerText()), 'the wire log shows a whole token');
  await page.getByText('Wire log').click();
}

async function roomsAreSeparate(ada, grace) {
  await grace.goesTo(3);
  await grace.page.getByText('Nothing here yet').waitFor();
  await ada.says('Where are you?');
  await ada.sees('Where are you?', { author: 'Ada', seq: 6 });
  await grace.says('In room 3');
  await grace.sees('In room 3', { author: 'Grace', seq: 1 });
  assert.deepEqual(await grace.contents(), ['In room 3']);
}

async function missedMessagesAreShown(ada, grace) {
  await ada.goesTo(3);
  await ada.sees('In room 3', { author: 'Grace', seq: 1 });
  await grace.press('connection');
  await grace.state('offline');
  await ada.says('While you are away');
  await ada.sees('While you are away', { author: 'Ada', seq: 2 });
  await grace.press('connection');
  await grace.isIn(3);
  await grace.sees('While you are away', { author: 'Ada', seq: 2 });
  for (const user of [ada, grace]) assert.deepEqual(await user.contents(), ['In room 3', 'While you are away']);
}

async function messagesWrittenOfflineAreSentOnce(ada, grace) {
  await grace.press('connection');
  await grace.state('offline');
  for (const text of ['Written offline', 'And this']) await grace.says(text);
  await grace.page.getByText('waiting for the connection…').nth(1).waitFor();
  await ada.says('You are still away');
  await ada.sees('You are still away', { author: 'Ada', seq: 3 });
  await grace.press('connection');
  await grace.isIn(3);
  const contents = ['In room 3', 'While you are away', 'You are still away', 'Written offline', 'And this'];
  for (const user of [ada, grace]) {
    await user.sees('And this', { author: 'Grace', seq: 5 });
    assert.deepEqual(await user.contents(), contents);
  }
  // A message whose answer is lost is sent again and stored once. Answered messages are not sent again.
  await grace.saysAndReconnects('Cut short');
  await grace.isIn(3);
  await grace.sees('Cut short', { author: 'Grace', seq: 6 });
  await grace.page.locator('.stored', { hasText: 'Cut short' }).waitFor();
  // What is written while the room is not open waits for it.
  await grace.press('connection');
  await grace.state('offline');
  await grace.says('For later');
  await grace.asksFor(1);
  await grace.press('connection');
  await grace.isIn(1);
  await grace.goesTo(3);
  for (const user of [ada, grace]) {
    await user.sees('For later', { author: 'Grace', seq: 7 });
    assert.deepEqual(await user.contents(), [...contents, 'Cut short', 'For later']);
  }
  // What waits survives that the page is closed.
  await grace.press('connection');
  await grace.state('offline');
  await grace.says('Before a reload');
  await grace.page.getByText('waiting for the connection…').waitFor();
  await grace.page.reload();
  for (const user of [ada, grace]) {
    await user.sees('Before a reload', { author: 'Grace', seq: 8 });
    assert.deepEqual(await user.contents(), [...contents, 'Cut short', 'For later', 'Before a reload']);
  }
}

/** The room has more messages than one page of history. */
async function historyIsPaged(ada, grace) {
  const texts = Array.from({ length: 60 }, (_, n) => `Number ${n + 1}`);
  for (const user of [ada, grace]) await user.goesTo(4);
  for (const text of texts) await grace.says(text);
  await ada.sees('Number 60', { author: 'Grace', seq: 60 });
  await ada.page.reload();
  await ada.isIn(4);
  await ada.sees('Number 60', { author: 'Grace', seq: 60 });
  assert.deepEqual(await ada.contents(), texts.slice(10));
  await ada.page.getByRole('button', { name: 'Earlier messages' }).waitFor();
  // Scrolling to the top brings the earlier messages, and what is read stays at the same height.
  const top = scrollsUp => ada.page.evaluate(scrollsUp => {
    if (scrollsUp) document.querySelector('[data-role=scroll]').scrollTop = 0;
    return document.querySelector('[data-seq="11"] .content').getBoundingClientRect().top;
  }, scrollsUp);
  const before = await top(true);
  await ada.page.locator('[data-seq="1"]', { hasText: 'Number 1' }).waitFor({ state: 'attached' });
  assert.deepEqual(await ada.contents(), texts);
  assert.equal(await ada.page.getByRole('button', { name: 'Earlier messages' }).count(), 0);
  const after = await top(false);
  assert.ok(Math.abs(after - before) <= 1, `the message moved from ${before} to ${after}`);
  // What is new below is counted, and a button leads there.
  for (const text of ['New', 'Newer']) await grace.says(text);
  await ada.presses('2 new messages ↓');
  await ada.page.getByRole('button', { name: '2 new messages ↓' }).waitFor({ state: 'hidden' });
  assert.equal(await ada.page.evaluate(() => {
    const scroll = document.querySelector('[data-role=scroll]');
    return Math.abs(scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight) < 2;
  }), true);
}
