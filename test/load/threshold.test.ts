/** What thresholds mean, and what is none. */

import { expect, test } from 'vitest';
import { distributionOf } from '../../src/main/load/distribution.ts';
import { Histogram } from '../../src/protocol/load/histogram.ts';
import type { LoadResult } from '../../src/protocol/load/result.ts';
import { judge, parseThreshold } from '../../src/protocol/load/threshold.ts';

/** 100 requests of 1 to 100 ms; 90 answered with 200, 8 with 404, 2 with 503; 5 more failed. */
function result(): LoadResult {
  const histogram = new Histogram();
  for (let ms = 1; ms <= 100; ms++) histogram.record(ms * 1_000);
  const latency = distributionOf(histogram);
  const none = distributionOf(new Histogram());
  return {
    durationMs: 1_000,
    rate: 100,
    requests: { started: 105, completed: 100, failed: 5, lateStarts: 21, notStarted: 0, repeated: 0, unfinished: 0 },
    statuses: { 200: 90, 404: 8, 503: 2 },
    latency: { from: 'send', corrected: latency, raw: none, phases: { firstByte: latency } },
  } as unknown as LoadResult;
}

test.each([
  ['p50>50.1ms', false],
  ['p50>=50ms', true],
  ['p99.9<1s', true],
  ['p99>99ms', true],
  ['p99 > 250', false],
  ['max>100ms', true],
  ['mean<50.6ms', true],
  ['min>999us', true],
  ['firstByte:p50>50ms', true],
  ['rate<5k/s', true],
  ['rate<100', false],
  ['errors>14%', true],
  ['errors>14.3%', false],
  ['errors>14', true],
  ['errors>15', false],
  ['failed==5', true],
  ['late>=20%', true],
  ['notStarted>0', false],
  ['status:503>1', true],
  ['status:5xx>2', false],
  ['status:4xx>7%', true],
  ['status:2xx<100%', true],
] as const)('%s is %s', (text, crossed) => {
  expect(judge(parseThreshold(text), result())).toMatchObject({ text, crossed });
});

test('a threshold of what was never measured is crossed', () => {
  expect(judge(parseThreshold('raw:p99>1s'), result())).toEqual({ text: 'raw:p99>1s', actual: null, crossed: true });
});

test.each([
  '',
  'p99',
  'p99>',
  '>5',
  'p101>1ms',
  'p99>5kg',
  'latency>1s',
  'status:999>0',
  'status:2x>0',
  'tls:rate>1',
  'nothing:p99>1',
  'rate>5ms',
  'errors>5ms',
  'p99>1ms>2',
])('%j is none, and the message shows some', (text) => {
  expect(() => parseThreshold(text, '--fail-if')).toThrow(
    /The threshold ".*" is not understood; write one such as 'p99>250ms'/,
  );
});
