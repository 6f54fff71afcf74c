/**
 * One call of fetch that takes, or may take, several requests one after the other: redirects, retries, a jar that is asked in
 * between, a challenge that is answered. It owns fetch's promise, the signal between requests, and the total clock. Each
 * request is an exchange of its own, counted as such. A call that gets by with one request has no FetchCall.
 *
 *     asking      the jar is asked for cookies, or stores them
 *     requesting  an exchange is under way
 *     waiting     for the next attempt
 *     over        the promise is settled
 *
 * What follows a response is a ladder, `#answered`; each rung's rule is in its own file.
 */

import { TransferError } from '../protocol/errors.ts';
import type { Timeouts } from '../protocol/options.ts';
import { isOtherOrigin, isRedirect } from '../protocol/redirect-rules.ts';
import { basicOf, type ChallengeAuth } from './auth.ts';
import type { CallPolicies } from './call-policies.ts';
import { cookiesFor, storeCookies, withCookies } from './cookies.ts';
import { type DigestSessions, strongest } from './digest.ts';
import { fetchFailure, wholeBodyFailure } from './failure.ts';
import { discard, isRepeatable } from './fetch-body.ts';
import { type FetchRequest, headOf } from './fetch-request.ts';
import {
  badRedirect,
  locationOf,
  type RedirectStep,
  redirectedRequest,
  resolveLocation,
  tooManyRedirects,
} from './redirect.ts';
import type { FetchResponse, PoolResponse } from './response.ts';
import { backOffMs, type EarlierAttempt, mayRetryFailure, mayRetryStatus, waitFor } from './retry.ts';
import type { Waiting, WaitQueue } from './wait-queue.ts';

/** What a call needs of its pool. */
export interface CallHost {
  readonly waits: WaitQueue;
  readonly digests: DigestSessions;
  /** Of a request that has none of its own. */
  readonly timeouts: Readonly<Timeouts>;
  /** Sends one request; exactly one of the two is called, later. */
  sendFor(request: FetchRequest, answered: (response: PoolResponse) => void, failed: (error: unknown) => void): void;
  followed(): void;
  retried(): void;
  callOver(call: FetchCall): void;
}

/** 401s of one target that are answered: the challenge, and one more when its nonce was too old meanwhile. */
const CHALLENGES_ANSWERED_MAX = 2;

export class FetchCall {
  #state: 'asking' | 'requesting' | 'waiting' | 'over' = 'asking';
  readonly #host: CallHost;
  readonly #policies: CallPolicies;
  readonly #resolve: (response: FetchResponse) => void;
  readonly #reject: (error: unknown) => void;
  /** What is asked now, without the jar's cookies and answers to challenges, which are found anew each time. */
  #request: FetchRequest;
  readonly signal: AbortSignal | null;
  /** `performance.now()` when the total clock runs out; Infinity: it does not run. */
  readonly #deadlineMs: number;
  readonly #redirects: RedirectStep[] = [];
  readonly #earlier: EarlierAttempt[] = [];
  /** Credentials for challenges; null once the origin is another one, and for good (HOSTILE 92). */
  #auth: ChallengeAuth | null;
  /** A value of Authorization that answers the last challenge for basic. */
  #basic: string | null = null;
  #challengesAnswered = 0;
  /** Of the URL asked now, `#` included. */
  #fragment: string;
  #waiting: Waiting | null = null;
  /** Whether somebody has taken its body. */
  #wasSent = false;

  /** `spentMs`: how long ago fetch was called. */
  constructor(
    host: CallHost,
    request: FetchRequest,
    spentMs: number,
    resolve: (response: FetchResponse) => void,
    reject: (error: unknown) => void,
  ) {
    const { totalMs } = request.timeouts ?? host.timeouts;
    this.#host = host;
    this.#request = request;
    this.#policies = request.policies;
    this.#auth = request.policies.auth;
    this.#fragment = request.target.url.hash;
    this.signal = request.signal;
    this.#deadlineMs = totalMs === 0 ? Number.POSITIVE_INFINITY : performance.now() + totalMs - spentMs;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** The first request. */
  begin(): void {
    this.#ask();
  }

  /** The first request was made without this call, and its answer is a redirect. */
  continueAfter(response: PoolResponse): void {
    this.#state = 'requesting';
    this.#wasSent = true;
    this.#answered(response);
  }

  /** The caller's signal fired. An exchange under way hears of it too, after this. */
  abort(reason: unknown): void {
    this.#over(() => this.#reject(reason));
  }

  /** The pool is cut. */
  fail(error: TransferError): void {
    if (this.#state === 'over') return;
    error.url ??= this.#request.target.href;
    this.#rejectWith(fetchFailure(error));
  }

  /** The jar first, if there is one; then the request. */
  #ask(): void {
    if (this.signal?.aborted) {
      this.abort(this.signal.reason);
      return;
    }
    if (this.#deadlineMs !== Number.POSITIVE_INFINITY && performance.now() >= this.#deadlineMs) {
      this.fail(this.#outOfTime());
      return;
    }
    const { cookies } = this.#policies;
    if (cookies === null) this.#send('');
    else this.#askJar(cookiesFor(cookies, this.#request.target.href), (text) => this.#send(text));
  }

  #send(cookies: string): void {
    this.#state = 'requesting';
    let request: FetchRequest;
    try {
      request = this.#dressed(cookies);
    } catch (error) {
      this.#failWith(error);
      return;
    }
    this.#wasSent = true;
    this.#host.sendFor(
      request,
      (response) => this.#received(response),
      (error) => this.#failed(error),
    );
  }

