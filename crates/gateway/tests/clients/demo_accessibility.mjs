// The demo page of `chat-gateway dev` in all its states, wide and on a phone, in the colour scheme that
// its argument names: axe-core finds nothing, nothing is wider than the window, and what is touched on
// a phone is large enough.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { launch } from './browser.mjs';
import { openAs } from './demo_user.mjs';

const colorScheme = process.argv[2] ?? assert.fail('the argument is light or dark');
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const WIDE = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
const LOBBY = 1, EMPTY_ROOM = 8;
const PICTURED = ['rooms', 'messages', 'menu', 'members', 'offline'];
let states = 0;

const browser = await launch();
try {
  const ada = await openAs(browser, 'Ada', WIDE);
  await fillTheLobby(ada);
  for (const device of [WIDE, PHONE]) await nothingIsFound(ada, { ...device, colorScheme });
  assert.deepEqual(ada.problems, []);
  console.log(`axe-core found nothing in ${states} states, ${colorScheme}`);
} finally {
  await browser.close();
}

/** Brings messages of all kinds into the lobby. */
async function fillTheLobby(ada) {
  const grace = await openAs(browser, 'Grace', WIDE);
  for (const user of [ada, grace]) await user.goesTo(LOBBY);
  await grace.says('Good morning, @Ada');
  await ada.sees('Good morning, @Ada', { author: 'Grace', seq: 1 });
  await ada.page.locator('li.for-me mark', { hasText: '@Ada' }).waitFor();
  await (await ada.opensMenu(1)).getByRole('menuitem', { name: 'Reply' }).click();
  await ada.says('Good morning');
  await grace.sees('Good morning', { author: 'Ada', seq: 2 });
  await ada.says('Forget this');
  await grace.sees('Forget this', { author: 'Ada', seq: 3 });
  await (await ada.opensMenu(3)).getByRole('menuitem', { name: 'Delete' }).click();
  await ada.page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await grace.page.locator('[data-seq="2"]').hover();
  await grace.page.locator('[data-seq="2"]').getByRole('button', { name: 'React with 👍' }).click();
  await (await ada.opensMenu(2)).getByRole('menuitem', { name: 'Edit' }).click();
  await ada.says('Good morning, Grace');
  await grace.sees('Good morning, Grace', { author: 'Ada', seq: 2 });
  await ada.does('Mute 10 min', 'Alan');
  await ada.member('Alan').getByText(/muted until/).waitFor();
  await grace.goesTo(EMPTY_ROOM);
  await grace.page.context().close();
}

/** Checks every state of the page with axe-core. */
async function nothingIsFound(ada, options) {
  const isPhone = options.isMobile ?? false;
  const look = `${isPhone ? 'phone' : 'wide'}-${options.colorScheme}`;
  const user = await openAs(browser, 'Ada', options);
  const { page } = user;
  const check = async state => {
    await isAccessible(page, `${look}, ${state}`, isPhone);
    if (PICTURED.includes(state)) await user.isPictured(`-${look}-${state}`);
  };
  const showMembers = async () => { if (isPhone) await user.presses('Members'); };
  const hideMembers = async () => { if (isPhone) await user.presses('Back'); };
  const toRooms = async () => { if (isPhone) await page.getByRole('link', { name: 'Rooms', exact: true }).click(); };

  await user.listed('Lobby').waitFor();
  await user.state('connected');
  await check('rooms');
  await page.getByText('Wire log').click();
  await check('wire-log');
  await page.getByText('Wire log').click();
  await user.goesTo(EMPTY_ROOM);
  await page.getByText('Nothing here yet').waitFor();
  await check('empty');
  await toRooms();
  await user.goesTo(LOBBY);
  await user.says('   ');
  await page.locator('li.failed').waitFor();
  await page.locator('[data-seq="2"] .chip').waitFor();
  await check('messages');
  await page.locator('[data-role=input]').pressSequentially('@');
  await page.getByRole('option', { name: '@Grace', selected: true }).waitFor();
  await check('suggestions');
  for (const name of ['ArrowDown', 'ArrowUp', 'Enter']) await page.keyboard.press(name);
  assert.equal(await page.locator('[data-role=input]').inputValue(), '@Grace ');
  await page.locator('[data-role=input]').fill('');
  const message = page.locator('[data-seq="2"]');
  if (isPhone) await message.tap(); else await message.hover();
  await message.getByRole('button', { name: 'More actions' }).click();
  await page.getByRole('menu').waitFor();
  await check('menu');
  await page.getByRole('menuitem', { name: 'Delete' }).click();
  await check('dialog');
  await page.keyboard.press('Escape');
  await user.presses('Discard');
  await showMembers();
  await check('members');
  await page.getByRole('button', { name: 'Actions for Grace' }).click();
  await check('member-menu');
  await page.keyboard.press('Escape');
  await page.getByRole('checkbox', { name: 'Frozen' }).check();
  await hideMembers();
  await page.getByText('· frozen').waitFor();
  await check('frozen');
  await showMembers();
  await page.getByRole('checkbox', { name: 'Frozen' }).uncheck();
  await hideMembers();
  await user.press('connection');
  await user.state('offline');
  await user.says(`Written offline on ${look}`);
  await page.getByText('waiting for the connection…').waitFor();
  await check('offline');
  await user.press('connection');
  await user.isIn(LOBBY);
  await page.getByText('waiting for the connection…').waitFor({ state: 'detached' });
  assert.deepEqual(user.problems, []);

  // A token that the gateway refuses.
  await page.addInitScript(() => document.addEventListener('readystatechange', () => {
    const users = document.querySelector('#users').firstChild;
    users.data = users.data.replace(/("token":"[^"]*)"/g, '$1x"');
  }, { once: true }));
  await page.reload();
  await user.isTold('The gateway refuses the connection (token_invalid).');
  await check('refused');
  assert.deepEqual(user.problems, []);
  await page.context().close();

  // A reader of the room, muted.
  const alan = await openAs(browser, 'Alan', options);
  await alan.listed('Lobby').click();
  await alan.cannotWrite(/^You are muted until \d/);
  await isAccessible(alan.page, `${look}, muted`, isPhone);
  assert.deepEqual(alan.problems, []);
  await alan.page.context().close();
  assert.deepEqual(ada.problems, []);
}

/** Checks one state: axe-core's rules, no horizontal scrolling and, on a phone, the size of what is touched. */
async function isAccessible(page, state, isPhone) {
  if (!await page.evaluate(() => 'axe' in globalThis)) await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join('\n  ')}`);
  assert.deepEqual(found, [], `axe-core in the state ${state}`);
  const { overflow, small } = await page.evaluate(() => {
    const isShown = node => node.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && getComputedStyle(node).pointerEvents !== 'none';
    const size = node => (node.closest('label') ?? node).getBoundingClientRect();
    return {
      overflow: document.documentElement.scrollWidth - innerWidth,
      small: [...document.querySelectorAll('a, button, input, textarea, summary')].filter(isShown)
        .filter(node => size(node).height < 44 || size(node).width < 44).map(node => node.outerHTML.slice(0, 160)),
    };
  });
  assert.ok(overflow <= 0, `${state}: the page is ${overflow} px too wide`);
  if (isPhone) assert.deepEqual(small, [], `${state}: too small to touch`);
  states += 1;
}
