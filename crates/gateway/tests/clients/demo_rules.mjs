// The demo page of `chat-gateway dev` in several windows of a browser: the list of rooms, a private room, and what
// its moderator does.

import assert from 'node:assert/strict';
import { launch } from './browser.mjs';
import { openAs } from './demo_user.mjs';

const LOBBY = 1, ENGINE_ROOM = 2, PHONE = { viewport: { width: 390, height: 844 } };

const browser = await launch();
try {
  const grace = await openAs(browser, 'Grace');
  const alan = await openAs(browser, 'Alan', { viewport: { width: 760, height: 800 }, colorScheme: 'dark' });
  const edsger = await openAs(browser, 'Edsger', PHONE);
  const ada = await openAs(browser, 'Ada', { ...PHONE, colorScheme: 'dark' });
  const phoneOfAlan = await openAs(browser, 'Alan', PHONE); // in no room

  await aPrivateRoomIsForItsMembers(grace, alan, edsger);
  await aGuestOfAnOpenRoomBecomesAMember(edsger);
  await aMutedMemberReadsAndDoesNotWrite(grace, alan);
  await unreadMessagesAreCounted(grace, alan, phoneOfAlan);
  await anOwnerFreezesTheRoom(ada, alan);
  await aBannedMemberLosesTheRoom(grace, alan, phoneOfAlan);
  for (const { page, problems } of [ada, grace, alan, phoneOfAlan, edsger]) {
    assert.deepEqual(problems, []);
    // The list was read once. Since then, events have kept it current. (A page of one room is read for the total.)
    assert.equal(await page.locator('.wire li', { hasText: '→' }).filter({ hasText: '"listRooms"', hasNotText: '{"limit":1}' }).count(), 1);
  }
  await aListWithoutEventsIsReadAgain(grace, phoneOfAlan);
} finally {
  await browser.close();
}

async function aPrivateRoomIsForItsMembers(grace, alan, edsger) {
  for (const user of [grace, alan]) {
    await user.listed('Engine room').click();
    await user.isIn(ENGINE_ROOM);
  }
  await grace.member('Alan').getByText('member').waitFor();
  await grace.says('Welcome to the engine room.');
  await alan.sees('Welcome to the engine room.', { author: 'Grace', seq: 1 });
  // A member has no power over others.
  await alan.presses('Members');
  await alan.member('Grace').getByText('moderator').waitFor();
  assert.equal(await alan.page.getByRole('button', { name: /^(Mute|Ban|Remove|Actions for)/ }).count(), 0);
  await alan.presses('Back');

  await edsger.listed('Lobby').waitFor();
  assert.equal(await edsger.listed('Engine room').count(), 0);
  await edsger.isPictured('-phone-rooms');
  await edsger.asksFor(ENGINE_ROOM);
  await edsger.isTold('Room 2 cannot be opened: it does not exist for you.');
  await edsger.isPictured('-phone-refused');
}

async function aGuestOfAnOpenRoomBecomesAMember(edsger) {
  await edsger.goesTo(5);
  await edsger.presses('Members');
  await edsger.presses('Become a member: Edsger');
  await edsger.member('Edsger').getByText('member', { exact: true }).waitFor();
  await edsger.presses('Back');
  await edsger.page.getByRole('link', { name: 'Rooms', exact: true }).click();
  await edsger.listed('Room 5').waitFor();
}

async function aMutedMemberReadsAndDoesNotWrite(grace, alan) {
  // With the keyboard: the focus goes to the menu, and back to its button.
  const actions = grace.page.getByRole('button', { name: 'Actions for Alan' });
  await actions.press('Enter');
  await grace.page.locator('[role=menuitem]:focus', { hasText: 'Mute 10 min' }).press('Enter');
  await actions.and(grace.page.locator(':focus')).waitFor();
  await alan.cannotWrite(/^You are muted until \d/);
  await grace.member('Alan').getByText(/muted until \d/).waitFor();
  await grace.says('You can still read this.');
  await alan.sees('You can still read this.', { author: 'Grace', seq: 2 });
  await grace.isPictured('-moderator');
  await alan.isPictured('-muted-dark');
  await grace.does('Unmute', 'Alan');
  await alan.canWrite();
  await alan.says('And I can write again.');
  await grace.sees('And I can write again.', { author: 'Alan', seq: 3 });
}