  /** With cookies, an answer to a challenge, and what is left of the total clock. */
  #dressed(cookies: string): FetchRequest {
    const request = this.#request;
    const { target, method, body } = request;
    const authorization = this.#authorization();
    const policies = this.#policies.ofEach ?? this.#policies;
    let headers = withCookies(request.headers, cookies);
    if (authorization !== null) headers = [...headers, ['authorization', authorization]];
    const head =
      headers === request.headers
        ? request.head
        : headOf(target, method, headers, body, request.referrer, request.upgrade);
    if (this.#deadlineMs === Number.POSITIVE_INFINITY) return { ...request, policies, headers, head };
    const totalMs = Math.max(1, Math.ceil(this.#deadlineMs - performance.now()));
    const timeouts = { ...(request.timeouts ?? this.#host.timeouts), totalMs };
    return { ...request, policies, headers, head, timeouts };
  }

  #authorization(): string | null {
    if (this.#auth === null) return null;
    const { target, method } = this.#request;
    return this.#basic ?? this.#host.digests.authorization(target.origin, this.#auth, method, target.path);
  }

  #received(response: PoolResponse): void {
    if (this.#state === 'over') {
      response.drop();
      return;
    }
    const { cookies } = this.#policies;
    const lines = cookies === null ? [] : response.fieldValues('set-cookie');
    if (cookies === null || lines.length === 0) this.#answered(response);
    else
      this.#askJar(storeCookies(cookies, lines, this.#request.target.href), () => this.#answered(response), response);
  }

  /** What follows a response. */
  #answered(response: PoolResponse): void {
    const { status } = response;
    try {
      const asksAgain =
        status === 401 ? this.#answersChallenge(response) : isRedirect(status) && this.#follows(response);
      if (asksAgain) {
        this.#again(response);
        return;
      }
    } catch (error) {
      response.drop();
      this.#failWith(error);
      return;
    }
    if (status >= 400 && this.#retriesStatus(response)) return;
    this.#deliver(response);
  }

  /** The next request at once; this response's body is of no use to anybody (RFC 9110 §15.4). */
  #again(response: PoolResponse): void {
    response.drop();
    this.#ask();
  }

  #answersChallenge(response: PoolResponse): boolean {
    const auth = this.#auth;
    if (auth === null || !isRepeatable(this.#request.body)) return false;
    if (this.#challengesAnswered >= CHALLENGES_ANSWERED_MAX) return false;
    const { target } = this.#request;
    const answer = strongest(response.fieldValues('www-authenticate'), auth.scheme);
    const wasAnswered = this.#challengesAnswered > 0;
    // The same credentials were refused: asking again would only lock the account. A nonce may be too old, though.
    if (answer === null || answer === 'basic' ? wasAnswered : wasAnswered && !answer.isStale) {
      this.#host.digests.forget(target.origin, auth);
      return false;
    }
    if (answer === null) return false;
    this.#challengesAnswered++;
    if (answer === 'basic') this.#basic = basicOf(auth);
    else this.#host.digests.remember(target.origin, auth, answer);
    return true;
  }

  /** Whether the redirect is followed; throws when it must not be, or cannot. */
  #follows(response: PoolResponse): boolean {
    const { redirect } = this.#policies;
    const { status } = response;
    if (redirect.mode === 'manual' || this.#request.upgrade !== null) return false;
    if (redirect.mode === 'error') {
      throw badRedirect(
        `The server answered with a redirect (${status}), which redirect: 'error' forbids.`,
        'redirect',
      );
    }
    const location = locationOf(response);
    if (location === null) return false;
    const request = this.#request;
    const url = resolveLocation(location, request, this.#fragment);
    this.#fragment = url.hash;
    const isOneTooMany = this.#redirects.length >= redirect.max;
    this.#redirects.push({ status, url: request.target.href, location: bare(url), headers: response.headers });
    if (isOneTooMany) throw tooManyRedirects(redirect.max);
    const next = redirectedRequest(request, status, url, redirect);
    this.#challengesAnswered = 0;
    if (isOtherOrigin(request.target.url, next.target.url)) {
      this.#auth = null;
      this.#basic = null;
    }
    this.#request = next;
    this.#host.followed();
    return true;
  }

  #retriesStatus(response: PoolResponse): boolean {
    const { retry } = this.#policies;
    const { status } = response;
    if (!this.#hasAttemptsLeft || !mayRetryStatus(retry, this.#request, status)) return false;
    const waitMs = waitFor(retry, response, this.#earlier.length + 1);
    if (waitMs < 0 || !this.#hasTimeFor(waitMs)) return false;
    response.drop();
    this.#retryIn(waitMs, { url: this.#request.target.href, status, error: null });
    return true;
  }

  /** Its request failed. */
  #failed(error: unknown): void {
    if (this.#state === 'over') return;
    const { retry } = this.#policies;
    const waitMs = backOffMs(retry, this.#earlier.length + 1);
    const isWorthIt = !this.signal?.aborted && mayRetryFailure(retry, this.#request, error);
    if (!isWorthIt || !this.#hasAttemptsLeft || !this.#hasTimeFor(waitMs)) {
      this.#rejectWith(error);
      return;
    }
    const cause = (error as Error).cause as TransferError;
    this.#retryIn(waitMs, { url: this.#request.target.href, status: null, error: cause });
  }

  get #hasAttemptsLeft(): boolean {
    return this.#earlier.length + 1 < this.#policies.retry.attempts;
  }

  /** A wait that would outlast the total clock is not begun: what came is told while somebody listens. */
  #hasTimeFor(waitMs: number): boolean {
    return performance.now() + waitMs < this.#deadlineMs;
  }

  #retryIn(waitMs: number, attempt: EarlierAttempt): void {
    this.#earlier.push(attempt);
    this.#challengesAnswered = 0;
    this.#state = 'waiting';
    this.#waiting = this.#host.waits.add(waitMs, () => {
      this.#waiting = null;
      this.#host.retried();
      this.#ask();
    });
  }

  /** The jar has as long as the total clock, and keeps the process alive as a request does. `response`: what is dropped when it fails. */
  #askJar<T>(question: Promise<T>, then: (answer: T) => void, response: PoolResponse | null = null): void {
    this.#state = 'asking';
    this.#waiting = this.#host.waits.add(this.#deadlineMs - performance.now(), () => {
      this.#waiting = null;
      response?.drop();
      this.fail(this.#outOfTime());
    });
    question.then(
      (answer) => {
        if (this.#state !== 'asking') return;
        this.#stopWaiting();
        then(answer);
      },
      (error: unknown) => {
        if (this.#state !== 'asking') return;
        response?.drop();
        this.#failWith(error);
      },
    );
  }

  #deliver(response: PoolResponse): void {
    if (!this.#request.uncollected.includes(response.status)) {
      this.#settle(response);
      return;
    }
    // It was asked for whole, and came with its head because it might not have been the last.
    response.readWhole().then(
      () => this.#settle(response),
      (error: unknown) => this.#rejectWith(wholeBodyFailure(error)),
    );
  }

  #settle(response: PoolResponse): void {
    response.past = { redirects: this.#redirects, attempts: this.#earlier.length + 1 };
    this.#over(() => this.#resolve(response as unknown as FetchResponse));
  }

  #failWith(error: unknown): void {
    if (TransferError.is(error)) this.fail(error);
    else this.#rejectWith(fetchFailure(error));
  }

  /** The error tells what went before it, where something did. */
  #rejectWith(error: unknown): void {
    // Ours alone: what the caller threw or aborted with is the caller's own.
    if (error instanceof TypeError && TransferError.is(error.cause)) {
      if (this.#redirects.length > 0) Object.assign(error, { redirects: this.#redirects });
      if (this.#policies.retry.attempts > 1) {
        Object.assign(error, { attempts: this.#earlier.length + 1, earlier: this.#earlier });
      }
    }
    this.#over(() => this.#reject(error));
  }

  #over(settle: () => void): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#stopWaiting();
    settle();
    // Who gives the body hears that nobody will read it (Fetch §4.1).
    if (!this.#wasSent) void discard(this.#request.body);
    this.#host.callOver(this);
  }

  #stopWaiting(): void {
    if (this.#waiting !== null) this.#host.waits.remove(this.#waiting);
    this.#waiting = null;
  }

  #outOfTime(): TransferError {
    return new TransferError(
      'TOTAL_TIMEOUT',
      'The call took longer than timeouts.totalMs allows, redirects, retries and cookies included.',
      { limit: 'timeouts.totalMs' },
    );
  }
}

/** Without credentials; the fragment stays. */
function bare(url: URL): string {
  if (url.username === '' && url.password === '') return url.href;
  const copy = new URL(url);
  copy.username = '';
  copy.password = '';
  return copy.href;
}
