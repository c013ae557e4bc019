// The demo page of `chat-gateway dev` without a mouse and without seeing it: everything is reached and
// done with keys, the focus is always somewhere and comes back, and what others write is announced.

import assert from 'node:assert/strict';
import { launch } from './browser.mjs';
import { openAs } from './demo_user.mjs';

const ROOM = 9;

const browser = await launch();
try {
  const ada = await openAs(browser, 'Ada');
  const { page } = ada;
  const key = name => page.keyboard.press(name);
  const focused = selector => page.locator(`${selector}:focus`).waitFor();
  const tabTo = async selector => {
    for (let n = 0; n < 60; n++) {
      await key('Tab');
      if (await page.locator(`${selector}:focus`).count()) return;
    }
    assert.fail(`the Tab key does not lead to ${selector}`);
  };
  await ada.listed('Lobby').waitFor();
  await tabTo('#join-number');
  await page.keyboard.type(`${ROOM}`);
  await key('Enter');
  await ada.isIn(ROOM);
  await focused('[data-role=input]');
  for (const text of ['First', 'Second', 'Third']) {
    await page.keyboard.type(text);
    await key('Enter');
  }
  await ada.sees('Third', { author: 'Ada', seq: 3 });

  // One message is in the order of focus. The arrow keys lead to the others.
  await key('Shift+Tab');
  while (!(await page.locator('article:focus').count())) await key('Shift+Tab');
  await focused('[data-seq="3"] article');
  await key('ArrowUp');
  await key('Home');
  await focused('[data-seq="1"] article');
  await key('ArrowDown');
  await focused('[data-seq="2"] article');

  // The focus goes into the menu, and back to its button.
  const more = '[data-seq="2"] .tools [aria-haspopup=menu]';
  await tabTo(more);
  await key('Enter');
  await focused('[role=menuitem]');
  await key('End');
  await page.locator('[role=menuitem]:focus', { hasText: 'Delete' }).waitFor();
  await key('Escape');
  await focused(more);
  // And into the dialog, which returns it.
  await key('Enter');
  await key('d');
  await key('Enter');
  await page.locator('dialog button:focus', { hasText: 'Cancel' }).waitFor();
  await key('Escape');
  await page.locator('dialog').waitFor({ state: 'hidden' });
  await focused(more);
  await key('Enter');
  await key('d');
  await key('Enter');
  await page.locator('dialog button:focus', { hasText: 'Cancel' }).waitFor();
  await key('Tab');
  await key('Enter');
  await page.locator('[data-seq="2"]', { hasText: 'This message was deleted.' }).waitFor();
  await focused('[data-seq="2"] article');
  await key('Escape');
  await focused('[data-role=input]');
  // An empty field and the arrow key edit one's last message. Escape gives up.
  await key('ArrowUp');
  await page.getByText('Editing #3').waitFor();
  await key('Escape');
  await page.getByText('Editing #3').waitFor({ state: 'hidden' });
  // Members are suggested behind an @.
  await page.keyboard.type('Hello @gr');
  assert.equal(await page.getByRole('option').count(), 0, 'Grace is not a member of this room');
  await page.keyboard.press('Control+a');
  await key('Delete');
  // What others write is announced, once and without its buttons.
  const grace = await openAs(browser, 'Grace');
  await grace.goesTo(ROOM);
  await grace.says('Can you hear me?');
  await page.locator('[data-role=announcer]').getByText('Grace: Can you hear me?', { exact: true }).waitFor({ state: 'attached' });
  assert.equal(await page.locator('[role=log], [aria-live]').count(), 0);
  for (const { problems } of [ada, grace]) assert.deepEqual(problems, []);
} finally {
  await browser.close();
}
