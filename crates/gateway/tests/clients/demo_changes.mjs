// The demo page of `chat-gateway dev` in two windows of a browser: messages are edited, deleted,
// reacted to and replied to, and both windows show the same, also after a disconnection.

import assert from 'node:assert/strict';
import { launch } from './browser.mjs';
import { openAs } from './demo_user.mjs';

const gone = 'This message was deleted.';

const browser = await launch();
try {
  const [ada, grace] = [await openAs(browser, 'Ada'), await openAs(browser, 'Grace')];
  for (const user of [ada, grace]) await user.goesTo(5);
  const message = ({ page }, seq) => page.locator(`[data-role=messages] [data-seq="${seq}"]`);
  const tool = (user, seq, name) => message(user, seq).locator('.tools').getByRole('button', { name });
  const chip = (user, seq, text) => message(user, seq).locator('.reactions').getByRole('button').getByText(text, { exact: true });
  const use = async (user, seq, name) => {
    await message(user, seq).hover();
    await tool(user, seq, name).click();
  };
  const choose = async (user, seq, name) => (await user.opensMenu(seq)).getByRole('menuitem', { name, exact: true }).click();
  const bothSee = async see => { for (const user of [ada, grace]) await see(user); };

  await ada.says('Helo Grace!');
  await ada.says('Forget this');
  await grace.sees('Forget this', { author: 'Ada', seq: 2 });

  // Only its author can edit a message.
  const menu = await grace.opensMenu(1);
  await menu.getByRole('menuitem', { name: 'Reply' }).waitFor();
  assert.equal(await menu.getByRole('menuitem', { name: 'Edit' }).count(), 0);
  await grace.page.keyboard.press('Escape');
  await choose(ada, 1, 'Edit');
  await ada.page.getByText('Editing #1').waitFor();
  assert.equal(await ada.page.getByLabel('Message', { exact: true }).inputValue(), 'Helo Grace!');
  await ada.says('Hello Grace!');
  await ada.page.getByText('Editing #1').waitFor({ state: 'hidden' });
  await bothSee(user => message(user, 1).filter({ hasText: 'Hello Grace!' }).getByText('edited').waitFor());

  await use(grace, 1, 'React with 👍');
  await bothSee(user => chip(user, 1, '👍 1').waitFor());
  await chip(ada, 1, '👍 1').click();
  await bothSee(user => chip(user, 1, '👍 2').and(user.page.locator('[aria-pressed=true]')).waitFor());
  await chip(grace, 1, '👍 2').click();
  await chip(ada, 1, '👍 1').and(ada.page.locator('[aria-pressed=true]')).waitFor();
  await chip(grace, 1, '👍 1').and(grace.page.locator('[aria-pressed=false]')).waitFor();

  await use(grace, 2, 'Reply');
  await grace.page.getByText('Replying to Ada: Forget this').waitFor();
  await grace.says('Why?');
  await bothSee(user => message(user, 3).getByText('↩ #2 Ada: Forget this').waitFor());

  // Deleting asks first, and a quotation does not keep what was deleted.
  await choose(ada, 2, 'Delete');
  const dialog = ada.page.getByRole('dialog', { name: 'Delete this message?' });
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await message(ada, 2).getByText('Forget this').waitFor();
  await choose(ada, 2, 'Delete');
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await bothSee(async user => {
    await message(user, 2).getByText(gone).waitFor();
    assert.equal(await message(user, 3).locator('.quote').innerText(), '↩ #2');
    assert.equal(await message(user, 2).locator('.tools').getByRole('button').count(), 0);
    assert.deepEqual(await user.contents(), ['Hello Grace!', gone, 'Why?']);
  });
  await message(ada, 1).hover();
  await ada.isPictured('-changes');

  // What changes while a window is offline is shown when it is back.
  await grace.press('connection');
  await grace.state('offline');
  await choose(ada, 1, 'Edit');
  await ada.says('Hello again!');
  await use(ada, 3, 'React with 😂');
  await chip(ada, 3, '😂 1').waitFor();
  await chip(ada, 1, '👍 1').click();
  await chip(ada, 1, '👍 1').waitFor({ state: 'detached' });
  await grace.press('connection');
  await grace.isIn(5);
  await chip(grace, 3, '😂 1').waitFor();
  await grace.sees('Hello again!', { author: 'Ada', seq: 1 });
  assert.equal(await message(grace, 1).locator('.reactions').getByRole('button').count(), 0);

  // And after a reload, from history.
  await ada.page.reload();
  await ada.isIn(5);
  await ada.sees('Why?', { author: 'Grace', seq: 3 });
  await chip(ada, 3, '😂 1').and(ada.page.locator('[aria-pressed=true]')).waitFor();
  await bothSee(async user => assert.deepEqual(await user.contents(), ['Hello again!', gone, 'Why?']));
  for (const { problems } of [ada, grace]) assert.deepEqual(problems, []);
} finally {
  await browser.close();
}
