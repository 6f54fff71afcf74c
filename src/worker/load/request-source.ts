/**
 * What is sent next: one request after the other, by the targets' weights. Heads are composed once, before the run; a transfer that
 * gets another target than its last one is pointed at it, and one that does not is left alone.
 */

import { tagsOf } from '../../protocol/load/messages.ts';
import type { LoadPlan, LoadTarget } from '../../protocol/load/plan.ts';
import type { RouteOptions } from '../../protocol/route-options.ts';
import type { Transfer } from '../multi/transfer.ts';
import { type PreparedRequest, prepareRequest, type TransferOptions } from '../multi/transfer-options.ts';

/** The generator's own sweep ends what takes too long, so a request costs no timer. */
const NO_TIMEOUTS = { queueMs: 0, connectMs: 0, headMs: 0, bodyIdleMs: 0, totalMs: 0 };

/** Longer rotations would cost memory for an exactness that nobody sees: weights are scaled down to it. */
const ROTATION_MAX = 10_000;

/** What a generator asks for each request. Others than `WeightedTargets` may compose heads as they go. */
export interface RequestSource {
  /** Makes `transfer`, which is not added, the next request of this connection. Answers the number of its tag. */
  prepare(transfer: Transfer, slot: number): number;
  /** The request that a connection's transfer is made with; `prepare` is called before each use all the same. */
  first(slot: number): PreparedRequest;
  /**
   * The answer is complete and the transfer removed: where it leads somewhere, makes the transfer the request that goes there and
   * answers true. Absent: answers never do.
   */
  follow?(transfer: Transfer, slot: number): boolean;
  /** Nothing is asked for any more. */
  close?(): void;
}

export class WeightedTargets implements RequestSource {
  /** By target, then by local address. */
  readonly #requests: readonly (readonly PreparedRequest[])[];
  readonly #tags: readonly number[];
  readonly #localCount: number;
  /** Numbers of targets in the order in which they are sent, over and over. */
  readonly #rotation: Uint16Array;
  #place: number;

  constructor(plan: LoadPlan, shard: number) {
    const tags = tagsOf(plan);
    const locals = plan.localAddresses.length === 0 ? [undefined] : plan.localAddresses;
    this.#requests = plan.targets.map((target) => locals.map((local) => prepareTarget(plan, target, local)));
    this.#tags = plan.targets.map(({ tag }) => tags.indexOf(tag));
    this.#localCount = locals.length;
    this.#rotation = rotationOf(plan.targets.map(({ weight }) => weight));
    // Shards do not all begin with the same target.
    this.#place = Math.floor((this.#rotation.length * shard) / plan.shards);
  }

  first(slot: number): PreparedRequest {
    return this.#requestOf(0, slot);
  }

  prepare(transfer: Transfer, slot: number): number {
    const rotation = this.#rotation;
    if (rotation.length === 1) return 0;
    if (this.#place === rotation.length) this.#place = 0;
    const target = rotation[this.#place++] as number;
    const request = this.#requestOf(target, slot);
    if (transfer.head !== request.head || transfer.route !== request.route) transfer.become(request);
    return this.#tags[target] as number;
  }

  #requestOf(target: number, slot: number): PreparedRequest {
    const requests = this.#requests[target] as readonly PreparedRequest[];
    return requests[slot % this.#localCount] as PreparedRequest;
  }
}

export function prepareTarget(plan: LoadPlan, target: LoadTarget, local: string | undefined): PreparedRequest {
  const { url, method, headers, body, bodyFile } = target;
  const route: RouteOptions = local === undefined ? plan.route : { ...plan.route, localAddress: local };
  const options: TransferOptions = { url, method, headers, timeouts: NO_TIMEOUTS, ...route };
  // Only the length of a file's body is needed here.
  const content = bodyFile === null ? body : { length: bodyFile.bytes, read: () => null };
  return prepareRequest({ ...options, ...(content === null ? {} : { body: content }), forbidReuse: !plan.keepAlive });
}

/**
 * Every target as often as its weight, spread as evenly as can be: each has a debt that grows by its weight, and the largest debt is
 * paid next (the smooth weighted rotation of nginx's upstreams).
 */
export function rotationOf(weights: readonly number[]): Uint16Array {
  const divisor = weights.reduce(greatestCommonDivisor);
  let shares = weights.map((weight) => weight / divisor);
  const total = shares.reduce((sum, share) => sum + share, 0);
  if (total > ROTATION_MAX) shares = shares.map((share) => Math.max(1, Math.round((share * ROTATION_MAX) / total)));
  const length = shares.reduce((sum, share) => sum + share, 0);
  const debts = shares.map(() => 0);
  const rotation = new Uint16Array(length);
  for (let place = 0; place < length; place++) {
    let largest = 0;
    for (let target = 0; target < shares.length; target++) {
      debts[target] = (debts[target] as number) + (shares[target] as number);
      if ((debts[target] as number) > (debts[largest] as number)) largest = target;
    }
    debts[largest] = (debts[largest] as number) - length;
    rotation[place] = largest;
  }
  return rotation;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
