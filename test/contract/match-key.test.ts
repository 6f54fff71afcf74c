/**
 * CONTRACT.md rule 60 and HOSTILE.md case 75: which transfers may share a connection. Generated: every field of a route alone,
 * and every two of them, first for the key and the ladder by themselves, then over connections. A field without values here
 * fails the test that counts them.
 */

import { once } from 'node:events';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { originOf } from '../../src/protocol/origin.ts';
import type { ProxyPlan } from '../../src/protocol/proxy-options.ts';
import { DEFAULT_TLS_PLAN, TLS_FIELDS, type TlsPlan } from '../../src/protocol/tls-options.ts';
import type { TransferOptions } from '../../src/worker/multi/index.ts';
import { firstDifference, matchKeyOf } from '../../src/worker/multi/match-key.ts';
import { type Route, routeOf } from '../../src/worker/multi/route.ts';
import { Rig } from './rig.ts';

/** With TLS, so that each of its parts can change alone. */
const BASE_PROXY: ProxyPlan = {
  kind: 'https',
  host: 'proxy.test',
  port: 443,
  name: 'https://proxy.test:443',
  username: 'user',
  password: 'secret',
  fields: '',
  tls: DEFAULT_TLS_PLAN,
  tunnel: false,
  guards: false,
  identity: '',
};

type Changed = Partial<Omit<Route, 'origin'>> & { origin?: Partial<Route['origin']> };

/** Each field as the ladder names it, in its order, and a change of nothing else. `at`: where in a Route it is. */
const FIELDS: readonly { field: string; at: string; changed: Changed }[] = [
  { field: 'scheme', at: 'origin', changed: { origin: { scheme: 'https' as 'http' } } },
  { field: 'host', at: 'origin', changed: { origin: { host: 'other.test' } } },
  { field: 'port', at: 'origin', changed: { origin: { port: 81 } } },
  { field: 'connectTo host', at: 'connectTo', changed: { connectTo: { host: 'fe80::2', port: 8080 } } },
  { field: 'connectTo zone', at: 'connectTo', changed: { connectTo: { host: 'fe80::1%eth1', port: 8080 } } },
  { field: 'connectTo port', at: 'connectTo', changed: { connectTo: { host: 'fe80::1', port: 8081 } } },
  { field: 'unixPath', at: 'unixPath', changed: { unixPath: '/run/one' } },
  { field: 'localAddresses', at: 'localAddresses', changed: { localAddresses: ['127.0.0.2', '127.0.0.3'] } },
  { field: 'localPorts', at: 'localPorts', changed: { localPorts: [5000, 6000] } },
  { field: 'family', at: 'family', changed: { family: 4 } },
  { field: 'noDelay', at: 'noDelay', changed: { noDelay: false } },
  { field: 'keepAlive', at: 'keepAlive', changed: { keepAlive: { idleMs: 60_000, intervalMs: 60_000, probes: 9 } } },
  ...TLS_FIELDS.map((field) => ({ field: `tls ${field}`, at: 'tls', changed: { tls: tlsWith(field) } })),
  ...(['kind', 'host', 'port', 'username', 'password', 'fields', 'tunnel', 'guards'] as const).map((field) => ({
    field: `proxy ${field}`,
    at: 'proxy',
    changed: { proxy: proxyWith(field) },
  })),
  ...TLS_FIELDS.map((field) => ({
    field: `proxy tls ${field}`,
    at: 'proxy',
    changed: { proxy: { ...BASE_PROXY, tls: tlsWith(field), identity: `tls ${field}` } },
  })),
  { field: 'guard', at: 'guard', changed: { guard: { identity: 'function 1', judge: () => undefined } } },
  { field: 'group', at: 'group', changed: { group: 'user 1' } },
];

/** A proxy of which this field is another's. */
function proxyWith(field: keyof ProxyPlan): ProxyPlan {
  const value = BASE_PROXY[field];
  const other = typeof value === 'boolean' ? !value : typeof value === 'number' ? value + 1 : `other ${value}`;
  return { ...BASE_PROXY, [field]: other, identity: field };
}

/** What two changes of the proxy make together. */
function mergeProxy(a: ProxyPlan | null, b: ProxyPlan | null): ProxyPlan | null {
  if (a === null || b === null) return a ?? b;
  const merged = { ...a };
  for (const field of Object.keys(BASE_PROXY) as (keyof ProxyPlan)[])
    if (b[field] !== BASE_PROXY[field]) Object.assign(merged, { [field]: b[field] });
  return { ...merged, tls: mergeTls(a.tls, b.tls), identity: `${a.identity} ${b.identity}` };
}

/** A plan of which this field is not the default. */
function tlsWith(field: (typeof TLS_FIELDS)[number]): TlsPlan {
  const value = DEFAULT_TLS_PLAN[field];
  if (field === 'checkServerIdentity') return { ...DEFAULT_TLS_PLAN, [field]: () => undefined, identity: field };
  const other = typeof value === 'boolean' ? !value : Array.isArray(value) ? ['other'] : 'other';
  return { ...DEFAULT_TLS_PLAN, [field]: other, identity: field };
}

