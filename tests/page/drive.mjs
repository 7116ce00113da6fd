// Drives Chromium through the DevTools protocol over a pipe, which needs no package and no port.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const CONDITION_TIMEOUT_MS = 15_000;
const POLL_INTERVAL_MS = 30;

const [file, succeeded, failed, total, screenshots] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), 'page-'));
const flags = [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
  '--autoplay-policy=no-user-gesture-required', '--remote-debugging-pipe',
  `--user-data-dir=${profile}`, 'about:blank',
];
const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'];
const chromium = spawn(process.env.CHROMIUM, flags, { stdio });
const [, , , commands, messages] = chromium.stdio;

// ---- The protocol: JSON objects, each followed by a zero byte.

const pendingCalls = new Map();
const problems = [];
const requests = [];
let lastId = 0;
let session;
let incomplete = '';
messages.setEncoding('utf8').on('data', (chunk) => {
  const parts = (incomplete + chunk).split('\0');
  incomplete = parts.pop();
  for (const message of parts) receive(JSON.parse(message));
});

function send(method, params = {}) {
  lastId += 1;
  const id = lastId;
  commands.write(`${JSON.stringify({ id, sessionId: session, method, params })}\0`);
  return new Promise((resolve, reject) => pendingCalls.set(id, { resolve, reject, method }));
}

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// An image of one pixel, returned for every image that the page requests from the network.
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA'
  + 'AABJRU5ErkJggg==';

function receive({ id, result, error, method, params }) {
  if (id) {
    const call = pendingCalls.get(id);
    pendingCalls.delete(id);
    if (error) call.reject(new Error(`${call.method}: ${error.message}`));
    else call.resolve(result);
    return;
  }
  if (method === 'Runtime.exceptionThrown') {
    const { exception, text } = params.exceptionDetails;
    problems.push(exception?.description ?? text);
  }
  if (method === 'Runtime.consoleAPICalled') {
    problems.push(`console: ${JSON.stringify(params.args)}`);
  }
  if (method === 'Log.entryAdded') {
    problems.push(`log: ${params.entry.text} ${params.entry.url ?? ''}`);
  }
  if (method === 'Page.javascriptDialogOpening') problems.push(`dialog: ${params.message}`);
  if (method === 'Fetch.requestPaused') respond(params);
}

function respond({ requestId, request: { url } }) {
  requests.push(url);
  const isUnreachable = url.endsWith('/7.png');
  const response = isUnreachable
    ? send('Fetch.failRequest', { requestId, errorReason: 'ConnectionRefused' })
    : send('Fetch.fulfillRequest', {
      requestId,
      responseCode: 200,
      responseHeaders: [{ name: 'Content-Type', value: 'image/png' }],
      body: PIXEL,
    });
  // The page may have cancelled the request meanwhile.
  response.catch(() => {});
}

async function evaluate(expression) {
  const params = { expression, returnByValue: true, awaitPromise: true };
  const { result, exceptionDetails } = await send('Runtime.evaluate', params);
  if (exceptionDetails) {
    throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
  }
  return result.value;
}

async function waitFor(what, expression) {
  const deadline = Date.now() + CONDITION_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (await evaluate(expression)) return;
    await wait(POLL_INTERVAL_MS);
  }
  throw new Error(`timed out waiting for ${what}: ${expression}`);
}

function assertEqual(what, actual, expected) {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    throw new Error(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
  }
}

async function press(key, text) {
  const codes = {
    Enter: 13, Escape: 27, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40,
  };
  const windowsVirtualKeyCode = codes[key] ?? key.toUpperCase().charCodeAt(0);
  const event = { key, windowsVirtualKeyCode, text };
  await send('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', ...event });
  await send('Input.dispatchKeyEvent', { type: 'keyUp', ...event, text: undefined });
}

async function takeScreenshot(name) {
  if (!screenshots) return;
  const { data } = await send('Page.captureScreenshot', { format: 'png' });
  writeFileSync(join(screenshots, `${name}.png`), Buffer.from(data, 'base64'));
}

// ---- What a reader does.

async function open(width, height, isDark) {
  const metrics = { width, height, deviceScaleFactor: 1, mobile: width < 500 };
  await send('Emulation.setDeviceMetricsOverride', metrics);
  const colorScheme = { name: 'prefers-color-scheme', value: isDark ? 'dark' : 'light' };
  await send('Emulation.setEmulatedMedia', { features: [colorScheme] });
  // From an empty page, so that late events of the previous page are not counted for this one.
  await send('Page.navigate', { url: 'about:blank' });
  await waitFor('an empty page',
    `location.href === 'about:blank' && document.readyState === 'complete'`);
  requests.length = 0;
  problems.length = 0;
  await send('Page.navigate', { url: pathToFileURL(file).href });
  await waitFor('cards',
    `document.readyState === 'complete' && document.querySelectorAll('.card').length > 0`);
}

const countOf = (selector) => evaluate(
  `document.querySelectorAll(${JSON.stringify(selector)}).length`);
