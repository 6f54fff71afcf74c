/**
 * What a caller of `load()` says, with units and defaults, and the plan that it comes to. Everything is checked here, before anything
 * is connected or started.
 */

import { availableParallelism } from 'node:os';
import { invalidArgument } from '../../protocol/errors.ts';
import type { HeadersGiven } from '../../protocol/http1/header-pairs.ts';
import { type LoadModel, type LoadPlan, type LoadSegment, profileEndMs } from '../../protocol/load/plan.ts';
import type { LoadProgress, LoadRunOptions } from '../../protocol/load/result.ts';
import type { LoadTable } from '../../protocol/load/template.ts';
import { parseThreshold, type Threshold } from '../../protocol/load/threshold.ts';
import { checkInteger, checkNumber, checkRecord } from '../../protocol/options.ts';
import { type RouteOptions, resolveRouteOptions } from '../../protocol/route-options.ts';
import { checkStaticAddresses, type StaticAddressesGiven } from '../../protocol/static-addresses.ts';
import type { TlsOptions } from '../../protocol/tls-options.ts';
import { countOf } from './count-of.ts';
import { planScenario } from './scenario.ts';
import { type LoadTables, readTables } from './tables.ts';
import { checkTargets, type LoadAuth, type LoadBody, type LoadTargetOptions } from './targets.ts';

/** A piece of a profile that changes. */
export interface LoadStage {
  durationMs: number;
  /** Reached at the end of the stage, in a straight line from what was before. */
  to: number;
}

/** What `load(options)` may be told. Unknown ones are refused. */
export interface LoadOptions {
  /** What is asked for; or `targets`. */
  url?: string | URL;
  /** Several kinds of request, drawn by their weights. */
  targets?: readonly LoadTargetOptions[];
  /**
   * A module whose default export says what a virtual user does, in place of `targets`: see docs/scenarios.md. `connections` is then the
   * number of users, `rate` that of iterations per second, and `url` is what its requests are relative to.
   */
  scenario?: string | URL;
  /** Default GET, with a body POST. */
  method?: string;
  /** Header fields of every request. */
  headers?: HeadersGiven;
  /** Text, bytes, or a file, which is not held in memory where it is large. */
  body?: LoadBody;
  /** Who asks: sent with every request that has no Authorization field of its own. */
  auth?: LoadAuth;
  /** `false`: `{{` in URLs, headers and bodies is sent as it is. Default true: see `template.ts`. */
  templates?: boolean;
  /** Tables for templates (`{{users.name}}`) and scenarios. A text is a CSV file. */
  data?: LoadTables;
  /** Each connection keeps the cookies that it is given, and sends them back. Default false; with a scenario true. */
  cookies?: boolean;
  /** `true`: up to 10 in a row. Each is a request of its own in the result. Default false. */
  followRedirects?: boolean | number;
  /** Asks for compressed bodies, as browsers do; they are counted as they come and not decoded. Default false. */
  compressed?: boolean;

  /**
   * Requests per second, whatever the server does: open loop, latency counted from when each was due. Default: none, which is closed
   * loop, in which each connection sends when it has its answer.
   */
  rate?: number;
  /** Open loop with a changing rate, from `rate`, default 0. */
  rateStages?: readonly LoadStage[];
  /** Closed loop: connections that send. Open loop: how many may be open. Default 10 and 1,000. */
  connections?: number;
  /** Closed loop with a changing number of connections, from `connections`, default 0. */
  connectionStages?: readonly LoadStage[];
  /** Of what is measured. Default 10,000, or as long as `requests` take. */
  durationMs?: number;
  /** Ends the run after so many requests. */
  requests?: number;
  /** The same for a scenario: ends the run after so many iterations. */
  iterations?: number;
  /** Comes before what is measured and counts for nothing. Default 0. */
  warmupMs?: number;
  /** Closed loop: between an answer and the next request; a range is drawn from evenly. Default 0. */
  thinkMs?: number | readonly [least: number, most: number];
  /** false: one connection per request. Default true. */
  keepAlive?: boolean;
  /** Closed loop: new connections per second. Default 0: as fast as the server takes them, 256 at once. */
  connectRate?: number;
  /** A request without its whole answer after so long has failed. Default 10,000. */
  timeoutMs?: number;
  /** Open loop: requests that are due and wait for a connection. Default: what the rate comes to within `timeoutMs`. */
  lateMax?: number;
  /** Threads that send. Default: cores - 1, at least 1, and no more than connections. */
  shards?: number;
  /** Refused unless 1. */
  pipelining?: number;

