// The demo page of `chat-gateway dev`, as somebody who opens it sees it.

import assert from 'node:assert/strict';
import { launch, open } from './browser.mjs';
import { variable } from './environment.mjs';

const browser = await launch();
try {
  const { page, wrongs } = await open(browser, `${variable('GATEWAY_URL')}/`, { viewport: { width: 1200, height: 800 } });
  const [ada, grace] = ['Ada', 'Grace'].map(name => panel(page, name));
  for (const user of [ada, grace]) await user.isIn(1);

  await ada.says('Hello Grace!');
  await grace.sees('Hello Grace!', { author: 'Ada', seq: 1 });
  await grace.says('<b>Hello</b> Ada 😀');
  await ada.sees('<b>Hello</b> Ada 😀', { author: 'Grace', seq: 2 });
  // The same words twice are two messages, each once in either panel.
  await ada.says('Twice');
  await ada.says('Twice');
  for (const user of [ada, grace]) {
    await user.sees('Twice', { author: 'Ada', seq: 4 });
    assert.deepEqual(await user.contents(), ['Hello Grace!', '<b>Hello</b> Ada 😀', 'Twice', 'Twice']);
  }
  await ada.root.locator('li.own.stored').nth(2).waitFor();
  assert.equal(await page.locator('li.refused').count(), 0);

  await ada.press('invalid');
  await ada.root.locator('li.refused', { hasText: 'invalid_payload' }).waitFor();
  await ada.says('It was refused, and I go on.');
  await grace.sees('It was refused, and I go on.', { author: 'Ada', seq: 5 });
  assert.equal(await page.locator('li.refused').count(), 1);
  await page.screenshot({ path: variable('SCREENSHOT') });

  await wireIsLogged(page);
  await roomsAreApart(ada, grace);
  await whatWasMissedIsTold(ada, grace);
  assert.equal(await page.locator('li.refused').count(), 0);

  // A page that is loaded again finds a room that is in use.
  await page.reload();
  for (const user of [ada, grace]) {
    await user.isIn(1);
    await user.root.getByText('Not shown: #1 to #6', { exact: true }).waitFor();
  }
  await grace.says('Still here');
  await ada.sees('Still here', { author: 'Grace', seq: 7 });
  assert.equal(await page.locator('li.refused').count(), 0);
  assert.deepEqual(wrongs, []);
} finally {
  await browser.close();
}

/** One of the two panels, and what its user does. */
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
    sees(text, { author, seq }) {
      const message = part('messages').locator(`[data-seq="${seq}"]`);
      return message.filter({ hasText: text }).filter({ hasText: author }).waitFor();
    },
    contents: () => part('messages').locator('.bubble').allInnerTexts(),
  };
}

async function wireIsLogged(page) {
  await page.getByText('Wire log').click();
  const lines = page.getByRole('list', { name: 'Packets, oldest first' });
  await lines.getByText('42["newMessage"').or(lines.getByText('"sendMessage"')).first().waitFor();
  assert.ok(!/eyJ[\w-]*\.eyJ[\w-]*\.[\w-]/.test(await lines.innerText()), 'a whole token is shown');
  await page.getByText('Wire log').click();
}

async function roomsAreApart(ada, grace) {
  await grace.goesTo(2);
  await grace.root.getByText('Nothing in room 2 yet').waitFor();
  await ada.says('Where are you?');
  await ada.sees('Where are you?', { author: 'Ada', seq: 6 });
  await grace.says('In room 2');
  await grace.sees('In room 2', { author: 'Grace', seq: 1 });
  assert.deepEqual(await grace.contents(), ['In room 2']);
}

async function whatWasMissedIsTold(ada, grace) {
  await ada.goesTo(2);
  await ada.root.getByText('Not shown: #1', { exact: true }).waitFor();
  await grace.press('connection');
  await grace.state('offline');
  await ada.says('While you are away');
  await ada.sees('While you are away', { author: 'Ada', seq: 2 });
  assert.ok(await grace.root.locator('[data-role=send]').isDisabled());
  await grace.press('connection');
  await grace.isIn(2);
  await grace.root.getByText('Not shown: #2', { exact: true }).waitFor();
  await grace.says('Back again');
  await ada.sees('Back again', { author: 'Grace', seq: 3 });
  await grace.sees('Back again', { author: 'Grace', seq: 3 });
  assert.deepEqual(await grace.contents(), ['In room 2', 'Back again']);
}
