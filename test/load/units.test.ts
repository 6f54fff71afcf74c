/** What is written on the command line, and what it means. */

import { expect, test } from 'vitest';
import { parseAddresses, parseCount, parseDuration, parseRate, parseStages, parseThink } from '../../src/cli/units.ts';

test('times', () => {
  expect(['2s', '500ms', '3m', '1h', '10', '1.5s', '100us'].map((text) => parseDuration('-d', text))).toEqual([
    2_000, 500, 180_000, 3_600_000, 10_000, 1_500, 0.1,
  ]);
  for (const text of ['', 's', '2x', '-1s', '1s2']) expect(() => parseDuration('-d', text)).toThrow(`-d takes a time`);
});

test('counts', () => {
  expect(['7', '10k', '1.5k', '2m', '1G'].map((text) => parseCount('-c', text))).toEqual([7, 10_000, 1_500, 2e6, 1e9]);
  for (const text of ['', 'k', '1.5', '-3', '10kb'])
    expect(() => parseCount('-c', text)).toThrow('-c takes a whole number');
});

test('rates', () => {
  expect(['500', '5k', '5k/s', '600/m', '0.5', '36/h'].map((text) => parseRate('-R', text))).toEqual([
    500, 5_000, 5_000, 10, 0.5, 0.01,
  ]);
  for (const text of ['', '5/y', 'x', '5k/']) expect(() => parseRate('-R', text)).toThrow('-R takes a rate');
});

test('stages', () => {
  expect(parseStages('--stages', '10s:100,30s:5k', parseRate)).toEqual([
    { durationMs: 10_000, to: 100 },
    { durationMs: 30_000, to: 5_000 },
  ]);
  for (const text of ['', '10s', '10s:1:2'])
    expect(() => parseStages('--stages', text, parseRate)).toThrow('--stages takes');
});

test('thinking', () => {
  expect(parseThink('--think', '1s')).toEqual([1_000, 1_000]);
  expect(parseThink('--think', '500ms-2s')).toEqual([500, 2_000]);
});

test('addresses, ranges and networks', () => {
  expect(parseAddresses('--local-addr', '127.0.0.1')).toEqual(['127.0.0.1']);
  expect(parseAddresses('--local-addr', '127.0.0.254-127.0.1.1,::1')).toEqual([
    '127.0.0.254',
    '127.0.0.255',
    '127.0.1.0',
    '127.0.1.1',
    '::1',
  ]);
  expect(parseAddresses('--local-addr', '10.0.0.4/30')).toEqual(['10.0.0.5', '10.0.0.6']);
  expect(parseAddresses('--local-addr', '10.0.0.4/32')).toEqual(['10.0.0.4']);
  for (const text of ['', 'localhost', '10.0.0.9-10.0.0.1', '10.0.0.0/8', '1.2.3']) {
    expect(() => parseAddresses('--local-addr', text)).toThrow('--local-addr takes addresses');
  }
});
