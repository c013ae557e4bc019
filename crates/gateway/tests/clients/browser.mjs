// The browser of the tests, and what a page must not do in it.

import { chromium } from 'playwright-core';
import { variable } from './environment.mjs';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

export function launch() {
  return chromium.launch({ executablePath: variable('TEST_CHROMIUM'), args: FLAGS });
}

/** A new page, and what goes wrong on it: errors, complaints in the console, requests to other hosts. */
export async function open(browser, url, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const wrongs = [];
  const host = new URL(url).host;
  const check = address => {
    const { protocol, host: asked } = new URL(address);
    if (protocol !== 'data:' && asked !== host) wrongs.push(`a request to ${address}`);
  };
  page.on('pageerror', error => wrongs.push(`an error: ${error.message}`));
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) wrongs.push(`in the console: ${message.text()}`);
  });
  page.on('request', request => check(request.url()));
  page.on('websocket', socket => check(socket.url()));
  await page.goto(url);
  return { page, wrongs };
}
