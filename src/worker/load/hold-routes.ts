/** Where a holder's connections lead: every target by every address, its own and the peer's, used in turn. Opens nothing. */

import type { HoldPlan } from '../../protocol/load/hold.ts';
import type { RouteOptions } from '../../protocol/route-options.ts';
import type { Connection } from '../multi/connection.ts';
import { type PreparedRequest, prepareRequest, type TransferOptions } from '../multi/transfer-options.ts';

export interface HoldRoute {
  /** The small request. */
  readonly request: PreparedRequest;
  /** Opens a connection and sends nothing. */
  readonly opening: PreparedRequest;
  /** '': the kernel chooses. */
  readonly localAddress: string;
  /** Connections that are to be open here. */
  wanted: number;
  /** In which turn `nextIdle` was found. */
  turn: number;
  /** Of the idle connections the first that no request of this turn is meant for; null: there is none. */
  nextIdle: Connection | null;
}

/** Targets change fastest, local addresses slowest: so each of both gets as many as any other. */
export function holdRoutesOf({ load, toAddresses }: HoldPlan): HoldRoute[] {
  const locals = load.localAddresses.length === 0 ? [''] : load.localAddresses;
  const tos = toAddresses.length === 0 ? [''] : toAddresses;
  return locals.flatMap((local) =>
    tos.flatMap((to) => load.targets.map((target) => holdRouteOf(load, target, to, local))),
  );
}

function holdRouteOf(
  { route, timeoutMs }: HoldPlan['load'],
  { url, method, headers, body }: HoldPlan['load']['targets'][number],
  to: string,
  localAddress: string,
): HoldRoute {
  const own: RouteOptions = {
    ...(to === '' ? {} : { connectTo: { host: to } }),
    ...(localAddress === '' ? {} : { localAddress }),
  };
  const timeouts = { connectMs: timeoutMs, totalMs: timeoutMs, headMs: 0, bodyIdleMs: 0, queueMs: 0 };
  // Sent once more it would open a connection that nobody asked for.
  const options: TransferOptions = { url, method, headers, timeouts, idempotent: false, ...route, ...own };
  const request = prepareRequest(body === null ? options : { ...options, body });
  return {
    request,
    opening: { ...request, body: null, extras: { connectOnly: true } },
    localAddress,
    wanted: 0,
    turn: -1,
    nextIdle: null,
  };
}

/**
 * Whether a request finds a connection there that does nothing; that one is then meant for it. Requests are given their connections when
 * a turn ends: several for the last idle connection would open others.
 */
export function takeIdle(route: HoldRoute, turn: number): boolean {
  if (route.turn !== turn) {
    const { destination } = route.request.route;
    route.turn = turn;
    route.nextIdle = destination?.known === true ? destination.idleNewest : null;
  }
  const idle = route.nextIdle;
  if (idle === null) return false;
  route.nextIdle = idle.idleOlder;
  return true;
}
