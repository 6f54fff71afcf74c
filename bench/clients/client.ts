/**
 * What a measured client is: something that keeps a number of requests in flight against one URL until its meter says that it
 * is over. Each client is one file beside this one; each measurement runs in a process of its own (`client-process.ts`).
 */

import type { Meter } from './meter.ts';

export interface Load {
  readonly url: string;
  readonly inFlight: number;
}

/** Keeps `load.inFlight` requests in flight until `meter.running` is false. May leave the last ones unanswered. */
export type Client = (load: Load, meter: Meter) => void;

/** Every response must carry this body; anything else is a failure. */
export const EXPECTED_BODY = 'hello, world\n';

/** What a client process is told, as JSON in its only argument. */
export interface Order extends Load {
  readonly client: ClientKind;
  /** Body bytes of each exchange, for clients that move bodies. */
  readonly bodyBytes?: number;
  /** Of the pool. */
  readonly shards: number;
  readonly window: Window;
}

export type ClientKind =
  | 'pool'
  | 'engine'
  | HandshakeClientKind
  | 'undici-request'
  | 'undici-fetch'
  | BodyClientKind
  | CodedClientKind;

/** A new connection for each request, with or without what an earlier handshake left. */
export type HandshakeClientKind = `${'engine' | 'undici'}-${'handshakes' | 'resumptions'}`;

/** Bodies one way: received whole, sent whole, or sent as they come, in pieces. */
export type BodyClientKind = `${'pool' | 'undici'}-${'download' | 'upload' | 'upload-in-pieces'}`;

/** Text that may be compressed, read whole. */
export type CodedClientKind = 'pool-text' | 'pool-collect' | 'undici-text';

/** How long is warmed up and measured. */
export interface Window {
  /** Warming up takes at least this long, and one answer per request in flight: all connections are open then. */
  readonly warmMs: number;
  /** Measuring takes at least this long, and one answer per request in flight … */
  readonly measureMs: number;
  /** … but warming up and measuring never longer than this each. */
  readonly phaseMsMax: number;
}

/** What one client process did in its window. CPU is the whole process's unless it says otherwise. */
export interface Measurement {
  readonly requests: number;
  readonly seconds: number;
  readonly userUs: number;
  readonly systemUs: number;
  /** null: has no main thread of its own, or the kernel does not tell. */
  readonly mainThreadUs: number | null;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Failed requests by code, warm-up included. */
  readonly failures: Readonly<Record<string, number>>;
}
