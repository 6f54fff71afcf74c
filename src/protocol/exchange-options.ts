/** Options of one request that change the course of its exchange: whether it leaves HTTP, and whether its body waits for the server's word. */

import { invalidArgument } from './errors.ts';
import { normalizeMethod } from './http1/request-head.ts';
import { resolveUpgrade, type Upgrade, type UpgradeOption } from './http1/upgrade.ts';
import { checkNumber, describe, TIMEOUT_MS_MAX } from './options.ts';
import type { RequestExtras } from './port/request-extras.ts';

export interface ExchangeOptions {
  /**
   * Leaves HTTP on this connection: `'websocket'`, or another protocol's name, asks the server to switch to it (RFC 9110 §7.8), `{ connect: 'host:port' }`
   * asks it for a tunnel (CONNECT, §9.3.6). Once it agrees, with 101 or a 2xx, the pieces of the body, a stream, go out as they are, its
   * end sends FIN, and what comes is the response's body until the peer's end, which ends both. No body clock runs then and no `limits.bodyBytes`
   * holds; the total one does. Where the server does not agree, its response is like any other and the body is not sent.
   */
  upgrade?: UpgradeOption | undefined;
  /**
   * Milliseconds: the request says `Expect: 100-continue`, and its body waits until the server says 100, or for so long (RFC 9110 §10.1.1,
   * CURLOPT_EXPECT_100_TIMEOUT_MS, there 1,000). A final response that comes first is delivered, the body is not sent, and the connection closes; 417 has the request sent
   * once more without the field. Default false: the body follows its head at once.
   */
  expectContinue?: number | false | undefined;
}

export const EXCHANGE_OPTION_NAMES = ['upgrade', 'expectContinue'] as const;

/** What the options come to. */
export interface ExchangePlan {
  readonly upgrade: Upgrade | null;
  /** 0: it does not wait. */
  readonly expectContinueMs: number;
}

/** Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveExchangeOptions({ upgrade, expectContinue }: ExchangeOptions): ExchangePlan {
  const plan = { upgrade: resolveUpgrade(upgrade), expectContinueMs: checkExpect(expectContinue) };
  if (plan.upgrade !== null && plan.expectContinueMs > 0) {
    throw invalidArgument(
      'expectContinue',
      'expectContinue cannot be used together with upgrade, whose body waits for the server in any case.',
    );
  }
  return plan;
}

/** The method of a request whose `upgrade` this is: of CONNECT there is no choice. Throws TransferError INVALID_ARGUMENT. */
export function methodOf(given: unknown, { upgrade }: ExchangePlan): string {
  if (given !== undefined && typeof given !== 'string') {
    throw invalidArgument('method', `method must be a string, not ${describe(given)}.`);
  }
  if (upgrade === null || upgrade.authority === '') return normalizeMethod(given ?? 'GET');
  if (given === undefined || given.toUpperCase() === 'CONNECT') return 'CONNECT';
  throw invalidArgument('method', `The method of a request with upgrade.connect is CONNECT, not ${describe(given)}.`);
}

/** A body that is the way into a tunnel has to be a stream. Throws TransferError INVALID_ARGUMENT. */
export function checkTunnelBody(isWhole: boolean): void {
  if (!isWhole) return;
  throw invalidArgument(
    'body',
    'The body of a request with upgrade must be a stream, whose pieces go out once the server has agreed.',
  );
}

/** `extras` with what the shard must know of it. */
export function withExchange(extras: RequestExtras | null, plan: ExchangePlan): RequestExtras | null {
  const { upgrade, expectContinueMs } = plan;
  if (upgrade !== null) return { ...extras, upgrade: upgrade.protocols };
  return expectContinueMs === 0 ? extras : { ...extras, expectContinueMs };
}

function checkExpect(expectContinue: unknown): number {
  if (expectContinue === undefined || expectContinue === false) return 0;
  if (typeof expectContinue === 'number') {
    return Math.ceil(checkNumber('expectContinue', expectContinue, 1, TIMEOUT_MS_MAX, 'milliseconds'));
  }
  throw invalidArgument(
    'expectContinue',
    `expectContinue must be a number of milliseconds or false, not ${describe(expectContinue)}.`,
  );
}
