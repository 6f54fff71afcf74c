/**
 * What `pool.fetch(input, init)` was asked, checked and put into the form that the wire wants: one latin-1 string for request
 * line and headers. Nothing is sent here. The common case, a GET of a URL seen before, is two map look-ups.
 */

import { invalidArgument } from '../protocol/errors.ts';
import { checkTunnelBody, methodOf, resolveExchangeOptions, withExchange } from '../protocol/exchange-options.ts';
import type { GuardFunction } from '../protocol/guard-options.ts';
import type { HeaderPair } from '../protocol/http1/header-pairs.ts';
import { headerPairs } from '../protocol/http1/header-pairs.ts';
import { CHUNKED_BODY, composeRequestHead, NO_BODY, normalizeHeaderValue } from '../protocol/http1/request-head.ts';
import type { Upgrade } from '../protocol/http1/upgrade.ts';
import { checkRecord, completeTimeouts, type Timeouts } from '../protocol/options.ts';
import { resolvePace } from '../protocol/pace-options.ts';
import {
  encodeExtras,
  type OwnRoute,
  type RequestExtras,
  resolveExtras,
  withOwnRoute,
  withPace,
} from '../protocol/port/request-extras.ts';
import { askForCodings, withBodyOptions } from './body-options.ts';
import { cacheFields, checkBrowserMembers } from './browser-members.ts';
import { type CallPolicies, followedStatuses, POLICY_DEFAULTS, policiesOf } from './call-policies.ts';
import { Connecting, guardOf } from './connecting.ts';
import { type BodyPieces, type ReadyBody, readyBody } from './fetch-body.ts';
import { checkSignal, type FetchInit, INIT_NAMES } from './fetch-init.ts';
import { type FetchTarget, FetchTargets } from './fetch-target.ts';
import { type Integrity, parseIntegrity } from './integrity.ts';
import { type Referrer, refererOf, resolveReferrer } from './referrer.ts';
import { isRequestLike, mergeRequest } from './request-like.ts';

/** A request ready to be sent. */
export interface FetchRequest {
  readonly target: FetchTarget;
  readonly method: string;
  /** The fields that `head` has of the caller's and of the body's, for who sends it anew to another target; without the Referer that `referrer` makes. */
  readonly headers: readonly HeaderPair[];
  readonly head: string;
  /** The whole body, or its pieces. */
  readonly body: Uint8Array | BodyPieces | null;
  readonly signal: AbortSignal | null;
  /** null: the pool's. */
  readonly timeouts: Readonly<Timeouts> | null;
  /** What it asks for beyond the usual, as its frame carries it; '': nothing. */
  readonly extras: string;
  /** The part of `extras` that is for one origin alone; null: none is. */
  readonly ownRoute: OriginRoute | null;
  /** Of what is collected in its shard: the statuses that are not, because another request may follow. */
  readonly uncollected: readonly number[];
  /** Its own guard, which lives as long as it; null: the pool's, or one that is no function. */
  readonly guard: GuardFunction | null;
  /** As asked; null: its method says. */
  readonly idempotent: boolean | null;
  /** Where it leaves HTTP; null: it does not. */
  readonly upgrade: Upgrade | null;
  /** null: no Referer but one among `headers`. */
  readonly referrer: Referrer | null;
  /** What the body of the response must be; null: anything. */
  readonly integrity: Integrity | null;
  /** It does not go straight to a shard: see detour.ts. */
  readonly takesDetour: boolean;
  /** Redirects, retries, cookies and answers to challenges. */
  readonly policies: CallPolicies;
}

/** Where a request goes in its URL's place, and where a redirect that leads away goes. */
export interface OriginRoute {
  /** Of the URL that fetch was called with. */
  readonly origin: string;
  /** For this origin, and for all others. */
  readonly extras: string;
  readonly otherExtras: string;
}

export const NOTHING_UNCOLLECTED: readonly number[] = [];

/** As far as bodies go: what is not a message has no method that could forbid it one. */
const TUNNEL = 'TUNNEL';

export class FetchRequests {
  readonly #timeouts: Readonly<Timeouts>;
  readonly #decompress: boolean;
  readonly #policies: CallPolicies;
  readonly #connecting: Connecting;
  readonly #targets = new FetchTargets();

  /** What a request gets that says nothing else. */
  constructor(
    timeouts: Readonly<Timeouts>,
    decompress = true,
    policies: CallPolicies = POLICY_DEFAULTS,
    connecting: Connecting = new Connecting({}),
  ) {
    this.#connecting = connecting;
    this.#timeouts = timeouts;
    this.#policies = policies;
    this.#decompress = decompress;
  }

