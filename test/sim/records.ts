/**
 * What the ledger keeps a record of: transfers and their runs, destinations, connections, requests with their answers. Facts only;
 * what must be true of them is `ledger.ts`'s.
 */

import type { SimulatedSocket } from '../../src/worker/io/simulated/network.ts';
import type { Transfer, TransferOptions } from '../../src/worker/multi/index.ts';
import { RequestReader } from './request-reader.ts';
import type { DestinationPlan } from './scenario.ts';

/** What must be true and is not. */
export class Violation extends Error {
  readonly rule: string;

  constructor(rule: string, detail: string) {
    super(`${rule}: ${detail}`);
    this.rule = rule;
  }
}

/** What the client wants to send. */
export interface UploadPlan {
  readonly length: number;
  readonly kind: 'bytes' | 'source';
  /** A source that gives too much or too little, or throws: the transfer must fail. */
  readonly broken: boolean;
}

/** A transfer of the application's and all its runs. */
export interface Client {
  readonly number: number;
  readonly transfer: Transfer;
  readonly destination: Place;
  readonly options: TransferOptions;
  readonly method: string;
  readonly upload: UploadPlan | null;
  /** The run that it is added for; null: it is not added. */
  run: Run | null;
  /** How many more times it is added again. */
  again: number;
}

/** From `add` to completion or `remove`. */
export class Run {
  readonly client: Client;
  readonly addedMs: number;
  readonly exchanges: Exchange[] = [];
  state: 'running' | 'done' | 'removed' = 'running';
  /** Body bytes delivered. */
  bodyBytes = 0;
  hadHead = false;
  hadEnd = false;
  paused = false;
  sendPaused = false;
  notified = false;
  /** The turn in which its clock was changed. */
  clockTurn = -1;
  /** Where it was at the end of the last turn, and since when. */
  place = '';
  placeSinceMs = 0;
  messaged = false;
  /** A callback of ours threw: it may end as ABORTED_BY_CALLBACK. */
  threw = false;
  /** Its source was asked for anything. */
  sourceAsked = false;
  target: Uint8Array | null = null;

  constructor(client: Client, addedMs: number) {
    this.client = client;
    this.addedMs = addedMs;
  }
}

/** A destination with what happened there. */
export class Place {
  readonly plan: DestinationPlan;
  /** Open sockets; those from an address of the transfer's choice are to a destination of their own (rule 60). */
  openSockets = 0;
  openBound = 0;
  /** Open connections that have carried a request. */
  usedLines = 0;
  usedBound = 0;
  /** The turn in which a loss, or a failed connect, was last told. */
  faultTurn = -1;
  connectFailures = 0;
  /** The peer of one of its connections sent bytes that no request asked for. */
  poisoned = false;
  nameFailures = 0;

  constructor(plan: DestinationPlan) {
    this.plan = plan;
  }
}

/** A request's head is written on this connection. */
export type HeadHandler = (line: Line, method: string, target: string, head: string) => void;

/** One connection, as its socket's `data`. */
export class Line {
  readonly socket: SimulatedSocket;
  readonly place: Place;
  readonly isBound: boolean;
  readonly exchanges: Exchange[] = [];
  /** The exchange under way; null: idle, or never used. */
  current: Exchange | null = null;
  /** No transfer has tried to write since the last one ended. */
  isIdle = true;
  restsMs = 0;
  /** When the present transfer first tried to write. */
  takenMs = 0;
  /** Bytes of its socket that had been read by then. What comes later may be taken for the answer. */
  takenReadBytes = 0;
  /** When a write was first tried: it has lived since then, or since a little before. */
  connectedMs = 0;
  /** Why no byte may be written any more; '': it may. */
  unfit = '';
  /** The peer sent bytes that no request asked for: what is read is not worth checking. */
  poisoned = false;
  faultTurn = -1;
  /** The turn in which it was closed; Infinity: it is open. */
  lostTurn = Number.POSITIVE_INFINITY;
  readonly reader: RequestReader;

  constructor(socket: SimulatedSocket, place: Place, onHead: HeadHandler) {
    this.socket = socket;
    this.place = place;
    this.isBound = socket.localAddress !== '';
    this.reader = new RequestReader({
      onHead: (method, target, head) => onHead(this, method, target, head),
      onBody: () => {},
      onEnd: () => {
        if (this.current !== null) this.current.requestWhole = true;
      },
    });
  }
}

export type Framing = 'none' | 'length' | 'chunked' | 'close';

/** One request on one connection and what the peer answered. The peer fills in its part. */
export class Exchange {
  readonly ordinal: number;
  readonly line: Line;
  /** Whether the connection had served others. */
  readonly reusesLine: boolean;
  readonly beganMs: number;
  run: Run | null = null;
  requestWhole = false;
  /** The client has read anything since. */
  answered = false;

  // The peer's:
  framing: Framing = 'none';
  bodyBytes = 0;
  /** Everything was sent; with 'close', the FIN too. */
  finished = false;
  /** How far the peer's stream was when it had finished. */
  endOffset = -1;
  /** The response breaks HTTP. */
  broken = false;
  /** It is larger than the transfer's limits. */
  tooLarge = false;
  keepsAlive = true;
  /** Its transfer was discarded: what is left of the response may be read away. */
  discarded = false;
  /** Its Keep-Alive: timeout, in seconds; -1: it has none. */
  keepAliveS = -1;

  constructor(ordinal: number, line: Line) {
    this.ordinal = ordinal;
    this.line = line;
    this.reusesLine = line.exchanges.length > 0;
    this.beganMs = line.takenMs;
  }
}
