/** Short runs whose results the tests of reports share: an open loop in which requests fail, are refused and wait. */

import { type LoadResult, load } from 'shardfetch/load';
import { type Script, startServer } from './rig.ts';

/** Every tenth connection is lost, every seventh answer is 503. */
export const troubled: Script = (request, response, number) => {
  if (number % 10 === 9) {
    request.socket.destroy();
    return;
  }
  if (number % 7 === 6) response.statusCode = 503;
  setTimeout(() => response.end('hello'), 2 + (number % 5) * 3);
};

/** Markup in the URL, the tag and the threshold. */
export const HOSTILE_TEXT = '</script><script>globalThis.broken=1</script><img src=x onerror="globalThis.broken=1">';

export async function troubledRun(): Promise<LoadResult> {
  const { url } = await startServer(troubled);
  return load({
    targets: [
      { url: `${url}/one?q=${HOSTILE_TEXT}`, tag: HOSTILE_TEXT },
      { url: `${url}/two`, method: 'POST', body: 'x', weight: 2 },
    ],
    rate: 150,
    connections: 20,
    durationMs: 1_200,
    warmupMs: 200,
    secondHistograms: true,
    thresholds: ['p99>1us', 'errors>90%'],
  });
}

/** The result with other seconds: what a longer run would have found. */
export function withSeconds(
  result: LoadResult,
  count: number,
  change: (second: LoadResult['perSecond'][number], index: number) => Partial<LoadResult['perSecond'][number]>,
): LoadResult {
  const [first] = result.perSecond.filter(({ t }) => t >= 0);
  if (first === undefined) throw new Error('The run has no second.');
  const perSecond = Array.from({ length: count }, (_, index) => {
    const second = { ...first, t: index, lengthMs: 1_000 };
    return { ...second, ...change(second, index) };
  });
  return { ...result, perSecond, durationMs: count * 1_000 };
}
