/** How many connections a run says it had, against what the server saw. */

import { load } from 'shardfetch/load';
import { describe, expect, test } from 'vitest';
import { answerAtOnce, startServer } from './rig.ts';

describe.concurrent('connections of a run', () => {
  test('fewer are wanted: those that go are closed, and no others', async () => {
    const server = await startServer((_, response) => setTimeout(() => response.end('ok'), 20));
    const { connections, requests } = await load({
      url: server.url,
      connectionStages: [
        { durationMs: 300, to: 10 },
        { durationMs: 1_500, to: 10 },
        { durationMs: 600, to: 2 },
        { durationMs: 200, to: 2 },
      ],
      shards: 1,
    });
    expect(connections).toMatchObject({ opened: 10, peak: 10, lost: 0 });
    expect(requests.failed).toBe(0);
    // One more has looked whether anybody is there.
    expect(server.connections.opened).toBe(11);
  });

  test('the peak is of what was open, not of what was left of it each second', async () => {
    const stalled = await startServer(() => {});
    const [lost, closed] = await Promise.all([
      load({ url: stalled.url, connections: 5, durationMs: 700, timeoutMs: 200, shards: 1 }),
      startServer(answerAtOnce).then(({ url }) =>
        load({ url, connections: 5, requests: 50, keepAlive: false, shards: 1 }),
      ),
    ]);
    expect(lost.connections.peak).toBe(5);
    expect(closed.connections.peak).toBeGreaterThanOrEqual(1);
    expect(closed.connections.peak).toBeLessThanOrEqual(5);
  });

  test('where nothing was answered nobody says how long requests waited', async () => {
    const { url } = await startServer(() => {});
    const { notes } = await load({ url, rate: 50, connections: 2, durationMs: 600, timeoutMs: 200, shards: 1 });
    expect(notes.join()).toContain('waited for one of the 2 connections or were never started');
  });
});
