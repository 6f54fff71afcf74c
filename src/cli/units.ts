/**
 * What people write on the command line, and what it means: `2s`, `10k`, `500/s`, `10s:100,30s:5k`, `127.0.0.1-127.0.0.9`. Each
 * function throws a CommandError of one sentence that names the flag.
 */

import { isIP } from 'node:net';
import { usageError } from './exit-codes.ts';

const MS_BY_UNIT: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1_000, '': 1_000, m: 60_000, h: 3_600_000 };
const COUNT_BY_UNIT: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9 };
const SECONDS_BY_UNIT: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, min: 60, h: 3_600 };
/** Addresses in one range: each holds 28,000 connections. */
const ADDRESSES_MAX = 4_096;

/** `2s`, `500ms`, `3m`, `1h`; a bare number is seconds. Milliseconds. */
export function parseDuration(flag: string, text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim()) ?? [];
  const scale = MS_BY_UNIT[unit.toLowerCase()];
  if (number === undefined || scale === undefined) {
    throw usageError(`${flag} takes a time such as 500ms, 10s or 3m, not "${text}".`);
  }
  return Number(number) * scale;
}

/** `100`, `10k`, `1.5m`: a whole number. */
export function parseCount(flag: string, text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)([kmg]?)$/i.exec(text.trim()) ?? [];
  const value = Number(number) * (COUNT_BY_UNIT[unit.toLowerCase()] as number);
  if (number === undefined || !Number.isInteger(value)) {
    throw usageError(`${flag} takes a whole number such as 100 or 10k, not "${text}".`);
  }
  return value;
}

/** `500`, `5k/s`, `600/m`. Per second. */
export function parseRate(flag: string, text: string): number {
  const [, number, unit = '', per = ''] = /^(\d+(?:\.\d+)?)([kmg]?)(?:\/([a-z]+))?$/i.exec(text.trim()) ?? [];
  const seconds = SECONDS_BY_UNIT[per.toLowerCase()];
  if (number === undefined || seconds === undefined) {
    throw usageError(`${flag} takes a rate such as 500, 5k/s or 600/m, not "${text}".`);
  }
  return (Number(number) * (COUNT_BY_UNIT[unit.toLowerCase()] as number)) / seconds;
}

/** The same where 0 would mean that nothing ever happens. */
export function parsePositiveRate(flag: string, text: string): number {
  const rate = parseRate(flag, text);
  if (rate > 0) return rate;
  throw usageError(`${flag} must be above 0; leave it out for no such limit.`);
}

/** `10s:100,30s:5k`: time and the value at its end. */
export function parseStages(flag: string, text: string, value: (flag: string, text: string) => number) {
  return text.split(',').map((stage) => {
    const [duration, to, ...more] = stage.split(':');
    if (duration === undefined || to === undefined || more.length > 0) {
      throw usageError(`${flag} takes stages of time and value, such as 10s:100,30s:5k, not "${text}".`);
    }
    return { durationMs: parseDuration(flag, duration), to: value(flag, to) };
  });
}

/** `1s` or `500ms-2s`. */
export function parseThink(flag: string, text: string): readonly [least: number, most: number] {
  const [least = '', most = least, ...more] = text.split('-');
  if (more.length > 0)
    throw usageError(`${flag} takes a time or two with a dash between, such as 500ms-2s, not "${text}".`);
  return [parseDuration(flag, least), parseDuration(flag, most)];
}

/** Addresses, ranges (`10.0.0.1-10.0.0.9`) and networks (`10.0.0.0/28`, without its first and last), separated by commas. */
export function parseAddresses(flag: string, text: string): string[] {
  const addresses = text.split(',').flatMap((part) => addressesOf(flag, part.trim()));
  if (addresses.length <= ADDRESSES_MAX) return addresses;
  throw usageError(`${flag} names ${addresses.length} addresses; ${ADDRESSES_MAX} are the most.`);
}

function addressesOf(flag: string, part: string): string[] {
  const bad = () =>
    usageError(`${flag} takes addresses, ranges or networks, such as 127.0.0.1-127.0.0.9, not "${part}".`);
  if (isIP(part) !== 0) return [part];
  const [from = '', to = ''] = part.split('-');
  if (isIP(from) === 4 && isIP(to) === 4) return range(numberOf(from), numberOf(to), bad);
  const [network = '', bits = ''] = part.split('/');
  if (isIP(network) !== 4 || !/^\d+$/.test(bits) || Number(bits) < 16 || Number(bits) > 32) throw bad();
  const size = 2 ** (32 - Number(bits));
  const first = Math.floor(numberOf(network) / size) * size;
  return size <= 2 ? range(first, first + size - 1, bad) : range(first + 1, first + size - 2, bad);
}

function range(first: number, last: number, bad: () => Error): string[] {
  if (last < first || last - first > 0xffff) throw bad();
  return Array.from({ length: last - first + 1 }, (_, index) => addressOf(first + index));
}

function numberOf(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

function addressOf(number: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join('.');
}
