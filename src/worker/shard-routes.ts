/**
 * The routes of one shard: made once per origin, and once more for requests that say something of their own about how they connect.
 * What the pool says is in each; which proxy an origin has is decided here, so that a request pays nothing for it.
 */

import { parseOrigin } from '../protocol/origin.ts';
import type { RequestExtras } from '../protocol/port/request-extras.ts';
import { type ProxyRules, withTunnels } from '../protocol/proxy-options.ts';
import { type RouteOptions, type RoutePlan, resolveRouteOptions } from '../protocol/route-options.ts';
import { type Route, routeOf } from './multi/route.ts';
import type { ShardGuards } from './shard-guards.ts';

/** Routes kept; a crawler visits many origins. */
const ROUTES_MAX = 4096;

export class ShardRoutes {
  readonly #options: RouteOptions;
  readonly #proxy: ProxyRules | null;
  readonly #guard: string | null;
  readonly #guards: ShardGuards;
  /** Of requests that say nothing of their own. */
  readonly #usual: RoutePlan;
  /** By the text of their origin, and of what is their own if there is anything. */
  readonly #routes = new Map<string, Route>();

  /** `options`: the pool's, but for `proxy` and `guard`, which come as its shards know them. */
  constructor(options: RouteOptions, proxy: ProxyRules | null, guard: string | null, guards: ShardGuards) {
    this.#options = options;
    this.#proxy = proxy;
    this.#guard = guard;
    this.#guards = guards;
    this.#usual = this.#planOf({});
  }

  /** Throws TransferError INVALID_ARGUMENT. */
  of(origin: string, extras: RequestExtras | null): Route {
    const own = extras !== null && hasOwn(extras) ? extras : null;
    const key = own === null ? origin : keyOf(origin, own);
    let route = this.#routes.get(key);
    if (route === undefined) {
      if (this.#routes.size >= ROUTES_MAX) this.#routes.clear();
      route = routeOf(parseOrigin(origin), own === null ? this.#usual : this.#planOf(own));
      this.#routes.set(key, route);
    }
    return route;
  }

  #planOf({ route, proxy: ownProxy, guard: ownGuard, upgrade }: RequestExtras): RoutePlan {
    const rules = ownProxy === undefined ? this.#proxy : ownProxy;
    const proxy = upgrade === undefined ? rules : withTunnels(rules);
    const guard = ownGuard ?? this.#guard;
    const plan = resolveRouteOptions(route === undefined ? this.#options : { ...this.#options, ...route });
    return proxy === null && guard === null ? plan : { ...plan, proxy, guard: this.#guards.of(guard) };
  }
}

function hasOwn({ route, proxy, guard, upgrade }: RequestExtras): boolean {
  return route !== undefined || proxy !== undefined || guard !== undefined || upgrade !== undefined;
}

function keyOf(origin: string, { route, proxy, guard, upgrade }: RequestExtras): string {
  const proxies = proxy === undefined ? '' : (proxy?.identity ?? 'none');
  return `${origin} ${JSON.stringify([route ?? null, proxies, guard ?? '', upgrade !== undefined])}`;
}
