/**
 * What a shard counts between two cuts. Recording a request touches a few places of arrays and allocates nothing; everything is
 * taken out at once, about each second.
 */

import { Histogram, type HistogramPart } from '../../protocol/load/histogram.ts';
import type { TagInterval } from '../../protocol/load/messages.ts';
import { LATE_MS } from '../../protocol/load/result.ts';
import type { Transfer } from '../multi/transfer.ts';

const US_PER_MS = 1_000;
/** What a status code may be: the parser takes three digits. */
const STATUSES = 1_000;

/** What `take` answers: the members of a LoadInterval that are counted here. */
export interface Recorded {
  readonly started: number;
  readonly completed: number;
  readonly failed: number;
  readonly lateStarts: number;
  readonly notStarted: number;
  readonly repeated: number;
  readonly redirected: number;
  readonly statuses: readonly (readonly [number, number])[];
  readonly errors: Readonly<Record<string, number>>;
  readonly errorExamples: Readonly<Record<string, string>>;
  readonly connectFailed: number;
  readonly lost: number;
  readonly closed: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly perLocalAddress: readonly number[];
  readonly corrected: HistogramPart | null;
  readonly raw: HistogramPart | null;
  readonly phases: readonly (HistogramPart | null)[];
  readonly tags: readonly TagInterval[];
}

export class Recorder {
  started = 0;
  notStarted = 0;
  lateStarts = 0;
  /** Requests that an answer led to. */
  redirected = 0;
  readonly #open: boolean;
  #completed = 0;
  #failed = 0;
  #repeated = 0;
  #connectFailed = 0;
  #lost = 0;
  #closed = 0;
  #bytesReceived = 0;
  #bytesSent = 0;
  readonly #statuses = new Uint32Array(STATUSES);
  #errors: Record<string, number> = {};
  #examples: Record<string, string> = {};
  readonly #known = new Set<string>();
  readonly #perLocalAddress: number[];
  readonly #corrected: Histogram | null;
  readonly #raw = new Histogram(true);
  readonly #queue: Histogram | null;
  readonly #dns = new Histogram(true);
  readonly #connect = new Histogram(true);
  readonly #tls = new Histogram(true);
  readonly #firstByte = new Histogram(true);
  readonly #body = new Histogram(true);
  /** Empty where there is one tag: then it has all that the whole has. */
  readonly #tags: TagRecorder[];

  /** `open`: the loop's model. */
  constructor(open: boolean, tagCount: number, localAddressCount: number) {
    this.#open = open;
    this.#corrected = open ? new Histogram(true) : null;
    this.#queue = open ? new Histogram(true) : null;
    this.#tags = tagCount === 1 ? [] : Array.from({ length: tagCount }, () => new TagRecorder());
    this.#perLocalAddress = new Array<number>(Math.max(1, localAddressCount)).fill(0);
  }