/** What two changes of the plan make together. */
function mergeTls(a: TlsPlan | null, b: TlsPlan | null): TlsPlan | null {
  if (a === null || b === null) return a ?? b;
  const merged = { ...a };
  for (const field of TLS_FIELDS)
    if (b[field] !== DEFAULT_TLS_PLAN[field]) Object.assign(merged, { [field]: b[field] });
  return { ...merged, identity: `${a.identity} ${b.identity}` };
}

const PAIRS = FIELDS.flatMap((one, index) => FIELDS.slice(index + 1).map((other) => ({ one, other })));

/** With a target, so that each of its parts can change alone. */
const BASE: Changed = { connectTo: { host: 'fe80::1', port: 8080 }, tls: DEFAULT_TLS_PLAN, proxy: BASE_PROXY };

function route(...changes: readonly Changed[]): Route {
  const { origin } = routeOf(originOf(new URL('http://one.test/')));
  const parts = Object.assign({}, origin, ...changes.map((changed) => changed.origin)) as Route['origin'];
  const text = `${parts.scheme}://${parts.host}:${parts.port}`;
  const connectTo = changes.reduce<Route['connectTo']>((target, changed) => merge(target, changed.connectTo), null);
  const tls = changes.reduce<TlsPlan | null>((plan, changed) => mergeTls(plan, changed.tls ?? null), null);
  const proxy = changes.reduce<ProxyPlan | null>((plan, changed) => mergeProxy(plan, changed.proxy ?? null), null);
  const merged = Object.assign({ ...routeOf(origin) }, ...changes, {
    origin: { ...parts, text },
    connectTo,
    tls,
    proxy,
  }) as Route;
  return { ...merged, plain: changes.every((changed) => Object.keys(changed).every((key) => key === 'origin')) };
}

/** What two changes make of the target together: each part of it that one of them changed. */
function merge(target: Route['connectTo'], changed: Route['connectTo'] | undefined): Route['connectTo'] {
  if (target === null || changed === undefined || changed === null) return changed ?? target;
  const [address, zone = ''] = changed.host.split('%');
  const [before, zoneBefore = ''] = target.host.split('%');
  const host = address === 'fe80::1' ? before : address;
  const suffix = zone === '' ? zoneBefore : zone;
  return {
    host: suffix === '' ? (host as string) : `${host}%${suffix}`,
    port: changed.port === 8080 ? target.port : changed.port,
  };
}

describe('the key and the ladder agree', () => {
  test('contract/rule-60 every field of a route has its values here', () => {
    const known = new Set([...FIELDS.map(({ at }) => at), 'plain', 'destination', 'forwards']);
    expect(Object.keys(route()).filter((name) => !known.has(name))).toEqual([]);
    expect(Object.keys(routeOf(route().origin).origin).sort()).toEqual(
      // The Host field follows from host and port.
      ['text', 'scheme', 'host', 'port', 'hostField'].sort(),
    );
  });

  test.each(FIELDS)('contract/rule-60, hostile/75 $field alone', ({ field, changed }) => {
    expectDifferent(route(BASE), route(BASE, changed), field);
  });

  test.each(PAIRS)('contract/rule-60, hostile/75 $one.field and $other.field', ({ one, other }) => {
    const both = route(BASE, one.changed, other.changed);
    expectDifferent(route(BASE), both, one.field);
    expectDifferent(route(BASE, one.changed), both, other.field);
    expectDifferent(route(BASE, other.changed), both, one.field);
    expectDifferent(route(BASE, one.changed), route(BASE, other.changed), one.field);
    expectSame(both, route(BASE, one.changed, other.changed));
  });

  test('contract/rule-60 a plain route differs from each that is not, and equals its like', () => {
    expectSame(route(), route());
    for (const { field, changed } of FIELDS.filter(({ at }) => !['connectTo', 'tls', 'proxy'].includes(at))) {
      expectDifferent(route(), route(changed), field);
    }
    expectDifferent(route(), route(BASE), 'connectTo host');
    expectDifferent(route(), route({ tls: DEFAULT_TLS_PLAN }), 'tls ca');
    expectDifferent(route(), route({ proxy: BASE_PROXY }), 'proxy kind');
  });

  test('contract/rule-60 order and number of local addresses, each keep-alive value, and texts that hold separators', () => {
    const a: Changed = { localAddresses: ['127.0.0.2', '127.0.0.3'] };
    expectDifferent(route(a), route({ localAddresses: ['127.0.0.3', '127.0.0.2'] }), 'localAddresses');
    expectDifferent(route(a), route({ localAddresses: ['127.0.0.2'] }), 'localAddresses');
    const probes = { idleMs: 1000, intervalMs: 2000, probes: 3 };
    for (const other of [{ idleMs: 2000 }, { intervalMs: 1000 }, { probes: 4 }]) {
      expectDifferent(route({ keepAlive: probes }), route({ keepAlive: { ...probes, ...other } }), 'keepAlive');
    }
    expectDifferent(route({ unixPath: '/a","' }), route({ unixPath: '/a' }), 'unixPath');
    expectDifferent(route({ unixPath: '/A' }), route({ unixPath: '/a' }), 'unixPath');
  });

  test('contract/rule-60 of two thousand random pairs, equal keys are those without a difference', () => {
    let seed = 75;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    const pick = (): Route => route(...FIELDS.filter(() => random(FIELDS.length) === 0).map(({ changed }) => changed));
    let equal = 0;
    for (let count = 0; count < 2_000; count++) {
      const [a, b] = [pick(), pick()];
      expect(matchKeyOf(a) === matchKeyOf(b)).toBe(firstDifference(a, b) === null);
      if (firstDifference(a, b) === null) equal++;
    }
    expect(equal).toBeGreaterThan(20);
    expect(equal).toBeLessThan(1_000);
  });
});

