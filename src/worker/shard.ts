/**
 * One shard: a multi handle, its event loop, and the two ports to the main thread. As a Piscina task (`startShard` is this
 * file's default export) it begins the shard and returns; the shard lives as long as its thread, or until `close`.
 *
 * On the path of a request there is no promise, no timer and no message of its own: frames come in a batch, transfers are
 * added, the crank is turned, and what the turn produced leaves in a batch.
 */

import { type MessagePort, threadId } from 'node:worker_threads';
import { TransferError } from '../protocol/errors.ts';
import type { Timeouts } from '../protocol/options.ts';
import { BatchLink } from '../protocol/port/batch-link.ts';
import type { BatchReader } from '../protocol/port/batch-reader.ts';
import type { ShardConfig, ShardStats, ShardTask } from '../protocol/port/control.ts';
import { encodeError } from '../protocol/port/error-encoding.ts';
import { ABORT, BODY, CREDIT, END, SESSION, START } from '../protocol/port/frames.ts';
import { NOT_STREAMED, StartFrame, writeCredit } from '../protocol/port/request-frames.ts';
import { readBody, writeError } from '../protocol/port/response-frames.ts';
import type { Driver } from './multi/driver.ts';
import { Multi } from './multi/multi.ts';
import { Transfer } from './multi/transfer.ts';
import { withPoolNames } from './option-names.ts';
import { ResponseForwarder } from './response-forwarder.ts';
import { exposeControl } from './shard-control.ts';
import { openShardDriver } from './shard-driver.ts';
import { ShardGuards } from './shard-guards.ts';
import { withIdentityCheck } from './shard-identity.ts';
import { lookupThrough } from './shard-lookup.ts';
import { ShardRoutes } from './shard-routes.ts';
import { SharedSessions } from './shared-sessions.ts';
import { UploadQueue } from './upload-queue.ts';

export class Shard {
  readonly #config: ShardConfig;
  readonly #port: MessagePort;
  readonly #link: BatchLink;
  readonly #multi: Multi;
  readonly #driver: Driver;
  readonly #forwarder: ResponseForwarder;
  readonly #start: StartFrame;
  /** null: it is the only shard. */
  readonly #sessions: SharedSessions | null;
  readonly #lookupPort: MessagePort | null;
  readonly #identityPort: MessagePort | null;
  readonly #guards: ShardGuards;
  readonly #routes: ShardRoutes;
  readonly #onFrame = (reader: BatchReader): void => this.#handleFrame(reader);
  /** Transfers under way, by id. */
  readonly #transfers = new Map<number, Transfer>();
  #started = 0;
  #failed = 0;
  #aborted = 0;
  #ignoredFrames = 0;
  #turns = 0;
  #loopMs = 0;
  #closed = false;

