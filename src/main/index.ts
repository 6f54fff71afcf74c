/** `shardfetch`: fetch over every core. */

export { TRANSFER_CODES, type TransferCode, TransferError, type TransferPhase } from '../protocol/errors.ts';
export type { GuardFunction, GuardGiven, GuardTarget } from '../protocol/guard-options.ts';
export type { LookupAddress, LookupDone, LookupFunction } from '../protocol/lookup-function.ts';
export type { Limits, Timeouts } from '../protocol/options.ts';
export type { PaceOptions } from '../protocol/pace-options.ts';
export type { ShardStats } from '../protocol/port/control.ts';
export type { ProxyGiven, ProxyOptions } from '../protocol/proxy-options.ts';
export type { IpFamily } from '../protocol/route-options.ts';
export type { StaticAddressesGiven } from '../protocol/static-addresses.ts';
export type {
  CheckServerIdentity,
  PeerCertificateInfo,
  Pem,
  TlsOptions,
  TlsVersion,
} from '../protocol/tls-options.ts';
export type { AuthOptions, BearerAuth, PasswordAuth } from './auth.ts';
export type { ConnectingOptions } from './connecting.ts';
export type { CookieJar } from './cookies.ts';
export { fetch } from './default-pool.ts';
export type { DispatchOptions } from './dispatcher/dispatch-options.ts';
export type { ComposedDispatcher, Interceptor, PoolDispatcher } from './dispatcher/dispatcher.ts';
export type { DispatchController, DispatchHandler } from './dispatcher/handler.ts';
export { type DuplexInit, type OpenedDuplex, openDuplex } from './duplex.ts';
export type { FetchAllInput, FetchAllOptions, FetchAllProgress, FetchAllResult } from './fetch-all.ts';
export type { FetchBody } from './fetch-body.ts';
export type { FetchHeaders, FetchInit } from './fetch-init.ts';
export type { ConnectionOptions, PlacementOption, PoolOptions } from './options.ts';
export { Pool, type PoolStats } from './pool.ts';
export type { RedirectStep } from './redirect.ts';
export type { RedirectMode, RedirectOptions } from './redirect-options.ts';
export type { RequestLike } from './request-like.ts';
export type { FetchResponse, ResponseConnection, ResponseTimings } from './response.ts';
export type { ResponseTls } from './response-tls.ts';
export type { EarlierAttempt } from './retry.ts';
export type { RetryOptions } from './retry-options.ts';
export type { WarmInit } from './warm.ts';
export { type FetchLike, type HasFetch, webFetch } from './web-fetch.ts';
