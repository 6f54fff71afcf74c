/**
 * Scenarios: what a virtual user does, as an async function in a module of the caller's. The types of that module and of what it is
 * given, and what crosses to a shard of it. Documented for users in docs/scenarios.md.
 */

import type { HeaderPair, HeadersGiven } from '../http1/header-pairs.ts';

/** What a scenario's request may say. */
export interface ScenarioRequest {
  /** Behind those of the run. */
  headers?: HeadersGiven;
  /** A file is read as it is sent. */
  body?: string | Uint8Array | { readonly file: string };
  /** In place of `body`: sent as JSON, with its Content-Type unless `headers` have one. */
  json?: unknown;
  /** In place of `body`: sent as a form of a web page, `application/x-www-form-urlencoded`. */
  form?: Readonly<Record<string, string | number>>;
  /** Under which name it is counted. Default: what `tag()` said, else method and path. */
  tag?: string;
  /** Without its whole answer after so long it has failed. Default: `timeoutMs` of the run. */
  timeoutMs?: number;
  /** `true`: up to 10 redirects. Each hop is counted as a request of its own. Default: `followRedirects` of the run. */
  followRedirects?: boolean | number;
  /** The body is counted and thrown away. Default false: it is held, 16 MiB at most. */
  discardBody?: boolean;
}

/** The answer to one request of a scenario. */
export interface ScenarioResponse {
  /** After redirects: of the last one. */
  readonly url: string;
  readonly status: number;
  /** From 200 to 299. */
  readonly ok: boolean;
  readonly headers: {
    /** Several of one name are joined with commas; null: there is none. */
    get(name: string): string | null;
    /** Each by itself. */
    getAll(name: string): string[];
    has(name: string): boolean;
  };
  /** From when it was sent, or began to connect, to the last byte; of the last one after redirects. */
  readonly latencyMs: number;
  /** How many redirects were followed. */
  readonly redirects: number;
  /** Of the body as it came, which is what is counted. */
  readonly bodyBytes: number;
  /** The body, its content coding (gzip, deflate, br) decoded. Throws where it was discarded, or was longer than 16 MiB. */
  bytes(): Uint8Array;
  /** As UTF-8. */
  text(): string;
  /** Throws a SyntaxError where it is no JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: as fetch has it: who reads JSON knows what it is.
  json<T = any>(): T;
}

/**
 * Requests of one virtual user, over its own connections, with its own cookies. A promise rejects with a TransferError where there
 * is no whole answer; any status is an answer.
 */
export interface ScenarioHttp {
  /** `url` may be relative to the run's. */
  get(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse>;
  head(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse>;
  post(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse>;
  put(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse>;
  patch(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse>;
  delete(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse>;
  request(method: string, url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse>;
  /** Forgets the cookies of this user. */
  clearCookies(): void;
}

/** Which virtual user runs, and how often it has. */
export interface ScenarioUser {
  /** 1, 2, 3 … over all shards. */
  readonly id: number;
  /** How often this user has begun, from 1. */
  readonly iteration: number;
}

/** What a scenario is called with, each time. `Data`: what `setup` returned. */
export interface ScenarioContext<Data = unknown, Vars = Record<string, unknown>> {
  readonly http: ScenarioHttp;
  /** The URL of the run, to which others are relative. */
  readonly url: string;
  readonly user: ScenarioUser;
  /** What `setup` returned: the same for all, and frozen. */
  readonly data: Data;
  /** By table (`data`, `--data`): this iteration's row. */
  readonly rows: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** This user's own from one iteration to the next; empty at first. */
  readonly vars: Vars;
  /** Counts under each name whether its function says yes of `value`; one that throws says no. Answers whether all did. */
  check<T>(value: T, checks: Readonly<Record<string, (value: T) => unknown>>): boolean;
  /** Waits so long, or between the two, drawn evenly. Milliseconds. */
  think(leastMs: number, mostMs?: number): Promise<void>;
  /** Under which name requests of this iteration are counted from here on; '': by method and path again. */
  tag(name: string): void;
}

/** What a virtual user does, over and over. What it throws makes the iteration a failed one. */
export type Scenario<Data = unknown, Vars = Record<string, unknown>> = (
  context: ScenarioContext<Data, Vars>,
) => Promise<void>;

/** As it crosses to the shards. */
export interface ScenarioPlan {
  /** Of its module. */
  readonly file: string;
  readonly url: string;
  /** Sent with every request. */
  readonly headers: readonly HeaderPair[];
  /** Sent with those to the run's own origin. '': none. */
  readonly authorization: string;
  /** What `setup` returned. */
  readonly data: unknown;
}

/** Messages of iterations that failed: more different ones are counted together. */
export const MESSAGES_MAX = 50;
/** Tags and checks of a scenario: more are counted together. */
export const SCENARIO_NAMES_MAX = 200;
/** Tags that are counted together are remembered up to here, so that no row of a name holds a part of its requests only. */
export const OTHER_TAGS_MAX = 10_000;
/** Under which name. */
export const OTHER_NAME = '(other)';

/** Counts under a name, or under OTHER_NAME when there are too many. */
export function boundedName(known: { has(name: string): boolean; readonly size: number }, name: string, most: number) {
  return known.has(name) || known.size < most ? name : OTHER_NAME;
}
