/**
 * What one seed decides beforehand: the limits of the multi, who can be reached, how bad the network is, how the application
 * behaves. Most seeds switch most faults off: a few kinds at a time, often, find more than all of them, seldom.
 */

import type { KernelFaults } from '../../src/worker/io/simulated/network.ts';
import type { Random } from '../../src/worker/io/simulated/random.ts';
import type { MultiOptions } from '../../src/worker/multi/index.ts';

/** How often servers and names do what they should not: shares from 0 to 1. */
export interface PeerFaults {
  refuse: number;
  unreachable: number;
  /** A connect that is never answered. */
  blackHole: number;
  atOnce: number;
  /** Reset or closed right after the connection was taken. */
  hangUp: number;
  /** Bytes before any request. */
  banner: number;
  /** The request is not read. */
  unread: number;
  slowReader: number;
  /** FIN in mid-response. */
  cut: number;
  reset: number;
  stall: number;
  garbage: number;
  tooLarge: number;
  /** Answered before the request is whole. */
  early: number;
  interim: number;
  close: number;
  closeUnsaid: number;
  stray: number;
  idleClose: number;
  idleReset: number;
  idleStray: number;
  keepAliveTimeout: number;
  http10: number;
  closeDelimited: number;
  chunked: number;
  nameFails: number;
  nameWithoutAddress: number;
  nameSilent: number;
  nameSlow: number;
}

/** How the application drives and what it does inside its callbacks: shares from 0 to 1. */
export interface Habits {
  /** All ready sockets are served before anything else happens. */
  prompt: boolean;
  /** Share of deliveries through `actions` and not one `action` each. */
  batches: number;
  spurious: number;
  /** Events that are kept and delivered later. */
  late: number;
  /** Delivered as 0: unknown. */
  unknownEvents: number;
  reorder: boolean;
  /** Milliseconds by which the program may be busy elsewhere. */
  busyMs: number;
  early: number;
  /** Something is done to transfers inside a callback. */
  mischief: number;
  throws: number;
  /** Once in this run the socket or timer callback answers -1. */
  ends: boolean;
  socketThrows: number;
  pauseInside: number;
  readInto: number;
  remove: number;
  again: number;
  messagesLag: number;
  starve: number;
  brokenSource: number;
  /** Sending is held, alone or with receiving. */
  pauseSending: number;
  /** `discard` in the place of `remove`. */
  discard: number;
  /** Transfers with speed limits, and with a least speed. */
  pace: number;
  lowSpeed: number;
  /** Limits are changed, what is kept is let go of, clocks are changed. */
  settings: number;
  notified: boolean;
  localAddresses: number;
  /** The multi is closed with work under way. */
  closeMidway: boolean;
}

export interface DestinationPlan {
  readonly host: string;
  readonly port: number;
  readonly addresses: readonly string[];
  readonly named: boolean;
  /** What the `Host` field says. */
  readonly key: string;
  readonly serversShare: number;
}

export interface Scenario {
  readonly multi: MultiOptions;
  readonly destinations: readonly DestinationPlan[];
  readonly kernel: KernelFaults;
  readonly peers: PeerFaults;
  readonly habits: Habits;
  readonly transfers: number;
  readonly arrivalMs: number;
  readonly latencyMs: number;
  readonly readBufferBytes: number;
  readonly writeBufferBytes: number;
  readonly sendBufferBytes: number;
  readonly descriptorsMax: number;
  readonly bodyBytesMax: number;
  readonly lookupTtlMs: number;
}

const RATES = [0.02, 0.1, 0.3, 0.7];