  /** Of `https:` URLs. Default: Node's root certificates, TLS 1.2 and 1.3. */
  tls?: TlsOptions;
  /** As in `RouteOptions`. */
  connectTo?: RouteOptions['connectTo'];
  /** The unix socket to connect to in the URL's place (CURLOPT_UNIX_SOCKET_PATH). */
  unixPath?: string;
  /** Which addresses of a name are used (CURLOPT_IPRESOLVE): 4, 6, or 0 for all. Default 0. */
  family?: 0 | 4 | 6;
  /** Addresses of this machine, by connection in turn: each has its own 28,000 ports to a target. */
  localAddresses?: readonly string[];
  /** Fixed addresses by `host:port` or `*:port`. */
  resolve?: StaticAddressesGiven;

  /** Each second of the result holds its histogram, 1 to 4 KB; for HdrHistogram logs. Default false. */
  secondHistograms?: boolean;
  /** When the run has failed: `p99>250ms`; see `threshold.ts`. */
  thresholds?: readonly string[];
  /** Ends the run early, with the result of what was done: its verdict is `interrupted`. */
  signal?: AbortSignal;
  /** Called about once a second. What it throws ends the run early, and `load` rejects with it. */
  onProgress?: (progress: LoadProgress) => void;
}

export interface ResolvedLoad {
  readonly plan: LoadPlan;
  readonly run: LoadRunOptions;
  readonly thresholds: readonly Threshold[];
  readonly secondHistograms: boolean;
}

/** What `load()` takes for options that are left out. */
export const LOAD_DEFAULTS = Object.freeze({
  connections: 10,
  connectionsOpenLoop: 1_000,
  durationMs: 10_000,
  timeoutMs: 10_000,
});

/** A shard starts 100,000 to 200,000 requests a second at best; what is above that for all is a slip of a unit. */
export const RATE_MAX = 10_000_000;
/** Descriptors end long before. */
const CONNECTIONS_MAX = 10_000_000;
const DAY_MS = 24 * 3600 * 1_000;
/** Of a run that ends by requests: it has no end of its own. */
const ENDLESS_MS = 1_000 * DAY_MS;
const SHARDS_MAX = 256;
const LATE_MIN = 1_000;
/** 80 MB of moments. */
const LATE_LIMIT = 10_000_000;
/** Of requests or iterations. */
const COUNT_MAX = 2 ** 40;
const REDIRECTS_DEFAULT = 10;
const REDIRECTS_MAX = 100;
const MS_PER_SECOND = 1_000;

const OPTION_NAMES: readonly (keyof LoadOptions)[] = [
  'url',
  'targets',
  'scenario',
  'method',
  'headers',
  'body',
  'auth',
  'templates',
  'data',
  'cookies',
  'followRedirects',
  'compressed',
  'rate',
  'rateStages',
  'connections',
  'connectionStages',
  'durationMs',
  'requests',
  'iterations',
  'warmupMs',
  'thinkMs',
  'keepAlive',
  'connectRate',
  'timeoutMs',
  'lateMax',
  'shards',
  'pipelining',
  'tls',
  'connectTo',
  'unixPath',
  'family',
  'localAddresses',
  'resolve',
  'secondHistograms',
  'thresholds',
  'signal',
  'onProgress',
];

/** Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveLoadOptions(options: unknown): ResolvedLoad {
  const given = checkRecord('options', options, OPTION_NAMES) as LoadOptions;
  checkPipelining(given.pipelining);
  const tables = readTables(given.data);
  const planned = given.scenario === undefined ? null : planScenario(given);
  const targets = planned === null ? checkTargets(given, tables) : [planned.target];
  const route = checkRoute(given);
  const model: LoadModel = given.rate !== undefined || given.rateStages !== undefined ? 'open' : 'closed';
  refuseOfOther(given, model);

  const asked = askedOf(given);
  const warmupMs = checkMs('warmupMs', given.warmupMs ?? 0, 0);
  const requestsMax = boundByRows(asked, tables, warmupMs);
  const durationMs = checkMs(
    'durationMs',
    given.durationMs ?? (requestsMax > 0 ? ENDLESS_MS : LOAD_DEFAULTS.durationMs),
    1,
    ENDLESS_MS,
  );
  const timeoutMs = checkMs('timeoutMs', given.timeoutMs ?? LOAD_DEFAULTS.timeoutMs, 1);
  const stages = model === 'open' ? given.rateStages : given.connectionStages;
  const connections = connectionsOf(given, model);
  const profile = profileOf(given, model, connections, warmupMs, durationMs);
  const peak = Math.max(...profile.flatMap(({ from, to }) => [from, to]));
  if (peak === 0)
    throw invalidArgument('rate', 'The profile of the run never rises above 0, so nothing would be sent.');
  const connectionsMax = model === 'closed' ? Math.ceil(peak) : connections;
  const shards = shardsOf(given.shards, connectionsMax);
  const late = Math.min(Math.max(Math.ceil((peak * timeoutMs) / MS_PER_SECOND), LATE_MIN), LATE_LIMIT);
  const plan: LoadPlan = {
    targets,
    scenario: planned?.scenario ?? null,
    tables,
    cookies: given.cookies ?? planned !== null,
    redirectsMax: redirectsOf(given.followRedirects),
    route,
    localAddresses: given.localAddresses ?? [],
    resolve: resolveOf(given.resolve),
    model,
    profile,
    connectionsMax,
    requestsMax,
    warmupMs,
    thinkMs: thinkOf(given.thinkMs),
    keepAlive: given.keepAlive ?? true,
    connectRate: checkNumber('connectRate', given.connectRate ?? 0, 0, RATE_MAX, 'connections per second'),
    timeoutMs,
    lateMax: model === 'open' ? checkInteger('lateMax', given.lateMax ?? late, 1, LATE_LIMIT) : 0,
    shards,
  };
  const measuredMs = profileEndMs(profile) - warmupMs;
  const run: LoadRunOptions = {
    model,
    connections: connectionsMax,
    shards,
    rate: model === 'open' && stages === undefined ? (given.rate as number) : null,
    durationMs: measuredMs >= ENDLESS_MS ? 0 : measuredMs,
    warmupMs,
    requests: requestsMax,
    keepAlive: plan.keepAlive,
    timeoutMs,
    stages: profile
      .filter(({ fromMs }) => fromMs >= warmupMs)
      .map(({ fromMs, untilMs, from, to }) => ({ durationMs: untilMs - fromMs, from, to })),
  };
  return {
    plan,
    run,
    secondHistograms: given.secondHistograms === true,
    thresholds: (given.thresholds ?? []).map((text, index) => parseThreshold(text, `thresholds[${index}]`)),
  };
}

// ── Where to ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function checkRoute({ tls, connectTo, unixPath, family, localAddresses }: LoadOptions): LoadPlan['route'] {
  const route: RouteOptions = {
    ...(tls === undefined ? {} : { tls }),
    ...(connectTo === undefined ? {} : { connectTo }),
    ...(unixPath === undefined ? {} : { unixPath }),
    ...(family === undefined ? {} : { family }),
  };
  if (typeof tls?.checkServerIdentity === 'function') {
    throw invalidArgument(
      'tls.checkServerIdentity',
      'tls.checkServerIdentity cannot cross into the threads that send.',
    );
  }
  resolveRouteOptions(localAddresses === undefined ? route : { ...route, localAddress: localAddresses });
  return route;
}

function resolveOf(resolve: StaticAddressesGiven | undefined): LoadPlan['resolve'] {
  if (resolve === undefined) return {};
  checkStaticAddresses('resolve', resolve);
  return Object.fromEntries(Object.entries(resolve).map(([key, addresses]) => [key, [addresses].flat()]));
}

function redirectsOf(follow: unknown): number {
  if (follow === undefined || follow === false) return 0;
  return follow === true ? REDIRECTS_DEFAULT : checkInteger('followRedirects', follow, 0, REDIRECTS_MAX);
}

// ── How much is sent ───────────────────────────────────────────────────────────────────────────────────────────────────

/** How many requests, or iterations, are asked for; 0: the time says. */
function askedOf({ requests, iterations, scenario }: LoadOptions): number {
  if (iterations !== undefined && scenario === undefined) {
    throw invalidArgument('iterations', 'iterations belong to a scenario; without one give requests.');
  }
  if (iterations !== undefined) return checkInteger('iterations', iterations, 1, COUNT_MAX);
  return requests === undefined ? 0 : checkInteger('requests', requests, 1, COUNT_MAX);
}

/** A table whose rows are used once ends the run with them. */
function boundByRows(requestsMax: number, tables: readonly LoadTable[], warmupMs: number): number {
  const once = tables.filter(({ order }) => order === 'once');
  if (once.length === 0) return requestsMax;
  if (warmupMs > 0) {
    throw invalidArgument(
      'warmupMs',
      `The rows of ${once[0]?.name} are used once each; a warm-up would use up some of them and count for nothing.`,
    );
  }
  const rows = Math.min(...once.map(({ rowCount }) => rowCount));
  return requestsMax === 0 ? rows : Math.min(requestsMax, rows);
}

