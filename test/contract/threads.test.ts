/** CONTRACT.md §2.13: a handle belongs to one thread; each thread has its own. */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { Multi, Transfer } from '../../src/worker/multi/index.ts';
import { get, Rig, serve } from './rig.ts';

test('contract/rule-79 a multi and a transfer cannot be sent to another thread', () => {
  const multi = new Multi();
  const transfer = new Transfer({ url: 'http://127.0.0.1/', onData: () => undefined });
  expect(() => structuredClone(multi)).toThrow(/could not be cloned/);
  expect(() => structuredClone(transfer)).toThrow(/could not be cloned/);
  multi.close();
});

test('contract/rule-79 callbacks run inside the driving call, in its thread, and at no other time', async () => {
  const server = await serve((connection) => connection.reply());
  let driving = false;
  const outside: string[] = [];
  const note = (what: string) => (): undefined => {
    if (!driving) outside.push(what);
  };
  const rig = new Rig({ onSocket: note('socket') });
  const got = get({ url: server.url, onHead: note('head'), onData: note('data'), onEnd: note('end') });
  rig.multi.add(got.transfer);
  while (got.ended === 0) {
    driving = true;
    rig.step();
    driving = false;
    await new Promise(setImmediate);
  }
  expect(outside).toEqual([]);
});

test('contract/rule-79 multis in several threads at once share nothing', async () => {
  const server = await serve();
  const source = `
    import { EpollDriver, Multi, Transfer } from ${JSON.stringify(new URL('../../dist/worker/multi/index.js', import.meta.url).href)};
    import { parentPort, workerData } from 'node:worker_threads';
    const multi = new Multi({ maxHostConnections: 2 });
    const driver = new EpollDriver(multi);
    driver.run();
    let body = '';
    for (let count = 0; count < 50; count++) {
      multi.add(new Transfer({
        url: workerData,
        onData: (_transfer, bytes, start, end) => { body += Buffer.from(bytes.subarray(start, end)); },
        onEnd: (transfer) => {
          multi.remove(transfer);
          if (multi.running > 0) return;
          parentPort.postMessage({ body, stats: multi.stats() });
          driver.stop();
        },
      }));
    }`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  const workers = [1, 2, 3].map(() => new Worker(url, { workerData: server.url }));
  const answers = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
  await Promise.all(workers.map((worker) => worker.terminate()));
  for (const { body, stats } of answers) {
    expect(body).toBe('ok'.repeat(50));
    expect(stats).toMatchObject({ added: 50, opened: 2, reused: 48 });
  }
  expect(server.connections.length).toBe(6);
});