function expectDifferent(a: Route, b: Route, field: string): void {
  expect(firstDifference(a, b)).toBe(field);
  expect(firstDifference(b, a)).toBe(field);
  expect(matchKeyOf(a)).not.toBe(matchKeyOf(b));
}

function expectSame(a: Route, b: Route): void {
  expect(firstDifference(a, b)).toBeNull();
  expect(matchKeyOf(a)).toBe(matchKeyOf(b));
}

/** Two ports on every address of this machine, and a unix socket; each answers with its name. */
interface Targets {
  readonly ports: readonly [number, number];
  readonly unixPath: string;
}

async function targets(): Promise<Targets> {
  const unixPath = join(tmpdir(), `shardfetch-match-key-${process.pid}-${unixPaths++}`);
  const [one, two] = [
    await listen({ port: 0, host: '0.0.0.0' }, 'one'),
    await listen({ port: 0, host: '0.0.0.0' }, 'two'),
  ];
  await listen({ path: unixPath }, 'unix');
  return { ports: [one, two], unixPath };
}

let unixPaths = 0;

async function listen(where: net.ListenOptions, name: string): Promise<number> {
  const sockets = new Set<net.Socket>();
  const listener = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\n\r\n${name}`));
    socket.on('error', () => undefined);
  });
  listener.listen(where);
  await once(listener, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  const address = listener.address();
  return typeof address === 'object' ? (address?.port as number) : 0;
}

type Options = Omit<TransferOptions, 'url'> & { host?: string; port?: number };

/** What an application can ask for, one option each. The scheme and zones have no second value that could be reached here. */
const OPTIONS: readonly { option: string; set: (to: Targets) => Options }[] = [
  { option: 'host', set: () => ({ host: '127.0.0.2' }) },
  { option: 'port', set: (to) => ({ port: to.ports[1] }) },
  { option: 'connectTo', set: (to) => ({ connectTo: { host: '127.0.0.4', port: to.ports[0] } }) },
  { option: 'unixPath', set: (to) => ({ unixPath: to.unixPath }) },
  { option: 'localAddress', set: () => ({ localAddress: '127.0.0.3' }) },
  { option: 'localPorts', set: () => ({ localPorts: [21_000, 22_999] }) },
  { option: 'family', set: () => ({ family: 4 }) },
  { option: 'noDelay', set: () => ({ noDelay: false }) },
  { option: 'keepAlive', set: () => ({ keepAlive: true }) },
];

/** Two targets: refused before anything happens. */
const EXCLUDED = 'connectTo unixPath';
const OPTION_PAIRS = OPTIONS.flatMap((one, index) => OPTIONS.slice(index + 1).map((other) => ({ one, other }))).filter(
  ({ one, other }) => `${one.option} ${other.option}` !== EXCLUDED,
);

describe('connections', () => {
  const reused = async (rig: Rig, to: Targets, options: Options): Promise<boolean> => {
    const { host = '127.0.0.1', port = to.ports[0], ...rest } = options;
    const got = await rig.fetch({ url: `http://${host}:${port}/`, ...rest });
    expect(got.error).toBeNull();
    return got.transfer.info.reused;
  };

  test.each(OPTIONS)('contract/rule-60, hostile/75 $option alone', async ({ set }) => {
    const to = await targets();
    const rig = new Rig();
    for (const options of [{}, set(to)]) expect(await reused(rig, to, options)).toBe(false);
    for (const options of [set(to), {}]) expect(await reused(rig, to, options)).toBe(true);
    expect(rig.multi.stats()).toMatchObject({ opened: 2, reused: 2 });
  });

  test.each(OPTION_PAIRS)('contract/rule-60, hostile/75 $one.option and $other.option', async ({ one, other }) => {
    const to = await targets();
    const rig = new Rig();
    const all: Options[] = [{}, one.set(to), other.set(to), { ...one.set(to), ...other.set(to) }];
    for (const options of all) expect(await reused(rig, to, options)).toBe(false);
    for (const options of all) expect(await reused(rig, to, options)).toBe(true);
    expect(rig.multi.stats()).toMatchObject({ opened: 4, reused: 4 });
  });
});