export function rollScenario(random: Random): Scenario {
  const wild = random.pick([0, 0.1, 0.2, 0.4]);
  const rate = (cap = 1): number => (random.chance(wild) ? Math.min(cap, random.pick(RATES)) : 0);
  const optional = (share: number, least: number, most: number): number =>
    random.chance(share) ? random.between(least, most) : 0;
  const sendBufferBytes = random.pick([7, 100, 4_000, 200_000, 200_000]);
  const maxTotalConnections = optional(0.4, 1, 8);
  const multi: MultiOptions = {
    maxHostConnections: optional(0.5, 1, 4),
    maxTotalConnections,
    maxConnects: random.chance(0.3) ? random.between(0, 4) : 100,
    queueLength: optional(0.15, 1, 6),
    idleMs: random.pick([20, 200, 2_000, 118_000]),
    lifetimeMs: random.pick([50, 500, 86_400_000, 86_400_000]),
    lookupTtlMs: random.pick([0, 10, 1_000, 60_000]),
    happyEyeballsMs: random.pick([1, 20, 250]),
  };
  return {
    multi,
    destinations: rollDestinations(random),
    kernel: {
      readPartial: rate(),
      readWouldBlock: rate(0.6),
      interrupted: rate(0.3),
      writePartial: rate(),
      writeWouldBlock: rate(0.6),
      noDescriptor: rate(0.3),
      clockTicks: random.pick([0, 1]),
      cannotBind: rate(0.4),
      resetPurges: random.pick([0, 1, 0.5]),
      strangeAnswer: rate(),
    },
    peers: {
      refuse: rate(),
      unreachable: rate(),
      blackHole: rate(0.3),
      atOnce: rate(),
      hangUp: rate(),
      banner: rate(0.3),
      unread: rate(0.3),
      slowReader: rate(),
      cut: rate(0.4),
      reset: rate(0.4),
      stall: rate(0.3),
      garbage: rate(0.4),
      tooLarge: rate(0.4),
      early: rate(),
      interim: rate(),
      close: rate(),
      closeUnsaid: rate(),
      stray: rate(0.4),
      idleClose: rate(),
      idleReset: rate(),
      idleStray: rate(0.4),
      keepAliveTimeout: rate(),
      http10: rate(),
      closeDelimited: rate(),
      chunked: random.pick([0, 0.5, 1]),
      nameFails: rate(0.4),
      nameWithoutAddress: rate(0.4),
      nameSilent: rate(0.3),
      nameSlow: rate(),
    },
    habits: {
      prompt: random.chance(0.4),
      batches: random.pick([0, 0.5, 1]),
      spurious: rate(0.3),
      late: rate(0.3),
      unknownEvents: rate(),
      reorder: random.chance(0.5),
      busyMs: random.chance(wild) ? random.pick([1, 10, 100]) : 0,
      early: rate(0.1),
      mischief: rate(0.3),
      throws: rate(0.1),
      ends: random.chance(wild * 0.15),
      socketThrows: rate(0.02),
      pauseInside: rate(0.3),
      readInto: rate(),
      remove: rate(0.3),
      again: rate(0.5),
      messagesLag: random.pick([0, 0, 0.9]),
      starve: rate(),
      brokenSource: rate(0.1),
      pauseSending: rate(0.5),
      discard: rate(),
      pace: rate(),
      lowSpeed: rate(),
      settings: rate(0.1),
      notified: random.chance(0.5),
      localAddresses: rate(),
      closeMidway: random.chance(0.12),
    },
    transfers: random.chance(0.05) ? random.between(30, 80) : random.between(2, 16),
    arrivalMs: random.pick([0, 5, 50, 400]),
    latencyMs: random.pick([0, 1, 5, 30]),
    readBufferBytes: random.pick([64, 1_000, 16_384, 131_072, 131_072]),
    writeBufferBytes: random.pick([64, 300, 131_072, 131_072]),
    sendBufferBytes,
    descriptorsMax: random.chance(wild * 0.4) ? random.between(1, 5) : 1_000,
    // A slow reader takes one buffer after the other: an upload of many is a long story that tells nothing.
    bodyBytesMax: Math.min(random.pick([0, 30, 1_000, 1_000, 20_000]), sendBufferBytes * 100),
    lookupTtlMs: multi.lookupTtlMs ?? 0,
  };
}

function rollDestinations(random: Random): DestinationPlan[] {
  const destinations: DestinationPlan[] = [];
  const count = random.between(1, 4);
  for (let index = 0; index < count; index++) {
    const named = random.chance(0.6);
    const addresses: string[] = [];
    const addressCount = named ? random.between(1, 4) : 1;
    for (let number = 0; number < addressCount; number++) {
      addresses.push(
        named && random.chance(0.3) ? `fd00::${index + 1}:${number + 1}` : `10.0.${index + 1}.${number + 1}`,
      );
    }
    const host = named ? `h${index + 1}.test` : (addresses[0] as string);
    const ports = random.chance(0.3) ? [80, 8080] : [80];
    for (const port of ports) {
      const key = port === 80 ? host : `${host}:${port}`;
      destinations.push({ host, port, addresses, named, key, serversShare: random.fraction() });
    }
  }
  return destinations;
}
