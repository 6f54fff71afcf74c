/**
 * `npm run demo`: what does it feel like? Sends many small requests through `pool.fetch`, then fewer through undici's `request`
 * and `fetch`, to a server of its own on this machine, and shows rate, latency and CPU side by side. For figures to quote there
 * is `npm run bench`: here all clients run in one process, one after the other.
 */

import { parseArgs } from 'node:util';
import { Pool } from 'shardfetch';
import { Agent, request, fetch as undiciFetch } from 'undici';
import { failureCode } from './clients/meter.ts';
import { choiceOption, integerOption, runProgram } from './command-line.ts';
import { type CpuTime, cpuTimeBetween, readCpuTime } from './cpu-clock.ts';
import { describeEnvironment, environmentLine, noiseLine } from './environment.ts';
import { checkHistogram, Histogram } from './histogram.ts';
import { Progress, sayWarmingUp } from './progress.ts';
import { HELLO, startTarget } from './server/target.ts';
import { bold, count, failureList, figure, latency, table } from './text.ts';

const HELP = `Many small requests through pool.fetch, then through undici, to a server of our own on this machine.

  npm run demo -- [options]

  --requests N     through pool.fetch (default 200,000); undici's request and fetch get a tenth each
  --in-flight N    requests in flight, each on a connection of its own (default 256)
  --shards N       worker threads of the pool (default: cores - 1, at least 1)
  --server KIND    node (our own, the default), nginx, or auto: nginx where installed
  --help
`;

const PEER_SHARE = 10;
/**
 * Sent before anything counts, so that connections are open and code is compiled: for each client the same. With fewer undici
 * would look slower than it is, since it sends fewer in all.
 */
const WARM_UP_REQUESTS = 20_000;
const INTERRUPTED = 130;

/** One client's run. */
interface Run {
  readonly name: string;
  readonly answers: number;
  readonly seconds: number;
  readonly cpu: CpuTime;
  readonly latencies: Histogram;
  readonly failures: Readonly<Record<string, number>>;
}

interface Plan {
  readonly name: string;
  readonly requests: number;
  readonly inFlight: number;
  /** Answers the body of one response with status 200. */
  readonly send: () => Promise<string>;
}

let interrupted = false;

