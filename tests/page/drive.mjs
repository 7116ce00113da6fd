// Drives Chromium over a pipe, so that nothing but the page is needed: no package and no port.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [file, made, failed, total, screens] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), 'page-'));
const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--autoplay-policy=no-user-gesture-required',
  '--remote-debugging-pipe', `--user-data-dir=${profile}`, 'about:blank'];
const chromium = spawn(process.env.CHROMIUM, flags, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
const [, , , commands, answers] = chromium.stdio;

// ---- The protocol: one JSON object each way, ended by a zero byte.

const waiting = new Map();
const troubles = [];
const requests = [];
let sent = 0;
let session;
let rest = '';
answers.setEncoding('utf8').on('data', (chunk) => {
  const messages = (rest + chunk).split('\0');
  rest = messages.pop();
  for (const message of messages) receive(JSON.parse(message));
});

function send(method, params = {}) {
  sent += 1;
  commands.write(`${JSON.stringify({ id: sent, sessionId: session, method, params })}\0`);
  return new Promise((resolve, reject) => waiting.set(sent, { resolve, reject, method }));
}

// One pixel, in place of whatever the page asks the network for.
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';

function receive({ id, result, error, method, params }) {
  if (id) {
    const { resolve, reject, method: asked } = waiting.get(id);
    waiting.delete(id);
    return error ? reject(new Error(`${asked}: ${error.message}`)) : resolve(result);
  }
  if (method === 'Runtime.exceptionThrown') troubles.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
  if (method === 'Runtime.consoleAPICalled') troubles.push(`console: ${JSON.stringify(params.args)}`);
  if (method === 'Log.entryAdded') troubles.push(`log: ${params.entry.text} ${params.entry.url ?? ''}`);
  if (method === 'Page.javascriptDialogOpening') troubles.push(`dialog: ${params.message}`);
  if (method === 'Fetch.requestPaused') {
    requests.push(params.request.url);
    const { requestId } = params;
    const lost = params.request.url.endsWith('/7.png');
    const answer = lost
      ? send('Fetch.failRequest', { requestId, errorReason: 'ConnectionRefused' })
      : send('Fetch.fulfillRequest', { requestId, responseCode: 200, responseHeaders: [{ name: 'Content-Type', value: 'image/png' }], body: PIXEL });
    // The page may have let it go by now.
    answer.catch(() => {});
  }
}

async function ask(expression) {
  const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
  if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
  return result.value;
}

async function until(what, expression) {
  for (const patience = Date.now() + 15_000; Date.now() < patience; ) {
    if (await ask(expression)) return;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  throw new Error(`${what} did not come about: ${expression}`);
}

function same(what, found, expected) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
  }
}

async function press(key, text) {
  const codes = { Enter: 13, Escape: 27, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40 };
  const event = { key, windowsVirtualKeyCode: codes[key] ?? key.toUpperCase().charCodeAt(0), text };
  await send('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', ...event });
  await send('Input.dispatchKeyEvent', { type: 'keyUp', ...event, text: undefined });
}

async function screen(name) {
  if (!screens) return;
  const { data } = await send('Page.captureScreenshot', { format: 'png' });
  writeFileSync(join(screens, `${name}.png`), Buffer.from(data, 'base64'));
}

// ---- What a person does.

async function open(width, height, dark) {
  await send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 500 });
  await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }] });
  // From an empty page, so that nothing which comes late from the last one is laid at the door of this one.
  await send('Page.navigate', { url: 'about:blank' });
  await until('an empty page', `location.href === 'about:blank' && document.readyState === 'complete'`);
  requests.length = troubles.length = 0;
  await send('Page.navigate', { url: pathToFileURL(file).href });
  await until('cards', `document.readyState === 'complete' && document.querySelectorAll('.card').length > 0`);
}

const count = (selector) => ask(`document.querySelectorAll(${JSON.stringify(selector)}).length`);
const focused = () => ask(`[...document.querySelectorAll('.card')].indexOf(document.activeElement)`);

