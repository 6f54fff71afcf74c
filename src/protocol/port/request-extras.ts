/** What few requests ask for beyond the usual. It crosses as JSON behind a START frame's head, so that the usual pays nothing. */

import { checkBoolean } from '../options.ts';
import type { PaceLimits } from '../pace-options.ts';
import type { ProxyRules } from '../proxy-options.ts';
import { type RouteOptions, resolveRouteOptions } from '../route-options.ts';

/** Only what is set is there. */
export interface RequestExtras {
  /** Never on a connection that served others. */
  readonly freshConnect?: boolean;
  /** The connection closes after it. */
  readonly forbidReuse?: boolean;
  /** May be sent once more although its method is not idempotent; false: may not although it is. */
  readonly idempotent?: boolean;
  /** Where it connects to, when not to its origin. */
  readonly route?: OwnRoute;
  /** In place of the pool's; null: none. */
  readonly proxy?: ProxyRules | null;
  /** What the guard in place of the pool's is known by. */
  readonly guard?: string;
  readonly pace?: PaceLimits;
  /** The protocols that it would switch to; '': it is a CONNECT. Its body goes out raw once the server agrees. */
  readonly upgrade?: string;
  /** How long its body waits for 100 (Continue). */
  readonly expectContinueMs?: number;
  /** It opens a connection and is complete: no request is sent. */
  readonly connectOnly?: boolean;
  /** false: its response's body comes as it was sent, whatever its content coding. */
  readonly decompress?: boolean;
  /** Heads of 1xx responses are told, but for 100 and 101. */
  readonly interim?: boolean;
  /** Its response comes when it is complete, in one piece, to be read in this way. */
  readonly collect?: CollectAs;
  /** With `collect`: statuses after which the call may ask again. Such responses come with their head, because their body is of no use then. */
  readonly uncollected?: readonly number[];
}

export type CollectAs = 'bytes' | 'text' | 'json';

/** The options of a route that a single request of a pool may have. */
export type OwnRoute = Pick<RouteOptions, 'unixPath' | 'connectTo'>;

export const OWN_ROUTE_NAMES = ['unixPath', 'connectTo'] as const;

export const FLAG_NAMES = ['freshConnect', 'forbidReuse', 'idempotent'] as const;

/** Of the options of a request. null: none. Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveExtras(options: { [name in (typeof FLAG_NAMES)[number]]?: unknown }): RequestExtras | null {
  let extras: Partial<Record<(typeof FLAG_NAMES)[number], boolean>> | null = null;
  for (const name of FLAG_NAMES) {
    const value = options[name];
    if (value === undefined) continue;
    extras ??= {};
    extras[name] = checkBoolean(name, value);
  }
  return extras;
}

/** `extras` with a route of the request's own, checked; `{}`: it has none. Throws TransferError INVALID_ARGUMENT that names the option. */
export function withOwnRoute(extras: RequestExtras | null, route: OwnRoute): RequestExtras | null {
  if (Object.keys(route).length === 0) return extras;
  resolveRouteOptions(route);
  return { ...extras, route };
}

/** `pace`: as resolved. */
export function withPace(extras: RequestExtras | null, pace: PaceLimits | null): RequestExtras | null {
  return pace === null ? extras : { ...extras, pace };
}

/** '' when there are none. */
export function encodeExtras(extras: RequestExtras | null): string {
  return extras === null ? '' : JSON.stringify(extras);
}

/** null when it is not what `encodeExtras` wrote. */
export function decodeExtras(text: string): RequestExtras | null {
  try {
    const extras: unknown = JSON.parse(text);
    return typeof extras === 'object' && extras !== null && !Array.isArray(extras) ? extras : null;
  } catch {
    return null;
  }
}
