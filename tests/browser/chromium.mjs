// A headless Chromium, and pages whose errors fail the test.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const ARGUMENTS = [
  '--no-sandbox', // As root there is no other way; it opens our own pages only.
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-quic',
  '--no-first-run',
  '--disable-component-update',
  '--disable-sync',
];

export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGUMENTS });

/** A page that keeps what it complained of: errors of scripts, and of the console, such as a broken content policy. */
export async function openPage(context) {
  const page = await context.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.setDefaultTimeout(15_000);
  return Object.assign(page, { assertQuiet: () => assert.deepEqual(complaints, []) });
}
