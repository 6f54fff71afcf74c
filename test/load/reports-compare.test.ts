/** Comparing two results: the test of ranks against known values, what counts as a change, and the command. */

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type LoadResult, load } from 'shardfetch/load';
import { beforeAll, describe, expect, test } from 'vitest';
import { compareResults, failuresOf } from '../../src/cli/compare.ts';
import { comparisonText } from '../../src/cli/compare-command.ts';
import { rankSumTest } from '../../src/cli/compare-ranks.ts';
import { withSeconds } from './reports-rig.ts';
import { answerAtOnce, endings, startServer } from './rig.ts';

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

describe('the test of ranks', () => {
  // scipy.stats.mannwhitneyu(a, b, method='exact') where there are no ties; by hand, over all choices, where there are.
  test.each<[number[], number[], number]>([
    [[1, 2, 3], [4, 5, 6], 2 / 20],
    [[1, 2, 3, 4], [5, 6, 7, 8], 2 / 70],
    [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], 2 / 252],
    [[1, 3, 5, 7], [2, 4, 6, 8], 48 / 70],
    [[1, 1, 2], [2, 3, 3], 4 / 20],
    [[5, 5, 5], [5, 5, 5], 1],
    [[], [1], 1],
  ])('%j and %j: %f', (first, second, p) => {
    expect(rankSumTest(first, second)).toBeCloseTo(p, 12);
    expect(rankSumTest(second, first)).toBeCloseTo(p, 12);
  });

  test('samples of one distribution seem to differ as seldom as promised', () => {
    let state = 12_345;
    const random = () => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return state / 2 ** 31;
    };
    const sample = () => Array.from({ length: 8 }, random);
    const runs = 400;
    let differed = 0;
    for (let run = 0; run < runs; run++) if (rankSumTest(sample(), sample()) < 0.05) differed++;
    expect(differed / runs).toBeLessThan(0.09);
    expect(differed).toBeGreaterThan(0);
  });
});

let real: LoadResult;
beforeAll(async () => {
  const { url } = await startServer(answerAtOnce);
  real = await load({ url, connections: 2, durationMs: 1_050, rate: 100 });
});

/** Ten seconds of which the middle is given, and that vary a little. */
function run(p99Us: number, changes: Partial<LoadResult['perSecond'][number]> = {}, count = 10): LoadResult {
  const corrected = real.latency.corrected;
  const latency = { ...corrected, percentilesUs: { ...corrected.percentilesUs, '99': p99Us } };
  const made = withSeconds(real, count, (_second, index) => ({ p99Us: p99Us + ((index * 7) % 10) * 10, ...changes }));
  return {
    ...made,
    latency: { ...made.latency, corrected: latency },
    generator: { ...made.generator, bottleneck: null },
  };
}

function verdicts(before: LoadResult, after: LoadResult) {
  return Object.fromEntries(compareResults(before, after).changes.map(({ name, verdict }) => [name, verdict]));
}

