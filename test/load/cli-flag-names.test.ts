/** What the library calls an option is told as the flag that the user of the command gave. */

import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { errorText, type FlagsOf, inFlags } from '../../src/cli/flag-names.ts';
import { addGetFlags } from '../../src/cli/get-flags.ts';
import { addHoldFlags, holdOptionsOf } from '../../src/cli/hold-flags.ts';
import { addLoadFlags, loadOptionsOf } from '../../src/cli/load-flags.ts';
import { rateText } from '../../src/cli/text.ts';
import { resolveHoldOptions } from '../../src/main/load/hold-options.ts';
import { resolveLoadOptions } from '../../src/main/load/load-options.ts';
import { runCommand } from './hold-rig.ts';

const ADD_FLAGS = { load: addLoadFlags, hold: addHoldFlags, get: addGetFlags };
const URL_GIVEN = 'http://127.0.0.1:9/shards/lateMax';

/** The sentence with which these flags are refused. */
function refusal(command: 'load' | 'hold', args: string[]): string {
  const parsed = ADD_FLAGS[command](new Command(command).argument('[url...]').exitOverride());
  parsed.parse([...args, URL_GIVEN], { from: 'user' });
  try {
    if (command === 'load') resolveLoadOptions(loadOptionsOf(parsed.args, parsed.opts()));
    else resolveHoldOptions(holdOptionsOf(parsed.args, parsed.opts()));
  } catch (error) {
    return errorText(command, error as Error);
  }
  return 'accepted';
}

test.each<['load' | 'hold', string[], string]>([
  ['load', ['-R', '5', '--late-queue', '0'], '--late-queue must be from 1 to 10000000, not 0.'],
  ['load', ['-t', '8', '-c', '1'], '8 threads cannot share 1 connection; use fewer threads or more connections.'],
  ['load', ['-t', '0'], '--threads must be from 1 to 256, not 0.'],
  ['load', ['-c', '0'], '--connections must be from 1 to 10000000, not 0.'],
  ['load', ['-R', '0'], '--rate must be above 0: at 0 nothing would be sent.'],
  ['load', ['--think', '5s-1s'], '--think must be from 5000ms to 86400000ms, not 1000ms.'],
  [
    'load',
    ['--stages', '1s:5', '-d', '5s'],
    '--duration and --stages both say how long the run is; leave --duration out.',
  ],
  ['load', ['--connection-stages', '0s:5'], '--connection-stages (number 1) must be from 1ms to 86400000ms, not 0ms.'],
  [
    'load',
    ['-R', '5', '--think', '1s'],
    '--think belongs to a run by connections; with a rate the rate alone says when requests begin.',
  ],
  ['hold', ['-c', '1', '-P', '2'], '2 processes cannot share 1 connection; use fewer processes or more connections.'],
  ['hold', ['-c', '5', '-a', '6'], '--active must be from 0 to 5, not 6.'],
  ['hold', ['-T', '0'], '--timeout must be from 1ms to 86400000ms, not 0ms.'],
])('%s %j: %s', (command, args, sentence) => {
  expect(refusal(command, args)).toBe(sentence);
});

test.each<[FlagsOf, string, string]>([
  [
    'load',
    'it is self-signed; to trust it, give it as tls.ca.',
    'it is self-signed; to trust it, give it as --cacert.',
  ],
  ['load', 'not within 5 ms; raise timeouts.totalMs if it may.', 'not within 5 ms; raise --timeout if it may.'],
  ['get', 'not within 5 ms; raise timeouts.totalMs if it may.', 'not within 5 ms; raise --max-time if it may.'],
  ['load', 'Shard 2 of the generator died.', 'Thread 2 of the generator died.'],
  // What people call their own things stays.
  ['load', `No connection to ${URL_GIVEN} for "shards".`, `No connection to ${URL_GIVEN} for "shards".`],
  ['get', 'more than limits.headBytes allows; raise it.', 'more than limits.headBytes allows; raise it.'],
])('%s: %s', (command, sentence, told) => {
  expect(inFlags(command, sentence)).toBe(told);
});

test.each(['load', 'hold', 'get'] as const)(
  'every flag that sentences of %s are given is one that it has',
  (command) => {
    const known = ADD_FLAGS[command](new Command(command)).options.map(({ long }) => long);
    const options = [
      'tls.ca',
      'tls.rejectUnauthorized',
      'timeoutMs',
      'unixPath',
      'localAddresses',
      'timeouts.connectMs',
    ];
    for (const option of [...options, 'timeouts.totalMs', 'rateStages', 'lateMax', 'toAddresses', 'lowSpeedMs']) {
      const told = inFlags(command, option);
      if (told !== option) expect(known, option).toContain(told);
    }
  },
);

describe.concurrent('as processes', () => {
  test('load, hold and get tell flags', async () => {
    const ended = await Promise.all([
      runCommand(['load', '-R', '5', '--late-queue', '0', URL_GIVEN]),
      runCommand(['hold', '-c', '5', '-a', '6', URL_GIVEN]),
      runCommand(['get', '-x', 'gopher://p/', URL_GIVEN]),
    ]);
    expect(ended.map(({ code }) => code)).toEqual([2, 2, 2]);
    expect(ended.map(({ stderr }) => /--[a-z-]+/.exec(stderr)?.[0])).toEqual(['--late-queue', '--active', '--proxy']);
  });
});

test('a rate below ten has its fractions', () => {
  expect([0, 0.5, 30 / 3_600, 1, 9.876, 10.4, 12_345].map(rateText)).toEqual([
    '0',
    '0.5',
    '0.00833',
    '1',
    '9.88',
    '10',
    '12,345',
  ]);
});