  constructor({ config, dataPort: port, guardPort, lookupPort, identityPort }: ShardTask<MessagePort>) {
    this.#config = config;
    this.#port = port;
    this.#start = new StartFrame(config.extras);
    this.#link = new BatchLink(port);
    this.#multi = new Multi({
      maxConnects: config.totalConnections,
      maxTotalConnections: config.totalConnections,
      queueLength: config.queueLength,
      idleMs: config.idleMs,
      lookupTtlMs: config.lookupTtlMs,
      resolve: config.resolve,
      ...(lookupPort === null ? {} : { lookup: lookupThrough(lookupPort) }),
    });
    this.#sessions = SharedSessions.of(this.#multi.io, config.shards - 1);
    this.#lookupPort = lookupPort;
    this.#identityPort = identityPort;
    const { route, identityCheck } = config;
    const options =
      identityPort === null || identityCheck === null ? route : withIdentityCheck(route, identityCheck, identityPort);
    this.#guards = new ShardGuards(guardPort);
    this.#routes = new ShardRoutes(options, config.proxy, config.guard, this.#guards);
    this.#forwarder = new ResponseForwarder(this.#link.writer, this.#multi, this.#transfers, config.unreadBytes);
    this.#driver = openShardDriver(this.#multi);
    this.#driver.onTurn = () => this.#endTurn();
    // The main thread's port keeps the process alive while it waits for answers; this end never does.
    this.#driver.unref();
    this.#driver.run();
    port.on('message', (message) => this.#receive(message));
    port.on('close', () => this.close());
    port.unref();
  }

  stats(): ShardStats {
    const multi = this.#multi.stats();
    return {
      shard: this.#config.shard,
      running: this.#multi.running,
      queued: multi.pending,
      idle: multi.idle,
      connections: multi.connections,
      opened: multi.opened,
      reused: multi.reused,
      started: this.#started,
      completed: this.#forwarder.completed,
      failed: this.#failed,
      aborted: this.#aborted,
      bytesIn: multi.bytesIn,
      bytesOut: multi.bytesOut,
      unreadBytes: this.#forwarder.unreadBytes,
      turns: this.#turns,
      loopMs: this.#loopMs,
      ignoredFrames: this.#ignoredFrames,
    };
  }

  /** As DER. Throws TransferError when it is no longer known. */
  peerCertificate(number: number): Uint8Array {
    const certificate = this.#multi.io.tls?.certificate(number) ?? null;
    if (certificate !== null) return certificate;
    throw new TransferError(
      'CONNECTION_LOST',
      'The certificate of this connection is no longer known: a shard keeps those of the last 1,000 peers; ask for it sooner.',
      { phase: 'tls' },
    );
  }

  /** Ends every transfer and closes every descriptor and the data port. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#multi.close();
    this.#driver.stop();
    this.#port.close();
    this.#lookupPort?.close();
    this.#identityPort?.close();
    this.#guards.close();
  }

  #receive(message: unknown): void {
    if (this.#closed) return;
    this.#driver.hold();
    try {
      this.#link.receive(message, this.#onFrame);
    } catch {
      // An unreadable batch: nothing that follows can be trusted. The closed port tells the main thread, which fails what was
      // in flight here as SHARD_LOST and starts another shard.
      this.close();
      return;
    }
    // First what the sockets have, so that a closed or poisoned connection is never taken; then the new transfers.
    this.#driver.crank();
  }

  #handleFrame(reader: BatchReader): void {
    switch (reader.kind) {
      case START:
        this.#startTransfer(reader);
        return;
      case CREDIT:
        this.#forwarder.credit(reader.id, reader.word(3));
        return;
      case BODY:
      case END:
        this.#handleUpload(reader);
        return;
      case ABORT:
        this.#abort(reader.id);
        return;
      case SESSION:
        if (this.#sessions?.accept(reader) !== true) this.#ignoredFrames++;
        return;
      default:
        this.#badFrame(reader.id, `frame of unknown kind ${reader.kind}`);
    }
  }

  #startTransfer(reader: BatchReader): void {
    this.#started++;
    const frame = this.#start;
    if (!frame.read(reader)) {
      this.#refuse(
        frame.id,
        new TransferError('INTERNAL', 'A request was damaged on its way to its shard; please report this.'),
      );
      return;
    }
    try {
      const transfer = new Transfer({
        kind: 'prepared',
        route: this.#routes.of(frame.origin, frame.extras),
        method: frame.head.slice(0, frame.head.indexOf(' ')),
        head: frame.head,
        body: frame.body,
        upload: frame.streamedBytes === NOT_STREAMED ? null : this.#uploadOf(frame.id, frame.streamedBytes),
        timeouts: frame.timeouts ?? (this.#config.timeouts as Timeouts),
        limits: this.#config.limits,
        extras: frame.extras,
      });
      transfer.id = frame.id;
      transfer.startMs = frame.startMs;
      transfer.hostConnections = frame.originShare;
      this.#forwarder.attach(transfer, frame.extras);
      this.#transfers.set(frame.id, transfer);
      this.#multi.add(transfer);
    } catch (error) {
      this.#transfers.delete(frame.id);
      this.#refuse(frame.id, error);
    }
  }

  #uploadOf(id: number, length: number): UploadQueue {
    return new UploadQueue(length, (bodyBytes) => writeCredit(this.#link.writer, id, bodyBytes));
  }

  /** A piece of a request body, or its end. The transfer may be over: it answered early, or failed. */
  #handleUpload(reader: BatchReader): void {
    const transfer = this.#transfers.get(reader.id);
    if (transfer === undefined) {
      this.#ignoredFrames++;
      return;
    }
    const { upload } = transfer;
    const piece = reader.kind === BODY ? readBody(reader) : null;
    if (!(upload instanceof UploadQueue) || (reader.kind === BODY && piece === null)) {
      this.#badFrame(reader.id, 'damaged piece of a request body');
      return;
    }
    if (piece === null) upload.end();
    else upload.push(piece);
    transfer.continueUpload();
  }

  /** The main thread no longer wants it; it hears nothing more of it. Where little is left of its body the connection is kept. */
  #abort(id: number): void {
    const transfer = this.#transfers.get(id);
    this.#forwarder.forget(id);
    if (transfer === undefined) {
      this.#ignoredFrames++;
      return;
    }
    this.#aborted++;
    this.#transfers.delete(id);
    this.#multi.discard(transfer);
  }

  /** A bad frame of a known transfer fails it; of an unknown one it is counted. */
  #badFrame(id: number, what: string): void {
    const transfer = this.#transfers.get(id);
    if (transfer === undefined) {
      this.#ignoredFrames++;
      return;
    }
    this.#forwarder.forget(id);
    this.#forget(transfer);
    this.#refuse(id, new TransferError('INTERNAL', `The main thread sent a ${what}; please report this.`));
  }

  #forget(transfer: Transfer): void {
    this.#transfers.delete(transfer.id);
    this.#multi.remove(transfer);
  }

  #refuse(id: number, error: unknown): void {
    this.#failed++;
    writeError(this.#link.writer, id, encodeError(withPoolNames(error)));
  }

  /** Each crank ends here: failures become frames (successes have), and the batch leaves. */
  #endTurn(): void {
    this.#turns++;
    for (let transfer = this.#multi.nextDone(); transfer !== null; transfer = this.#multi.nextDone()) {
      this.#forwarder.cut(transfer);
      this.#forget(transfer);
      this.#refuse(transfer.id, transfer.error);
    }
    this.#sessions?.send(this.#link.writer);
    this.#forwarder.endTurn();
    this.#link.flush();
    this.#loopMs += this.#driver.elapsedMs;
  }
}

/** The Piscina task: begins the shard and returns its thread's id; what it began goes on. */
export default function startShard(task: ShardTask<MessagePort>): number {
  const shard = new Shard(task);
  exposeControl(shard, task.controlPort);
  return threadId;
}