async function unreadMessagesAreCounted(grace, alan, phoneOfAlan) {
  const engineRoom = alan.listed('Engine room');
  await alan.listed('Lobby').click();
  await alan.isIn(LOBBY);
  await engineRoom.locator('.badge').waitFor({ state: 'detached' });
  for (const text of ['Are you there?', 'Alan?']) await grace.says(text);
  for (const { listed } of [alan, phoneOfAlan]) {
    await listed('Engine room').filter({ hasText: 'Grace: Alan?' }).locator('.badge', { hasText: /^2$/ }).waitFor();
  }
  await alan.isPictured('-unread-dark');

  await engineRoom.click();
  await alan.sees('Alan?', { author: 'Grace', seq: 5 });
  for (const { listed } of [alan, phoneOfAlan]) await listed('Engine room').locator('.badge').waitFor({ state: 'detached' });
  // The gateway knows it as well.
  await alan.listed('Lobby').click();
  await alan.isIn(LOBBY);
  await alan.page.reload();
  await engineRoom.filter({ hasText: 'Grace: Alan?' }).waitFor();
  assert.equal(await engineRoom.locator('.badge').count(), 0);
  await engineRoom.click();
  await alan.isIn(ENGINE_ROOM);
}

async function anOwnerFreezesTheRoom(ada, alan) {
  await ada.listed('Engine room').click();
  await ada.isIn(ENGINE_ROOM);
  await ada.isPictured('-phone-room-dark');
  await ada.presses('Members');
  await ada.page.getByRole('checkbox', { name: 'Frozen' }).check();
  await alan.cannotWrite('The room is frozen');
  await ada.isPictured('-phone-members-dark');
  await ada.page.getByRole('checkbox', { name: 'Frozen' }).uncheck();
  await alan.canWrite();
  await ada.does('Make a reader', 'Alan');
  await alan.cannotWrite('You are a reader here');
  await ada.does('Make a member', 'Alan');
  await alan.canWrite();
}

async function aBannedMemberLosesTheRoom(grace, alan, phoneOfAlan) {
  const engineRoom = alan.listed('Engine room');
  await grace.does('Ban', 'Alan');
  for (const { isTold, listed } of [alan, phoneOfAlan]) {
    await isTold('You were banned from Engine room.');
    await listed('Engine room').waitFor({ state: 'detached' });
  }
  assert.deepEqual(await alan.contents(), []);
  await alan.isPictured('-banned-dark');
  await alan.asksFor(ENGINE_ROOM);
  await alan.isTold('Room 2 cannot be opened: it does not exist for you.');

  await grace.presses('Unban: Alan');
  await grace.presses('Add: Alan');
  await phoneOfAlan.isTold('You are now a member of Engine room.');
  await phoneOfAlan.listed('Engine room').waitFor();
  await engineRoom.click();
  await alan.isIn(ENGINE_ROOM);
  await grace.isPictured('-unbanned');
}

async function aListWithoutEventsIsReadAgain(grace, phoneOfAlan) {
  await phoneOfAlan.page.evaluate(() => {
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (packet) { send.call(this, packet.replace('watchRooms', 'noSuchEvent')); };
  });
  await phoneOfAlan.press('connection');
  await phoneOfAlan.state('offline');
  await phoneOfAlan.press('connection');
  await phoneOfAlan.page.locator('.wire li', { hasText: 'unknown_event' }).first().waitFor({ state: 'attached' });
  await grace.says('Read again');
  await phoneOfAlan.listed('Engine room').filter({ hasText: 'Grace: Read again' }).waitFor();
}