  /** Throws TransferError INVALID_ARGUMENT that names the option. */
  prepare(input: unknown, init: unknown): FetchRequest {
    if (isRequestLike(input)) {
      const request = this.#withInit(this.#targets.of(input.url), mergeRequest(input, init));
      const { body } = request;
      if (body === null || !('source' in body) || body.source !== input.body) return request;
      return { ...request, body: { ...body, ofRequest: true }, takesDetour: true };
    }
    const target = this.#targets.of(input);
    if (init !== undefined && init !== null) return this.#withInit(target, init);
    if (target.userinfo !== null) return this.#withInit(target, {});
    target.plainGet ??= plainGet(target, this.#decompress, this.#policies);
    return target.plainGet;
  }

  #withInit(target: FetchTarget, init: unknown): FetchRequest {
    const given = checkRecord('init', init, INIT_NAMES) as FetchInit;
    const plan = resolveExchangeOptions(given);
    const { upgrade } = plan;
    const method = methodOf(given.method ?? undefined, plan);
    const signal = checkSignal(given.signal);
    const headers = headerPairs(given.headers, method === 'CONNECT');
    const policies = policiesOf(given, target, headers, this.#policies);
    const timeouts = completeTimeouts(given.timeouts, this.#timeouts);
    checkBrowserMembers(given);
    const referrer = resolveReferrer(given.referrer, given.referrerPolicy);
    const integrity = parseIntegrity(given.integrity);
    if (upgrade !== null) checkTunnelResponse(given, integrity);
    const bodyMethod = upgrade === null ? method : TUNNEL;
    const { content, contentType } = readyBody(given.body, bodyMethod, given.duplex, declaredBytes(headers));
    if (upgrade !== null) checkTunnelBody(content !== null && !('source' in content && content.length < 0));
    if (contentType !== '' && upgrade === null && !hasHeader(headers, 'content-type'))
      headers.push(['content-type', contentType]);
    for (const field of cacheFields(given.cache)) if (!hasHeader(headers, field[0])) headers.push(field);
    if (upgrade === null) askForCodings(headers, given.decompress ?? this.#decompress);
    const uncollected =
      given.collect === undefined ? NOTHING_UNCOLLECTED : followedStatuses(policies, upgrade !== null);
    const common = withBodyOptions(
      withExchange(
        withPace(this.#connecting.withOwn(resolveExtras(given), given), resolvePace('pace', given.pace)),
        plan,
      ),
      given,
      this.#decompress,
      uncollected,
    );
    const ownRoute = originRoute(target.origin, common, given);
    return {
      target,
      method,
      headers,
      head: headOf(target, method, headers, content, referrer, upgrade),
      body: content,
      signal,
      timeouts: timeouts === this.#timeouts ? null : timeouts,
      extras: ownRoute === null ? encodeExtras(common) : ownRoute.extras,
      ownRoute,
      uncollected,
      guard: guardOf(given),
      idempotent: given.idempotent ?? null,
      upgrade,
      referrer,
      integrity,
      takesDetour: target.isLocal || integrity !== null,
      policies,
    };
  }
}

/** Request line and fields as the wire has them, for this target: `referrer` says what it may be told. Throws TransferError INVALID_ARGUMENT. */
export function headOf(
  target: FetchTarget,
  method: string,
  headers: readonly HeaderPair[],
  content: ReadyBody['content'],
  referrer: Referrer | null,
  upgrade: Upgrade | null = null,
): string {
  return composeRequestHead({
    method,
    target: target.path,
    host: target.hostField,
    headers: referrer === null ? headers : withReferer(headers, referrer, target),
    bodyBytes: upgrade === null ? announcedBytes(content) : NO_BODY,
    upgrade,
  });
}

/** With the Referer that the policy allows, unless they have one. */
function withReferer(headers: readonly HeaderPair[], referrer: Referrer, { url }: FetchTarget): readonly HeaderPair[] {
  if (hasHeader(headers, 'referer')) return headers;
  const value = refererOf(referrer, url);
  return value === null ? headers : [...headers, ['referer', value]];
}

export function hasHeader(headers: readonly HeaderPair[], wanted: string): boolean {
  return headers.some(([name]) => name.toLowerCase() === wanted);
}

function plainGet(target: FetchTarget, decompress: boolean, policies: CallPolicies): FetchRequest {
  const headers: HeaderPair[] = [];
  askForCodings(headers, decompress);
  return {
    target,
    method: 'GET',
    headers,
    head: headOf(target, 'GET', headers, null, null),
    body: null,
    signal: null,
    timeouts: null,
    extras: '',
    ownRoute: null,
    uncollected: NOTHING_UNCOLLECTED,
    guard: null,
    idempotent: null,
    upgrade: null,
    referrer: null,
    integrity: null,
    takesDetour: target.isLocal,
    policies,
  };
}

/** What waits for the end of a response would wait for that of the tunnel. */
function checkTunnelResponse({ collect }: FetchInit, integrity: Integrity | null): void {
  if (collect === undefined && integrity === null) return;
  const option = integrity === null ? 'collect' : 'integrity';
  throw invalidArgument(
    option,
    `${option} waits for the end of the response, and what upgrade opens has none; give one of the two.`,
  );
}

/** null: the request goes where its URL says. Throws TransferError INVALID_ARGUMENT that names the option. */
function originRoute(
  origin: string,
  common: RequestExtras | null,
  { unixPath, connectTo }: FetchInit,
): OriginRoute | null {
  if (unixPath === undefined && connectTo === undefined) return null;
  const route: OwnRoute = {
    ...(unixPath === undefined ? {} : { unixPath }),
    ...(connectTo === undefined ? {} : { connectTo }),
  };
  const extras = encodeExtras(withOwnRoute(common, route));
  // A list says itself which origins its entries are for.
  return { origin, extras, otherExtras: Array.isArray(connectTo) ? extras : encodeExtras(common) };
}

/** The length in the caller's Content-Length; -1: none, or one that composing the head will refuse. */
function declaredBytes(headers: readonly HeaderPair[]): number {
  const value = headers.find(([name]) => name.toLowerCase() === 'content-length')?.[1] ?? '';
  const digits = normalizeHeaderValue(value);
  return /^\d{1,15}$/.test(digits) ? Number(digits) : -1;
}

/** As `composeRequestHead` takes it. */
function announcedBytes(content: ReadyBody['content']): number {
  if (content === null) return NO_BODY;
  return content.length < 0 ? CHUNKED_BODY : content.length;
}
