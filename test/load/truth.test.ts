/**
 * Is what is reported true? Against servers that note how long they held each request: in open loop percentiles are within 2 % of
 * that, and a server that stops for 2 s shows, though hardly any request was under way meanwhile.
 *
 * On a machine that is busy with other things a request lies in a socket for as long as either side waits for a CPU, which nobody can
 * note: such a run proves nothing. So there are several, and one counts whose generator was not held up and whose timers in this
 * thread, which is the server's, were on time. Where none is calm the sums are checked, and the test says that it skipped the rest.
 */

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type LoadResult, load } from 'shardfetch/load';
import { expect, type TestContext, test } from 'vitest';
import { checkSums, type Script, startServer } from './rig.ts';

const ATTEMPTS = 4;
const TOLERANCE = 0.02;
/** Of this thread's timers, 99th percentile: half of what the tolerance allows for at 500 ms. */
const CALM_MS = 5;
const NS_PER_MS = 1e6;
const LOOK_MS = 10;

/** `attempt` runs, and answers what is to be true of a calm run. */
async function onceCalm(context: TestContext, attempt: () => Promise<[LoadResult, () => void]>): Promise<void> {
  for (let number = 1; number <= ATTEMPTS; number++) {
    const delay = monitorEventLoopDelay({ resolution: LOOK_MS });
    delay.enable();
    const [{ generator }, check] = await attempt();
    delay.disable();
    const heldUpMs = Math.max(delay.percentile(99) / NS_PER_MS - LOOK_MS, generator.shards[0]?.loopDelayP99Ms ?? 0);
    if (generator.bottleneck !== null || heldUpMs > CALM_MS) continue;
    check();
    return;
  }
  context.skip('This machine is too busy to tell 2 %.');
}

/** As the histogram has it: the value that so many per cent do not exceed. */
function percentileOf(values: readonly number[], percentile: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percentile) / 100) - 1)] as number;
}

function checkWithin(
  result: LoadResult,
  truthUs: (percentile: number) => number,
  percentiles: readonly number[],
): void {
  for (const percentile of percentiles) {
    const told = result.latency.corrected.percentilesUs[`${percentile}`] as number;
    const truth = truthUs(percentile);
    expect(Math.abs(told - truth) / truth, `p${percentile}: ${told} us told, ${truth} us true`).toBeLessThan(TOLERANCE);
  }
}

function holdFor(msOf: (number: number) => number): Script {
  return (_request, response, number) => void setTimeout(() => response.end('late'), msOf(number));
}

test('open loop, constant latency: corrected and raw agree with the server', { timeout: 60_000 }, async (context) => {
  await onceCalm(context, async () => {
    const server = await startServer(holdFor(() => 500));
    const result = await load({ url: server.url, rate: 100, durationMs: 1_500 });
    checkSums(result);
    expect(result.requests).toMatchObject({ started: 150, completed: 150, failed: 0, notStarted: 0 });
    const check = () => {
      checkWithin(result, (percentile) => percentileOf(server.heldUs, percentile), [10, 50, 90]);
      const { corrected, raw } = result.latency;
      expect((corrected.percentilesUs['50'] as number) / (raw.percentilesUs['50'] as number)).toBeLessThan(1.02);
    };
    return [result, check];
  });
});

test('open loop, two latencies: both are told, in their shares', { timeout: 60_000 }, async (context) => {
  await onceCalm(context, async () => {
    const server = await startServer(holdFor((number) => (number % 5 === 4 ? 900 : 400)));
    const result = await load({ url: server.url, rate: 100, durationMs: 1_500 });
    checkSums(result);
    const check = () => {
      checkWithin(result, (percentile) => percentileOf(server.heldUs, percentile), [25, 50, 75, 90, 95]);
      expect(result.latency.corrected.percentilesUs['75']).toBeLessThan(500_000);
      expect(result.latency.corrected.percentilesUs['90']).toBeGreaterThan(850_000);
    };
    return [result, check];
  });
});

const STALL_FROM_MS = 500;
const STALL_MS = 2_000;
const STALL_RUN_MS = 4_000;

/** Answers at once, but for one stall. */
function stalling(): Script {
  let beganMs = 0;
  return (_request, response) => {
    beganMs ||= performance.now();
    const sinceMs = performance.now() - beganMs;
    const left = sinceMs >= STALL_FROM_MS ? STALL_FROM_MS + STALL_MS - sinceMs : 0;
    if (left > 0) setTimeout(() => response.end('late'), left);
    else response.end('at once');
  };
}

test('a stall of 2 s: seen in corrected latency, hardly in raw', { timeout: 60_000 }, async (context) => {
  await onceCalm(context, async () => {
    const server = await startServer(stalling());
    const result = await load({ url: server.url, rate: 200, connections: 20, durationMs: STALL_RUN_MS });
    checkSums(result);
    expect(result.requests.completed).toBe(800);
    // Half of the requests were due in the stall, evenly, and waited for its end; 20 of 800 were under way.
    expect(result.latency.corrected.percentilesUs['90']).toBeGreaterThan(1_400_000);
    expect(result.requests.lateStarts).toBeGreaterThan(300);
    expect(result.notes.join()).toContain('waited for one of the 20 connections');
    const check = () => {
      const truth = (percentile: number) => (percentile / 100 - 0.5) * STALL_RUN_MS * 1_000;
      checkWithin(result, truth, [75, 90, 95, 99]);
      expect(result.latency.raw.percentilesUs['90']).toBeLessThan(100_000);
    };
    return [result, check];
  });
});

test('the same in closed loop: the server is asked less, and percentiles hide the stall', {
  timeout: 60_000,
}, async (context) => {
  await onceCalm(context, async () => {
    const server = await startServer(stalling());
    const result = await load({ url: server.url, connections: 20, durationMs: STALL_RUN_MS });
    checkSums(result);
    expect(result.latency.corrected.maxUs).toBeGreaterThan(1_800_000);
    return [result, () => expect(result.latency.corrected.percentilesUs['95']).toBeLessThan(200_000)];
  });
});
