/**
 * The native addon as it is: its functions and their types, loaded on first use. What the engine sees is `native-io.ts`,
 * `epoll-poller.ts`, `loop-watches.ts`, `alarm.ts`, `descriptor-poll.ts` and `wakeup.ts`; nothing else imports this.
 *
 * An environment (main thread or worker) that loads it owns every descriptor it makes, and they end with it.
 */

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { AddonError } from '../../protocol/addon-error.ts';
import { ownFile } from '../../protocol/own-file.ts';
import type { AddressFamily } from './io.ts';
import type { TlsFault, TlsInfo } from './tls-io.ts';

/** Descriptors and events are int32; every number that can fail is a negative errno then. See `io.ts` for what each promises. */
export interface Addon {
  now(): number;
  open(family: AddressFamily): number;
  connect(socket: number, family: AddressFamily, address: string, port: number): number;
  bind(socket: number, family: AddressFamily, address: string, port: number): number;
  setTcpOptions(socket: number, noDelay: boolean, idleSeconds: number, intervalSeconds: number, probes: number): number;
  adopt(descriptor: number): number;
  release(socket: number): number;
  connectResult(socket: number): number;
  read(socket: number): number;
  readInto(socket: number, target: Uint8Array, offset: number, length: number): number;
  write(socket: number, offset: number, length: number): number;
  writeFrom(socket: number, source: Uint8Array, offset: number, length: number): number;
  endWriting(socket: number): number;
  close(socket: number): number;
  remoteAddress(socket: number): string;
  /** Where `read` and `write` find their bytes: the same two arrays at every call. */
  buffers(): { readonly read: Uint8Array; readonly write: Uint8Array; readonly tlsState: Int32Array };

  tlsTrust(pems: readonly string[], systemPaths: boolean): number | string;
  tlsContext(settings: TlsSettings): number | string;
  tlsClose(number: number): void;
  tlsStart(
    socket: number,
    context: number,
    name: string,
    isAddress: boolean,
    sendName: boolean,
    checkName: boolean,
    destination: string,
    inside: boolean,
  ): number;
  tlsHandshake(socket: number): number;
  tlsApprove(socket: number): number;
  tlsShutDown(socket: number): number;
  tlsInfo(socket: number): AddonTlsInfo | null;
  tlsPeer(socket: number): Buffer | null;
  tlsError(socket: number): TlsFault | null;
  tlsSessions(context: number): number;
  tlsShare(others: number): void;
  tlsOffers(): readonly AddonOffer[];
  tlsTakeOver(context: number, destination: string, bytes: Uint8Array): boolean;
  /** Live objects of all threads of the process. */
  tlsObjects(): { contexts: number; trusts: number; connections: number; sessions: number };

  pollerOpen(): { readonly descriptor: number; readonly events: Int32Array } | number;
  pollerWatch(poller: number, socket: number, what: number, tag: number): number;
  pollerWait(poller: number, timeoutMs: number): number;
  pollerStart(poller: number, onReady: () => void): number;
  pollerStop(poller: number): number;
  pollerSetReferenced(poller: number, referenced: boolean): number;
  pollerClose(poller: number): void;

  watchesOpen(): { readonly watches: number; readonly events: Int32Array } | number;
  watchesWatch(watches: number, socket: number, what: number): number;
  watchesTake(watches: number): number;
  watchesLook(watches: number): number;
  watchesStart(watches: number, onReady: () => void): number;
  watchesStop(watches: number): number;
  watchesSetReferenced(watches: number, referenced: boolean): number;
  watchesClose(watches: number): void;

  pollDescriptors(triples: Int32Array, count: number, timeoutMs: number): number;

  wakeupOpen(): { readonly descriptor: number; readonly number: number } | number;
  wakeupSend(number: number): boolean;
  wakeupClear(descriptor: number): number;
  wakeupClose(descriptor: number): void;

  alarmOpen(): number;
  alarmSet(alarm: number, atMs: number): number;
  /** CPU time of the calling thread, milliseconds. */
  threadCpu(): number;

  resolverOpen(): number;
  resolverResolve(resolver: number, host: string, family: 0 | 4 | 6): number;
  resolverTake(resolver: number): AddonAnswer | null;
  resolverClose(resolver: number): void;

  fileLimit(): number;
}

/** What a context is made of; texts that are '' leave OpenSSL's defaults. */
export interface TlsSettings {
  readonly certificates: readonly string[];
  readonly keys: readonly string[];
  readonly pfx: Uint8Array | '';
  readonly passphrase: string | null;
  readonly ciphers: string;
  readonly suites: string;
  readonly signatures: string;
  readonly groups: string;
  /** As on the wire. */
  readonly alpn: Uint8Array | '';
  readonly keyLog: string;
  readonly versionMin: number;
  readonly versionMax: number;
  readonly verify: boolean;
  readonly keepSessions: boolean;
  readonly trust: number;
}

/** `TlsInfo`, before the certificate has its number. `verified`: also where there was none to verify. */
export interface AddonTlsInfo extends TlsInfo {
  certificate: number;
  verified: boolean;
}

/** A session of a context for other environments. */
export interface AddonOffer {
  readonly context: number;
  readonly destination: string;
  readonly single: boolean;
  readonly bytes: Buffer;
}

/** A `ResolveAnswer` with the errno that EAI_SYSTEM leaves open, or 0. */
export interface AddonAnswer {
  readonly lookup: number;
  readonly status: number;
  readonly statusName: string;
  readonly systemError: number;
  readonly addresses: readonly string[];
}

let loaded: Addon | undefined;

/** Throws an AddonError that says what to do, when there is no addon or this process cannot load it. */
export function addon(): Addon {
  loaded ??= load();
  return loaded;
}

function load(): Addon {
  // Beside package.json, three above this file both in src/ and in dist/.
  const packageRoot = fileURLToPath(new URL('.', ownFile('../../../package.json', import.meta.url)));
  try {
    const nodeGypBuild: (root: string) => Addon = createRequire(import.meta.url)('node-gyp-build');
    return nodeGypBuild(packageRoot);
  } catch (cause) {
    throw new AddonError(isForbidden(cause) ? FORBIDDEN : NOT_BUILT, { cause });
  }
}

const NOT_BUILT =
  'shardfetch cannot load its native addon; to build it, run: npm rebuild shardfetch (in a checkout of shardfetch: npm run build:native)';
const FORBIDDEN =
  'shardfetch needs its native addon, and this process may load none: start Node without --no-addons, and with --allow-addons where there is --permission.';

function isForbidden(cause: unknown): boolean {
  return (cause as { code?: unknown } | null)?.code === 'ERR_DLOPEN_DISABLED';
}