function checkPipelining(pipelining: number | undefined): void {
  if (pipelining === undefined || pipelining === 1) return;
  throw invalidArgument(
    'pipelining',
    'Pipelining is not offered: servers answer in order, so one slow answer would be counted as the latency of all behind it; use more connections.',
  );
}

/** An option of the other model would silently do nothing. */
function refuseOfOther(given: LoadOptions, model: LoadModel): void {
  const closedOnly = ['connectionStages', 'thinkMs', 'connectRate'] as const;
  for (const option of model === 'open' ? closedOnly : (['lateMax'] as const)) {
    if (given[option] === undefined) continue;
    throw invalidArgument(
      option,
      model === 'open'
        ? `${option} belongs to a run by connections; with a rate the rate alone says when requests begin.`
        : `${option} belongs to a run with a rate; without one nothing is ever late.`,
    );
  }
}

function connectionsOf(given: LoadOptions, model: LoadModel): number {
  const usual = model === 'open' ? LOAD_DEFAULTS.connectionsOpenLoop : LOAD_DEFAULTS.connections;
  const start = given.connectionStages === undefined ? usual : 0;
  return checkInteger(
    'connections',
    given.connections ?? start,
    given.connectionStages === undefined ? 1 : 0,
    CONNECTIONS_MAX,
  );
}

function profileOf(
  given: LoadOptions,
  model: LoadModel,
  connections: number,
  warmupMs: number,
  durationMs: number,
): LoadSegment[] {
  const [name, stages] =
    model === 'open'
      ? (['rateStages', given.rateStages] as const)
      : (['connectionStages', given.connectionStages] as const);
  const first = model === 'open' ? checkRate('rate', given.rate ?? 0, stages !== undefined) : connections;
  const profile: LoadSegment[] = [];
  let at = 0;
  let value = first;
  const add = (lengthMs: number, to: number) => {
    profile.push({ fromMs: at, untilMs: at + lengthMs, from: value, to });
    at += lengthMs;
    value = to;
  };
  if (warmupMs > 0) add(warmupMs, first);
  if (stages === undefined) {
    add(durationMs, first);
    return profile;
  }
  if (given.durationMs !== undefined) {
    throw invalidArgument('durationMs', `durationMs and ${name} both say how long the run is; leave durationMs out.`);
  }
  if (!Array.isArray(stages) || stages.length === 0)
    throw invalidArgument(name, `${name} must be a list of at least one stage.`);
  for (const [index, stage] of stages.entries()) {
    const option = `${name}[${index}]`;
    const { durationMs: lengthMs, to } = checkRecord(option, stage, ['durationMs', 'to']);
    const target =
      model === 'open' ? checkRate(`${option}.to`, to, true) : checkInteger(`${option}.to`, to, 0, CONNECTIONS_MAX);
    add(checkMs(`${option}.durationMs`, lengthMs, 1), target);
  }
  return profile;
}

function checkRate(option: string, value: unknown, mayBeZero: boolean): number {
  checkNumber(option, value, 0, Number.MAX_VALUE, 'requests per second');
  if ((value as number) > RATE_MAX) {
    throw invalidArgument(
      option,
      `${option} is ${value}; no machine starts more than ${RATE_MAX} requests a second: is it a slip of a unit?`,
    );
  }
  if (value === 0 && !mayBeZero)
    throw invalidArgument(option, `${option} must be above 0: at 0 nothing would be sent.`);
  return value as number;
}

function thinkOf(think: LoadOptions['thinkMs']): readonly [number, number] {
  const [least, most] = Array.isArray(think) ? think : [think ?? 0, think ?? 0];
  checkMs('thinkMs', least, 0);
  checkMs('thinkMs', most, least as number);
  return [least as number, most as number];
}

function shardsOf(given: number | undefined, connections: number): number {
  if (given === undefined) return Math.min(Math.max(availableParallelism() - 1, 1), connections, SHARDS_MAX);
  const shards = checkInteger('shards', given, 1, SHARDS_MAX);
  if (shards <= connections) return shards;
  throw invalidArgument(
    'shards',
    `${shards} shards cannot share ${countOf(connections, 'connection')}; use fewer shards or more connections.`,
  );
}

function checkMs(option: string, value: unknown, least: number, most = DAY_MS): number {
  return checkNumber(option, value, least, most, 'milliseconds');
}