const textOf = (selector) => evaluate(
  `document.querySelector(${JSON.stringify(selector)}).textContent`);
const focusedCard = () => evaluate(
  `[...document.querySelectorAll('.card')].indexOf(document.activeElement)`);

async function testPage(width, height, isDark) {
  await open(width, height, isDark);
  assertEqual(`no horizontal scrolling at ${width} pixels`,
    await evaluate('document.documentElement.scrollWidth <= innerWidth'), true);
  assertEqual('job count', await textOf('#count'), `${total} jobs`);
  assertEqual('cards at first', await countOf('.card'), 60);
  const attention = await textOf('#attention-jobs');
  assertEqual('failures', attention.startsWith(`${failed} failed`), true);
  assertEqual('totals', await textOf('.tiles dd'), `${succeeded} of ${total}`);
  await takeScreenshot(`${width}-top`);

  // An id that looks like markup is shown as it is.
  const ids = await evaluate(`[...document.querySelectorAll('.card h3 span:first-child')]
    .slice(0, 2).map((id) => id.textContent)`);
  assertEqual('ids', ids, ['<script>alert(1)</script>', '50% off/ü #1?']);

  await evaluate(`document.querySelector('#gallery').scrollIntoView({ behavior: 'instant' })`);
  await waitFor('the first frame of a clip',
    `[...document.querySelectorAll('video')].some((video) => video.videoWidth > 0)`);
  await takeScreenshot(`${width}-clips`);
  assertEqual('requests before source images are shown', requests, []);

  // Scrolling adds all cards, while only those near the viewport have a player.
  await waitFor('all cards', `(scrollTo({ top: 1e9, behavior: 'instant' }),
    document.querySelectorAll('.card').length === ${total})`);
  await wait(200);
  assertEqual('fewer than 60 players', await countOf('video') < 60, true);

  await evaluate(`document.querySelector('#state').value = 'succeeded',
    document.querySelector('#state').dispatchEvent(new Event('change'))`);
  assertEqual('filtered count', await textOf('#count'), `${succeeded} of ${total} jobs`);

  await evaluate(`scrollTo({ top: 0, behavior: 'instant' })`);
  await press('/', '/');
  assertEqual('focused element', await evaluate('document.activeElement.id'), 'search');
  for (const letter of 'sku-14') await press(letter, letter);
  await waitFor('search results', `document.querySelectorAll('.card').length < 15`);
  await press('ArrowDown');
  assertEqual('the first card has the focus', await focusedCard(), 0);
  await press('ArrowRight');
  assertEqual('the next card has the focus', await focusedCard(), 1);
  await press('ArrowLeft');
  await press('Enter');
  await waitFor('a clip that plays', `[...document.querySelectorAll('video')]
    .some((video) => !video.paused && video.currentTime > 0)`);
  await press('Escape');
  await waitFor('all clips to pause',
    `[...document.querySelectorAll('video')].every((video) => video.paused)`);
  await press('Escape');
  assertEqual('count after clearing the search', await textOf('#count'), `${total} jobs`);

  await waitFor('the source image that is a local file',
    `[...document.querySelectorAll('.source img')].some((image) => image.naturalWidth === 2)`);
  assertEqual('images before source images are shown', await countOf('.source img'), 1);
  assertEqual('requests before source images are shown', requests, []);
  await evaluate('document.activeElement.blur()');
  await press('i', 'i');
  await waitFor('source images',
    `[...document.querySelectorAll('.source img')].some((image) => image.naturalWidth > 0)`);
  await waitFor('the message about the unreachable image', `(
    document.querySelector('#cards').children[9].scrollIntoView({ behavior: 'instant' }),
    document.querySelector('#cards').children[9].textContent.includes('cannot be loaded'))`);
  await takeScreenshot(`${width}-sources`);
  const isImage = (url) => /^https:\/\/images\.example\.com\/\d+\.png$/.test(url);
  assertEqual('only images are requested', requests.every(isImage), true);
  // The browser logs the unreachable image, too.
  const unexpected = problems.filter((problem) => !/ERR_CONNECTION_REFUSED/.test(problem));
  assertEqual('problems', unexpected, []);
}

try {
  const { targetInfos } = await send('Target.getTargets');
  const { targetId } = targetInfos.find((target) => target.type === 'page');
  ({ sessionId: session } = await send('Target.attachToTarget', { targetId, flatten: true }));
  for (const domain of ['Page', 'Runtime', 'Log']) await send(`${domain}.enable`);
  await send('Fetch.enable', { patterns: [{ urlPattern: 'http*' }] });
  await testPage(1280, 900, false);
  await testPage(390, 844, true);
  await testPage(360, 740, false);
  console.log(`the page passes with ${total} jobs at 1280, 390 and 360 pixels`);
} finally {
  chromium.kill();
  await new Promise((resolve) => chromium.once('exit', resolve));
  try {
    rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  } catch (error) {
    // A helper process of the browser may still write to its profile.
    console.warn(`${profile} is left behind: ${error.code}`);
  }
}
