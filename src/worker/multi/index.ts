/** `shardfetch/multi`: the multi handle and its drivers, for programs with an event loop of their own. */

export {
  MULTI_CODES,
  type MultiCode,
  MultiError,
  TRANSFER_CODES,
  type TransferCode,
  TransferError,
} from '../../protocol/errors.ts';
export type { GuardFunction, GuardGiven, GuardTarget } from '../../protocol/guard-options.ts';
export type { LookupAddress, LookupDone, LookupFunction } from '../../protocol/lookup-function.ts';
export type { Limits, Timeouts } from '../../protocol/options.ts';
export type { PaceOptions } from '../../protocol/pace-options.ts';
export type { ProxyGiven, ProxyOptions } from '../../protocol/proxy-options.ts';
export type { IpFamily, KeepAlive, RouteOptions } from '../../protocol/route-options.ts';
export type { StaticAddressesGiven } from '../../protocol/static-addresses.ts';
export type {
  CheckServerIdentity,
  PeerCertificateInfo,
  Pem,
  TlsOptions,
  TlsVersion,
} from '../../protocol/tls-options.ts';
export { EVENT_ERR, EVENT_IN, EVENT_OUT, type Socket } from '../io/io.ts';
export type { TlsInfo } from '../io/tls-io.ts';
export { sendWakeup as wakeup, type WakeupHandle } from '../io/wakeup.ts';
export type { Driven, Driver } from './driver.ts';
export { EpollDriver } from './epoll-driver.ts';
export { type Message, Multi, type MultiStats } from './multi.ts';
export type { ClearOptions, MultiOptionName, MultiOptions, SocketCallback, TimerCallback } from './multi-options.ts';
export type { Notification, NotifyCallback } from './notices.ts';
export type { CloseSocketHook, OpenSocketHook, SocketAddress, SocketPurpose } from './socket-hooks.ts';
export { WATCH_IN, WATCH_INOUT, WATCH_OUT, WATCH_REMOVE } from './socket-table.ts';
export {
  type PauseDirection,
  Transfer,
  type TransferInfo,
  type TransferState,
  type TransferTimings,
} from './transfer.ts';
export {
  type DataCallback,
  type EndCallback,
  type HeadCallback,
  PAUSE,
  type TransferOptions,
} from './transfer-options.ts';
export type { UploadSource } from './upload.ts';
export { UvDriver } from './uv-driver.ts';