async function tryPage(width, height, dark) {
  await open(width, height, dark);
  same(`sideways at ${width}`, await ask('document.documentElement.scrollWidth <= innerWidth'), true);
  same('jobs', await ask(`document.querySelector('#count').textContent`), `${total} jobs`);
  same('cards at first', await count('.card'), 60);
  same('failures', await ask(`document.querySelector('#human-jobs').textContent.startsWith('${failed} failed')`), true);
  same('totals', await ask(`document.querySelector('.tiles dd').textContent`), `${made} of ${total}`);
  await screen(`${width}-top`);

  // An id that would be markup stands there as it is.
  const ids = await ask(`[...document.querySelectorAll('.card h3 span:first-child')].slice(0, 2).map((id) => id.textContent)`);
  same('ids', ids, ['<script>alert(1)</script>', '50% off/ü #1?']);

  await ask(`document.querySelector('#gallery').scrollIntoView({ behavior: 'instant' })`);
  await until('a first picture of a clip', `[...document.querySelectorAll('video')].some((video) => video.videoWidth > 0)`);
  await screen(`${width}-clips`);
  same('requests before anybody asked', requests, []);

  // Every card comes in time, and no more players than are near.
  await until('all cards', `(scrollTo({ top: 1e9, behavior: 'instant' }), document.querySelectorAll('.card').length === ${total})`);
  await new Promise((resolve) => setTimeout(resolve, 200));
  same('few players', await ask(`document.querySelectorAll('video').length < 60`), true);

  await ask(`document.querySelector('#state').value = 'succeeded', document.querySelector('#state').dispatchEvent(new Event('change'))`);
  same('found', await ask(`document.querySelector('#count').textContent`), `${made} of ${total} jobs`);

  await ask(`scrollTo({ top: 0, behavior: 'instant' })`);
  await press('/', '/');
  same('search has the focus', await ask('document.activeElement.id'), 'search');
  for (const letter of 'sku-14') await press(letter, letter);
  await until('a search', `document.querySelectorAll('.card').length < 15`);
  await press('ArrowDown');
  same('the first card', await focused(), 0);
  await press('ArrowRight');
  same('the next card', await focused(), 1);
  await press('ArrowLeft');
  await press('Enter');
  await until('a clip that plays', `[...document.querySelectorAll('video')].some((video) => !video.paused && video.currentTime > 0)`);
  await press('Escape');
  await until('a clip that stands', `[...document.querySelectorAll('video')].every((video) => video.paused)`);
  await press('Escape');
  same('all again', await ask(`document.querySelector('#count').textContent`), `${total} jobs`);

  await until('the image that is a file', `[...document.querySelectorAll('.source img')].some((image) => image.naturalWidth === 2)`);
  same('images before anybody asked', await ask(`document.querySelectorAll('.source img').length`), 1);
  same('requests before anybody asked', requests, []);
  await ask('document.activeElement.blur()');
  await press('i', 'i');
  await until('source images', `[...document.querySelectorAll('.source img')].some((image) => image.naturalWidth > 0)`);
  await until('the image that is lost', `(document.querySelector('#cards').children[9].scrollIntoView({ behavior: 'instant' }),
    document.querySelector('#cards').children[9].textContent.includes('cannot be loaded'))`);
  await screen(`${width}-sources`);
  same('requests for images only', requests.every((url) => /^https:\/\/images\.example\.com\/\d+\.png$/.test(url)), true);
  // The image that is lost is told of by the browser too.
  const unexpected = troubles.filter((trouble) => !/ERR_CONNECTION_REFUSED/.test(trouble));
  same('troubles', unexpected, []);
}

try {
  const { targetInfos } = await send('Target.getTargets');
  const { targetId } = targetInfos.find((target) => target.type === 'page');
  ({ sessionId: session } = await send('Target.attachToTarget', { targetId, flatten: true }));
  for (const domain of ['Page', 'Runtime', 'Log']) await send(`${domain}.enable`);
  await send('Fetch.enable', { patterns: [{ urlPattern: 'http*' }] });
  await tryPage(1280, 900, false);
  await tryPage(390, 844, true);
  await tryPage(360, 740, false);
  console.log(`the page is as it should be: ${total} jobs at 1280, 390 and 360 pixels`);
} finally {
  chromium.kill();
  await new Promise((resolve) => chromium.once('exit', resolve));
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
}