describe('comparing', () => {
  test('a run is no different from itself', () => {
    const comparison = compareResults(run(5_000), run(5_000));
    for (const { verdict, relative } of comparison.changes) {
      expect(['noise', 'untested']).toContain(verdict);
      expect(relative).toBe(0);
    }
    expect(comparison.warnings).toEqual([]);
    expect(comparisonText(comparison, null).split('\n')[0]).toBe('No difference beyond noise.');
  });

  test('worse and better, by more than noise and by more than a share', () => {
    expect(verdicts(run(5_000), run(6_000))).toMatchObject({ p99: 'worse', p50: 'noise', 'p99.9': 'untested' });
    expect(verdicts(run(6_000), run(5_000))).toMatchObject({ p99: 'better' });
    expect(verdicts(run(5_000, { completed: 100 }), run(5_000, { completed: 90 }))).toMatchObject({ rate: 'worse' });
    expect(verdicts(run(5_000), run(5_000, { failed: 5 }))).toMatchObject({ errors: 'worse' });
    const comparison = compareResults(run(5_000), run(6_000));
    expect(failuresOf(comparison, 0.05).map(({ name }) => name)).toEqual(['p99']);
    expect(failuresOf(comparison, 0.5)).toEqual([]);
    expect(comparisonText(comparison, 0.05)).toMatch(
      /^FAILED: worse by more than 5\.00 %: p99 \+20 %\.\nMore than noise: worse: p99 \+20 %\./,
    );
  });

  test('one bad second among ten may be chance, and does not fail', () => {
    const bad = run(5_000);
    const perSecond = bad.perSecond.map((second, index) => (index === 4 ? { ...second, p99Us: 900_000 } : second));
    const comparison = compareResults(run(5_000), { ...bad, perSecond });
    expect(comparison.changes.find(({ name }) => name === 'p99')?.verdict).toBe('noise');
    expect(failuresOf(comparison, 0.05)).toEqual([]);
  });

  test('short runs are judged by their figures alone, and it is said', () => {
    const comparison = compareResults(run(5_000, {}, 3), run(6_000, {}, 3));
    expect(comparison.changes.find(({ name }) => name === 'p99')).toMatchObject({ verdict: 'short', p: null });
    expect(failuresOf(comparison, 0.05).map(({ name }) => name)).toEqual(['p99']);
    expect(comparisonText(comparison, null).split('\n')[0]).toContain(
      '5 whole seconds each are needed, and there are 3 and 3',
    );
  });

  test('a long run is cut in 30 pieces at most', () => {
    const { pieces } = compareResults(run(5_000, {}, 300), run(5_000, {}, 45));
    expect(pieces).toEqual([
      { count: 30, seconds: 10 },
      { count: 22, seconds: 2 },
    ]);
  });

  test('what keeps two runs from comparing is said', () => {
    const other = {
      ...run(5_000),
      options: { ...real.options, connections: 9 },
      environment: { ...real.environment, cores: 64 },
    };
    const { warnings } = compareResults(run(5_000), other);
    expect(warnings.join('\n')).toMatch(/connections: 2 before, 9 after/);
    expect(warnings.join('\n')).toMatch(/cores: \d+ before, 64 after/);
  });
});

describe.concurrent('shardfetch compare', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-compare-'));
  endings.push(() => rm(folder, { recursive: true }));
  const command = (...args: string[]) =>
    new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
      const child = spawn(process.execPath, [COMMAND, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (text) => {
        stdout += text;
      });
      child.stderr.on('data', (text) => {
        stderr += text;
      });
      child.once('close', (code) => resolve({ code, stdout, stderr }));
    });
  const fileOf = (name: string, result: unknown) => {
    const file = path.join(folder, name);
    writeFileSync(file, JSON.stringify(result));
    return file;
  };

  test('tells, writes JSON, and fails where asked to', async () => {
    const [before, after] = [fileOf('before.json', run(5_000)), fileOf('after.json', run(6_000))];
    const json = path.join(folder, 'comparison.json');
    const [told, failed, unmoved] = await Promise.all([
      command('compare', before, after, '--json', json),
      command('compare', before, after, '--fail-if-worse', '5%'),
      command('compare', before, after, '--fail-if-worse', '30%'),
    ]);
    expect([told.code, failed.code, unmoved.code]).toEqual([0, 99, 0]);
    expect(told.stdout).toContain('Mann-Whitney');
    expect(JSON.parse(readFileSync(json, 'utf8'))).toMatchObject({ schema: 'shardfetch-compare/1', failures: [] });
  });

  test('load --compare tells the same after its own report', async () => {
    const { url } = await startServer(answerAtOnce);
    const before = fileOf('base.json', run(5_000, {}, 2));
    const { code, stdout } = await command('load', '-q', '-d', '1s', '-c', '2', url, '--compare', before);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^(?:Done|The generator)[\s\S]*Too short to tell a change from noise/);
  });

  test('bad input: one sentence', async () => {
    const good = fileOf('good.json', run(5_000));
    const cases: [args: string[], sentence: string][] = [
      [['compare', good, '/no/such/file'], 'AFTER: /no/such/file cannot be read (ENOENT)'],
      [['compare', fileOf('other.json', { schema: 'other/1' }), good], 'is no result of shardfetch load'],
      [['compare', good, good, '--fail-if-worse', 'much'], '--fail-if-worse takes a share such as 5%'],
      [['load', '--fail-if-worse', '5%', 'http://127.0.0.1:9/'], '--fail-if-worse needs --compare'],
      [['load', '--compare', '/no/such/file', 'http://127.0.0.1:9/'], '--compare: /no/such/file cannot be read'],
    ];
    await Promise.all(
      cases.map(async ([args, sentence]) => {
        const { code, stdout, stderr } = await command(...args);
        expect(stderr).toContain(sentence);
        expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
      }),
    );
  });
});