  /** Its answer is whole. `dueMs`: when it should have started, on the multi's clock. */
  completed(transfer: Transfer, dueMs: number, tag: number, local: number): void {
    const { status, endUs, firstByteUs, tlsUs } = transfer;
    this.#completed++;
    this.#bytesReceived += transfer.bytesReceived;
    this.#bytesSent += transfer.bytesSent;
    this.#statuses[status] = (this.#statuses[status] as number) + 1;
    let latencyUs = endUs;
    this.#raw.record(endUs);
    if (this.#open) {
      const queueUs = (transfer.startMs - dueMs) * US_PER_MS;
      latencyUs += queueUs;
      (this.#corrected as Histogram).record(latencyUs);
      (this.#queue as Histogram).record(queueUs);
    }
    this.#firstByte.record(firstByteUs - tlsUs);
    this.#body.record(endUs - firstByteUs);
    if (!transfer.reused) this.#opened(transfer, local);
    if (transfer.retried) this.#repeatedOnce();
    if (!transfer.kept) this.#closed++;
    if (this.#tags.length > 0) (this.#tags[tag] as TagRecorder).completed(status, latencyUs, transfer.bytesReceived);
  }

  failed(transfer: Transfer, code: string, message: string, tag: number, local: number): void {
    this.#failed++;
    this.#bytesReceived += transfer.bytesReceived;
    this.#bytesSent += transfer.bytesSent;
    this.#errors[code] = (this.#errors[code] ?? 0) + 1;
    if (!this.#known.has(code)) {
      this.#known.add(code);
      this.#examples[code] = message;
    }
    if (transfer.connectUs < 0) this.#connectFailed++;
    else {
      this.#lost++;
      if (!transfer.reused) this.#opened(transfer, local);
    }
    if (transfer.retried) this.#repeatedOnce();
    if (this.#tags.length > 0) (this.#tags[tag] as TagRecorder).failed(code, transfer.bytesReceived);
  }

  /** A request is started; whether late is told by `lateMs`. */
  start(lateMs: number): void {
    this.started++;
    if (lateMs > LATE_MS) this.lateStarts++;
  }

  /** One more, of a run that had 0: its number. */
  addTag(): number {
    return this.#tags.push(new TagRecorder()) - 1;
  }

  take(): Recorded {
    const recorded: Recorded = {
      started: this.started,
      completed: this.#completed,
      failed: this.#failed,
      lateStarts: this.lateStarts,
      notStarted: this.notStarted,
      repeated: this.#repeated,
      redirected: this.redirected,
      statuses: takeStatuses(this.#statuses),
      errors: this.#errors,
      errorExamples: this.#examples,
      connectFailed: this.#connectFailed,
      lost: this.#lost,
      closed: this.#closed,
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      perLocalAddress: this.#perLocalAddress.slice(),
      corrected: this.#corrected?.take() ?? null,
      raw: this.#raw.take(),
      phases: [this.#queue, this.#dns, this.#connect, this.#tls, this.#firstByte, this.#body].map(
        (histogram) => histogram?.take() ?? null,
      ),
      tags: this.#tags.flatMap((recorder, tag) => recorder.take(tag) ?? []),
    };
    this.started = 0;
    this.notStarted = 0;
    this.lateStarts = 0;
    this.redirected = 0;
    this.#completed = 0;
    this.#failed = 0;
    this.#repeated = 0;
    this.#connectFailed = 0;
    this.#lost = 0;
    this.#closed = 0;
    this.#bytesReceived = 0;
    this.#bytesSent = 0;
    this.#errors = {};
    this.#examples = {};
    this.#perLocalAddress.fill(0);
    return recorded;
  }

  #opened({ queuedUs, dnsUs, connectUs, tlsUs }: Transfer, local: number): void {
    this.#perLocalAddress[local] = (this.#perLocalAddress[local] as number) + 1;
    this.#dns.record(dnsUs - queuedUs);
    this.#connect.record(connectUs - dnsUs);
    this.#tls.record(tlsUs - connectUs);
  }

  #repeatedOnce(): void {
    this.#repeated++;
    this.#lost++;
  }
}

class TagRecorder {
  #completed = 0;
  #failed = 0;
  #bytes = 0;
  readonly #statuses = new Uint32Array(STATUSES);
  #errors: Record<string, number> = {};
  readonly #latency = new Histogram(true);

  completed(status: number, latencyUs: number, bytes: number): void {
    this.#completed++;
    this.#bytes += bytes;
    this.#statuses[status] = (this.#statuses[status] as number) + 1;
    this.#latency.record(latencyUs);
  }

  failed(code: string, bytes: number): void {
    this.#failed++;
    this.#bytes += bytes;
    this.#errors[code] = (this.#errors[code] ?? 0) + 1;
  }

  take(tag: number): TagInterval | null {
    if (this.#completed === 0 && this.#failed === 0) return null;
    const taken: TagInterval = {
      tag,
      failed: this.#failed,
      bytes: this.#bytes,
      statuses: takeStatuses(this.#statuses),
      errors: this.#errors,
      latency: this.#latency.take(),
    };
    this.#completed = 0;
    this.#failed = 0;
    this.#bytes = 0;
    this.#errors = {};
    return taken;
  }
}

function takeStatuses(counts: Uint32Array): [status: number, count: number][] {
  const taken: [number, number][] = [];
  for (let status = 0; status < STATUSES; status++) {
    const count = counts[status] as number;
    if (count > 0) taken.push([status, count]);
  }
  counts.fill(0);
  return taken;
}