async function runDemo(): Promise<number> {
  const { values } = parseArgs({
    options: {
      requests: { type: 'string', default: '200000' },
      'in-flight': { type: 'string', default: '256' },
      shards: { type: 'string' },
      server: { type: 'string', default: 'node' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const requests = integerOption('requests', values.requests, 1, 1_000_000_000);
  const inFlight = integerOption('in-flight', values['in-flight'], 1, 15_000);
  const shards = values.shards === undefined ? undefined : integerOption('shards', values.shards, 0, 128);
  const kind = choiceOption('server', values.server, ['auto', 'nginx', 'node'] as const);

  checkHistogram();
  const environment = describeEnvironment();
  const target = await startTarget(kind);
  process.on('SIGINT', () => {
    // The second time there is no patience left; server processes end with us.
    if (interrupted) process.exit(INTERRUPTED);
    interrupted = true;
  });
  const pool = new Pool({
    ...(shards !== undefined && { shards }),
    connections: { perOrigin: inFlight, total: Math.max(1_000, inFlight) },
  });
  const agent = new Agent({ connections: inFlight, pipelining: 1 });
  try {
    console.log(
      `${environmentLine(environment)}\nServer: ${target.name}, same machine; ${inFlight} requests in flight`,
    );
    const noise = noiseLine(environment);
    if (noise !== '') console.log(noise);
    console.log();

    const { url } = target;
    const perShard: number[] = [];
    const sendByPool = async () => {
      const response = await pool.fetch(url);
      expectStatus(response.status);
      const { shard } = response.connection;
      perShard[shard] = (perShard[shard] ?? 0) + 1;
      return response.text();
    };
    const sendByRequest = async () => {
      const response = await request(url, { dispatcher: agent });
      expectStatus(response.statusCode);
      return response.body.text();
    };
    const sendByFetch = async () => {
      const response = await undiciFetch(url, { dispatcher: agent });
      expectStatus(response.status);
      return response.text();
    };

    const peerRequests = Math.ceil(requests / PEER_SHARE);
    const runs: Run[] = [];
    for (const plan of [
      { name: 'pool.fetch', requests, inFlight, send: sendByPool },
      { name: 'undici request', requests: peerRequests, inFlight, send: sendByRequest },
      { name: 'undici fetch', requests: peerRequests, inFlight, send: sendByFetch },
    ]) {
      if (!interrupted) runs.push(await runPlan(plan));
    }

    console.log(`\n${runsTable(runs)}\n\n${await shardsTable(pool, perShard)}`);
    for (const line of ratioLines(runs)) console.log(line);
    const failed = runs.filter(({ failures }) => Object.keys(failures).length > 0);
    for (const { name, failures } of failed) console.log(`Failed requests of ${name}: ${failureList(failures)}`);
    if (interrupted) console.log('Interrupted: the last figures are of what was done by then.');
    return interrupted ? INTERRUPTED : failed.length > 0 ? 1 : 0;
  } finally {
    await Promise.all([pool.close(), agent.destroy()]);
    await target.stop();
  }
}

async function runPlan(plan: Plan): Promise<Run> {
  const { name, requests, inFlight, send } = plan;
  const failures: Record<string, number> = {};
  sayWarmingUp(name);
  await sendAll(Math.min(WARM_UP_REQUESTS, requests), inFlight, send, failures, () => {});

  const latencies = new Histogram();
  const progress = new Progress(name, requests);
  const cpuBefore = readCpuTime();
  const beganMs = performance.now();
  await sendAll(requests, inFlight, send, failures, (us) => {
    latencies.record(us);
    progress.done++;
  });
  const seconds = (performance.now() - beganMs) / 1000;
  const cpu = cpuTimeBetween(cpuBefore, readCpuTime());
  progress.end();
  return { name, answers: latencies.total, seconds, cpu, latencies, failures };
}

/** A closed loop: `inFlight` lanes, each sends its next request when the last one is answered. */
async function sendAll(
  requests: number,
  inFlight: number,
  send: () => Promise<string>,
  failures: Record<string, number>,
  answered: (us: number) => void,
): Promise<void> {
  let begun = 0;
  async function lane(): Promise<void> {
    while (begun < requests && !interrupted) {
      begun++;
      const beganMs = performance.now();
      let body: string;
      try {
        body = await send();
      } catch (error) {
        if (error instanceof WrongAnswer) throw error;
        const code = failureCode(error);
        failures[code] = (failures[code] ?? 0) + 1;
        continue;
      }
      if (body !== HELLO)
        throw new WrongAnswer(`A body was ${JSON.stringify(body)} in place of ${JSON.stringify(HELLO)}.`);
      answered((performance.now() - beganMs) * 1000);
    }
  }
  await Promise.all(Array.from({ length: inFlight }, lane));
}

/** Not a failed request but a wrong one: the demo ends with it. */
class WrongAnswer extends Error {}

function expectStatus(status: number): void {
  if (status !== 200) throw new WrongAnswer(`A status was ${status} in place of 200.`);
}

function runsTable(runs: readonly Run[]): string {
  const rows = runs.map(({ name, answers, seconds, cpu, latencies }) => [
    name,
    count(answers),
    count(answers / seconds),
    ...[0.5, 0.9, 0.99].map((share) => latency(latencies.percentileUs(share))),
    latency(latencies.maxUs),
    `${figure((cpu.userUs + cpu.systemUs) / answers)} us`,
    cpu.mainThreadUs === null ? '-' : `${figure(cpu.mainThreadUs / answers)} us`,
  ]);
  const header = ['', 'requests', 'requests/s', 'p50', 'p90', 'p99', 'max', 'CPU/request', 'of it main thread'];
  return table([header, ...rows]);
}

async function shardsTable(pool: Pool, perShard: readonly number[]): Promise<string> {
  const { shards } = await pool.stats();
  const rows = shards.map(({ shard, opened, reused, turns }) => [
    `shard ${shard}`,
    count(perShard[shard] ?? 0),
    count(opened),
    count(reused),
    figure((perShard[shard] ?? 0) / turns),
  ]);
  return table([
    ['pool.fetch, warm-up included', 'requests', 'connections opened', 'reused', 'requests per turn'],
    ...rows,
  ]);
}

function ratioLines(runs: readonly Run[]): string[] {
  const [ours, ...peers] = runs;
  if (ours === undefined || ours.answers === 0) return [];
  const cpuOf = ({ cpu, answers }: Run) => (cpu.userUs + cpu.systemUs) / answers;
  const rateOf = ({ answers, seconds }: Run) => answers / seconds;
  return [''].concat(
    peers
      .filter(({ answers }) => answers > 0)
      .map((peer) => {
        const rate = (rateOf(ours) / rateOf(peer)).toFixed(1);
        const cpu = (cpuOf(ours) / cpuOf(peer)).toFixed(2);
        return `${bold(`${rate}x`)} the requests per second of ${peer.name}, for ${bold(`${cpu}x`)} its CPU per request`;
      }),
  );
}

await runProgram(runDemo);
