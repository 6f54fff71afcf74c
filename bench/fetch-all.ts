/**
 * Does `pool.fetchAll` hold what it promises: a million requests in bounded memory? Takes them through one loop in a process with a small
 * heap, against a server of its own on this machine, reads every body, and tells the most memory that was in use.
 *
 *   node out/bench/fetch-all.js [--requests 1000000] [--concurrency 256] [--shards N] [--heap 48] [--server node|nginx|auto] [--json]
 */

import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type FetchAllProgress, Pool } from 'shardfetch';
import { runOwned } from './child-processes.ts';
import { choiceOption, integerOption, runProgram } from './command-line.ts';
import { HELLO, startTarget } from './server/target.ts';
import { count } from './text.ts';

const MIB = 1024 * 1024;
const CHILD_MS_MAX = 1_800_000;

/** What the process with the small heap tells, as JSON. */
interface Seen {
  readonly requests: number;
  readonly wrong: number;
  readonly firstFailure: string;
  readonly seconds: number;
  /** The most of all threads' heaps and buffers, looked at twice a second. */
  readonly heapMib: number;
  readonly residentMib: number;
  /** Calls of onProgress. */
  readonly told: number;
}

const OPTIONS = {
  requests: { type: 'string', default: '1000000' },
  concurrency: { type: 'string', default: '256' },
  shards: { type: 'string' },
  heap: { type: 'string', default: '48' },
  server: { type: 'string', default: 'node' },
  url: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const;

async function runFetchAll(): Promise<number> {
  const { values } = parseArgs({ options: OPTIONS });
  if (values.url !== undefined) return measure(values.url);
  const kind = choiceOption('server', values.server, ['auto', 'nginx', 'node']);
  const heap = integerOption('heap', values.heap, 16, 65_536);
  const target = await startTarget(kind);
  try {
    const own = fileURLToPath(import.meta.url);
    const heapOption = `--max-old-space-size=${heap}`;
    const command = [heapOption, own, '--url', target.url, ...process.argv.slice(2)];
    const { code, stdout, stderr } = await runOwned(process.execPath, command, CHILD_MS_MAX);
    if (code !== 0) throw new Error(`The process with a heap of ${heap} MiB ended with ${code}: ${stderr}`);
    const seen = JSON.parse(stdout) as Seen;
    process.stdout.write(values.json ? stdout : report(seen, heap));
    return seen.wrong === 0 ? 0 : 1;
  } finally {
    await target.stop();
  }
}

function report(seen: Seen, heap: number): string {
  const rate = Math.round(seen.requests / seen.seconds);
  const memory = `at most ${seen.heapMib} MiB on the main thread's heap (limit ${heap}), ${seen.residentMib} MiB resident`;
  const failures = seen.wrong === 0 ? 'none failed' : `${count(seen.wrong)} FAILED: ${seen.firstFailure}`;
  return `${count(seen.requests)} requests in ${seen.seconds.toFixed(1)} s, ${count(rate)}/s; ${failures}; ${memory}\n`;
}

async function measure(url: string): Promise<number> {
  const { values } = parseArgs({ options: OPTIONS });
  const requests = integerOption('requests', values.requests, 1, 1_000_000_000);
  const concurrency = integerOption('concurrency', values.concurrency, 1, 100_000);
  const shards = values.shards === undefined ? {} : { shards: integerOption('shards', values.shards, 0, 64) };
  const pool = new Pool({ ...shards, connections: { perOrigin: concurrency } });
  const peaks = { heap: 0, resident: 0 };
  const look = setInterval(() => {
    const { heapUsed, rss } = process.memoryUsage();
    peaks.heap = Math.max(peaks.heap, heapUsed);
    peaks.resident = Math.max(peaks.resident, rss);
  }, 500);
  let told = 0;
  const onProgress = (_progress: FetchAllProgress): void => void told++;
  let answered = 0;
  let wrong = 0;
  let firstFailure = '';
  const began = performance.now();
  for await (const result of pool.fetchAll(repeated(url, requests), { concurrency, onProgress })) {
    answered++;
    if (result.status === 'fulfilled' && (await result.value.text()) === HELLO) continue;
    wrong++;
    if (firstFailure === '') firstFailure = result.status === 'rejected' ? String(result.reason) : 'another body';
  }
  const seconds = (performance.now() - began) / 1000;
  await delay(0);
  clearInterval(look);
  await pool.close();
  const seen: Seen = {
    requests: answered,
    wrong,
    firstFailure,
    seconds,
    heapMib: Math.round(peaks.heap / MIB),
    residentMib: Math.round(peaks.resident / MIB),
    told,
  };
  process.stdout.write(`${JSON.stringify(seen)}\n`);
  return 0;
}

/** Each a text of its own: what is kept of one is seen in the memory. */
function* repeated(url: string, times: number): Generator<string> {
  for (let index = 0; index < times; index++) yield `${url}?${index}`;
}

await runProgram(runFetchAll);
