// A window with the demo page, as one of its users.

import { open } from './browser.mjs';
import { variable } from './environment.mjs';

const ids = { Ada: 1, Grace: 2, Alan: 3, Edsger: 4 };

/** Opens the page as this user. Returns the window, with what its user can do and see there. */
export async function openAs(browser, name, options) {
  const address = `${variable('GATEWAY_URL')}/?user=${ids[name]}`;
  const { page, problems } = await open(browser, address, { viewport: { width: 1200, height: 800 }, ...options });
  const part = role => page.locator(`[data-role=${role}]`);
  const rooms = page.getByRole('navigation', { name: 'Rooms' });
  const listed = room => rooms.getByRole('link', { name: room });
  const member = who => part('members').getByRole('listitem').filter({ hasText: who });
  return {
    page, problems, rooms, listed, member,
    press: role => part(role).click(),
    /** Presses a button by its label. */
    presses: label => page.getByRole('button', { name: label, exact: true }).click(),
    /** Chooses from the menu of what can be done with a member. */
    async does(label, who) {
      await page.getByRole('button', { name: `Actions for ${who}` }).click();
      await page.getByRole('menuitem', { name: label, exact: true }).click();
    },
    /** Opens the menu of a message. */
    async opensMenu(seq) {
      const message = part('messages').locator(`[data-seq="${seq}"]`);
      await message.hover();
      await message.getByRole('button', { name: 'More actions' }).click();
      return page.getByRole('menu');
    },
    state: text => part('state').getByText(text, { exact: true }).waitFor(),
    async isIn(roomId) {
      await this.state('connected');
      await part('facts').getByText(`room ${roomId} ·`).waitFor();
    },
    /** Opens a room by its number, whether it is listed or not. */
    async asksFor(roomId) {
      await rooms.getByRole('spinbutton', { name: 'Room' }).fill(`${roomId}`);
      await rooms.getByRole('button', { name: 'Join' }).click();
    },
    async goesTo(roomId) {
      await this.asksFor(roomId);
      await this.isIn(roomId);
    },
    async says(text) {
      await part('input').fill(text);
      await part('send').click();
    },
    /** Sends, disconnects and connects in one turn of the page, before any answer can arrive. */
    async saysAndReconnects(text) {
      await part('input').fill(text);
      await page.evaluate(() => {
        for (const role of ['send', 'connection', 'connection']) document.querySelector(`[data-role=${role}]`).click();
      });
    },
    sees(text, { author, seq }) {
      const message = part('messages').locator(`[data-seq="${seq}"]`);
      return message.filter({ hasText: text }).filter({ hasText: author }).waitFor();
    },
    /** Waits for a notice with this text. */
    isTold: text => page.getByRole('alert').getByText(text).waitFor(),
    /** Waits until the page says in this way why its user cannot write. */
    async cannotWrite(why) {
      await part('gag').getByText(why).waitFor();
      await page.locator('[data-role=input]:read-only').waitFor();
    },
    canWrite: () => page.locator('[data-role=input]:read-write').waitFor(),
    /** Returns the listed messages, from top to bottom. */
    contents: () => part('messages').locator('.content').allInnerTexts(),
    /** Saves what the window shows. */
    isPictured: kind => page.screenshot({ path: `${variable('SCREENSHOTS')}${kind}.png` }),
  };
}
