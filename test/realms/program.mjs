/** What `realms.test.ts` runs in a context of its own. The server answers with what it was sent. */

import { Pool } from '../../dist/main/index.js';
import { EpollDriver, Multi, Transfer, UvDriver } from '../../dist/worker/multi/index.js';

const url = globalThis.values[0];
const form = new FormData();
form.append('name', 'value');
form.append('file', new Blob(['in a file']), 'a.txt');

const BODIES = {
  text: () => 'text',
  bytes: () => new Uint8Array([98, 121, 116, 101, 115]),
  Buffer: () => Buffer.from('Buffer'),
  memory: () => new Uint8Array([109, 101, 109, 111, 114, 121]).buffer,
  pairs: () => new URLSearchParams({ a: 'b' }),
  Blob: () => new Blob(['Blob']),
  stream: () => new Blob(['stream']).stream(),
  form: () => form,
};

const said = { isItsOwn: !(Buffer.alloc(0) instanceof Uint8Array) };

async function viaPool(shards) {
  const pool = new Pool({ shards });
  const answers = {};
  for (const [name, body] of Object.entries(BODIES)) {
    const given = body();
    const init = name === 'stream' ? { duplex: 'half' } : {};
    const response = await pool.fetch(url, { method: 'POST', body: given, ...init });
    answers[name] = (await response.text()).replace(/formdata-[\w-]+/g, 'B');
  }
  const large = await pool.fetch(`${url}/large`, { method: 'POST', body: new Uint8Array(1_000_000).fill(120) });
  answers.large = (await large.bytes()).length;
  answers.decoded = await (await pool.fetch(`${url}/gzip`, { method: 'POST', body: 'packed' })).text();
  answers.repeated = await (await pool.fetch(`${url}/307`, { method: 'POST', body: 'again' })).text();
  const error = await pool.fetch('http://127.0.0.1:1/').catch((reason) => reason);
  answers.error = [error instanceof TypeError, error.code];
  const aborted = new AbortController();
  aborted.abort();
  const abort = await pool.fetch(url, { signal: aborted.signal }).catch((reason) => reason);
  answers.abort = abort.name;
  const rejected = Promise.reject(new Error('nobody waits for it'));
  const keyed = new Pool({ shards, placement: () => rejected });
  answers.placement = (await keyed.fetch(url).catch((reason) => reason)).cause.limit;
  await keyed.close();
  const { statusCode } = await undiciRequest(pool.dispatcher());
  answers.dispatched = statusCode;
  await pool.close();
  return answers;
}

/** What `request` of undici would do, here in this realm. */
function undiciRequest(dispatcher) {
  return dispatcher
    .request({ origin: new URL(url), path: '/', method: 'PUT', body: Buffer.from('by a dispatcher') })
    .then(async (answer) => {
      await answer.body.text();
      return answer;
    });
}

function viaDriver(Driver) {
  const multi = new Multi();
  const driver = new Driver(multi);
  let text = '';
  let left = 2;
  const pieces = [Buffer.from('by '), Buffer.from(Driver.name)];
  const body = { length: -1, read: () => pieces.shift() ?? null };
  const onData = (_, bytes, start, end) => {
    text += Buffer.from(bytes.slice(start, end)).toString();
  };
  multi.add(new Transfer({ url: new URL(url), method: 'POST', body, onData }));
  multi.add(new Transfer({ url, method: 'POST', body: new Uint8Array(0) }));
  return new Promise((resolve) => {
    driver.onTurn = () => {
      for (const { transfer, error } of multi.messages()) {
        multi.remove(transfer);
        if (error !== null) text += error.message;
        if (--left > 0) continue;
        driver.stop();
        multi.close();
        resolve(text);
      }
    };
    driver.run();
  });
}

for (const shards of [0, 1]) said[`shards: ${shards}`] = await viaPool(shards);
for (const Driver of [EpollDriver, UvDriver]) said[Driver.name] = await viaDriver(Driver);
console.log(JSON.stringify(said));
