import { describe, expect, test } from 'vitest';
import { resolvePoolOptions } from '../../../src/main/options.ts';
import { completeLimits, completeTimeouts, DEFAULT_LIMITS, DEFAULT_TIMEOUTS } from '../../../src/protocol/options.ts';
import { Multi, Transfer } from '../../../src/worker/multi/index.ts';

const refused = (option: string): object => expect.objectContaining({ code: 'INVALID_ARGUMENT', limit: option });

test('defaults are the documented ones', () => {
  const resolved = resolvePoolOptions();
  expect(resolved).toMatchObject({
    placement: 'origin',
    connections: { perOrigin: 256, idleMs: 60_000, queueLength: 100_000 },
    timeouts: { queueMs: 0, connectMs: 10_000, headMs: 300_000, bodyIdleMs: 300_000, totalMs: 0 },
    limits: {
      headBytes: 65_536,
      headerCount: 1_000,
      trailerBytes: 16_384,
      chunkExtensionBytes: 16_384,
      codings: 5,
      bodyBytes: 0,
      decodedBytes: 0,
    },
    lookupTtlMs: 60_000,
  });
  expect(resolved.shards).toBeGreaterThanOrEqual(1);
  expect(resolved.connections.total).toBeLessThanOrEqual(20_000);
});

test('what is given is taken, what is not stays the default; undefined is not given', () => {
  const resolved = resolvePoolOptions({
    shards: 0,
    connections: { perOrigin: 1, idleMs: undefined },
    timeouts: { headMs: 0.5, totalMs: undefined },
    dns: { ttlMs: 0 },
  });
  expect(resolved).toMatchObject({ shards: 0, lookupTtlMs: 0 });
  expect(resolved.connections).toMatchObject({ perOrigin: 1, idleMs: 60_000 });
  expect(resolved.timeouts).toEqual({ ...DEFAULT_TIMEOUTS, headMs: 0.5 });
  expect(completeTimeouts(undefined)).toBe(DEFAULT_TIMEOUTS);
  expect(completeLimits({ bodyBytes: 3 })).toEqual({ ...DEFAULT_LIMITS, bodyBytes: 3 });
});

test('every shard has a share of each limit: more shards than a limit has units are refused, the default is made to fit', () => {
  expect(() => resolvePoolOptions({ shards: 4, connections: { total: 3 } })).toThrow(refused('connections.total'));
  expect(() => resolvePoolOptions({ shards: 4, connections: { queueLength: 3 } })).toThrow(
    refused('connections.queueLength'),
  );
  expect(resolvePoolOptions({ connections: { total: 1 } }).shards).toBe(1);
  expect(resolvePoolOptions({ shards: 0, connections: { total: 1 } }).shards).toBe(0);
});

describe('bounds', () => {
  test.each<[string, unknown]>([
    ['shards', { shards: -1 }],
    ['shards', { shards: 1.5 }],
    ['shards', { shards: 1025 }],
    ['shards', { shards: '2' }],
    ['shards', { shards: Number.NaN }],
    ['placement', { placement: 'here' }],
    ['connections', { connections: null }],
    ['connections', { connections: [] }],
    ['connections.perOrigin', { connections: { perOrigin: 0 } }],
    ['connections.total', { connections: { total: 0 } }],
    ['connections.total', { connections: { total: 9_999_999 } }],
    ['connections.idleMs', { connections: { idleMs: 0 } }],
    ['connections.queueLength', { connections: { queueLength: 0 } }],
    ['connections.no', { connections: { no: 1 } }],
    ['timeouts.headMs', { timeouts: { headMs: -1 } }],
    ['timeouts.headMs', { timeouts: { headMs: 2 ** 31 } }],
    ['timeouts.headMs', { timeouts: { headMs: Number.POSITIVE_INFINITY } }],
    ['timeouts.headMs', { timeouts: { headMs: Number.NaN } }],
    ['timeouts.headMs', { timeouts: { headMs: '5' } }],
    ['timeouts.__proto__x', { timeouts: { __proto__x: 1 } }],
    ['limits.headBytes', { limits: { headBytes: 0 } }],
    ['limits.headBytes', { limits: { headBytes: 2 ** 24 + 1 } }],
    ['limits.bodyBytes', { limits: { bodyBytes: -1 } }],
    ['limits.headerCount', { limits: { headerCount: 1.5 } }],
    ['dns.ttlMs', { dns: { ttlMs: -1 } }],
    ['dns.lookup', { dns: { lookup: 1 } }],
    ['dns.family', { dns: { family: 5 } }],
    ['dns.resolve', { dns: { resolve: [] } }],
    ['dns.servers', { dns: { servers: [] } }],
    ['localAddress', { localAddress: 'lo' }],
    ['tls.rejectUnauthorized', { tls: { rejectUnauthorized: 'no' } }],
    ['tls.checkServerIdentity', { tls: { checkServerIdentity: 'yes' } }],
    ['nonsense', { nonsense: 1 }],
    ['options', 'text'],
    ['options', null],
  ])('%s is refused by name: %j', (option, options) => {
    expect(() => resolvePoolOptions(options)).toThrow(refused(option));
  });

  test.each<[string, object]>([
    ['maxConnects', { maxConnects: -1 }],
    ['maxHostConnections', { maxHostConnections: 0.5 }],
    ['idleMs', { idleMs: 0 }],
    ['lifetimeMs', { lifetimeMs: Number.NaN }],
    ['lookupTtlMs', { lookupTtlMs: -1 }],
    ['nonsense', { nonsense: true }],
  ])('of a Multi: %s', (option, options) => {
    expect(() => new Multi(options)).toThrow(refused(option));
  });

  test.each<[string, object]>([
    ['url', { url: '/relative' }],
    ['tls.ca', { url: 'https://a.test/', tls: { ca: 'none' } }],
    ['url', { url: 'ftp://a.test/' }],
    ['url', { url: 'http://user@a.test/' }],
    ['url', { url: 'http://a.test:0/' }],
    ['url', { url: 5 }],
    ['body', { url: 'http://a.test/', body: 'x' }],
    ['body', { url: 'http://a.test/', method: 'POST', body: 5 }],
    ['headers', { url: 'http://a.test/', headers: 5 }],
    ['headers', { url: 'http://a.test/', headers: [['a']] }],
    ['onData', { url: 'http://a.test/', onData: 5 }],
    ['nonsense', { url: 'http://a.test/', nonsense: 1 }],
    ['timeouts.headMs', { url: 'http://a.test/', timeouts: { headMs: -1 } }],
  ])('of a Transfer: %s %j', (option, options) => {
    expect(() => new Transfer(options as { url: string })).toThrow(refused(option));
  });
});
