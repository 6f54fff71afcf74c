/** `dispatcher.connect` and `dispatcher.upgrade`: the connection, once it has left HTTP. */

import type { Duplex } from 'node:stream';
import {
  ApiHandler,
  type ApiOptions,
  type Callback,
  callOrPromise,
  checkOptions,
  type Dispatching,
} from './api-handler.ts';
import { DispatchError } from './errors.ts';
import type { DispatchController } from './handler.ts';
import type { ParsedFields } from './raw-headers.ts';

export type ConnectOptions = Omit<ApiOptions, 'method' | 'body' | 'upgrade'>;

export interface UpgradeOptions extends Omit<ApiOptions, 'body' | 'upgrade'> {
  /** The protocol to switch to. Default `'Websocket'`. */
  protocol?: string | undefined;
}

// biome-ignore-start lint/suspicious/noExplicitAny: as undici's types have it.
export interface SocketData {
  statusCode: number;
  headers: any;
  socket: Duplex;
  opaque: any;
  context: any;
}
// biome-ignore-end lint/suspicious/noExplicitAny: as undici's types have it.

export function connect(
  dispatcher: Dispatching,
  options: ConnectOptions,
  callback: Callback<SocketData> | undefined,
): Promise<SocketData> | undefined {
  return callOrPromise(callback, options?.opaque, (done) => {
    checkOptions(options);
    const asked = { ...options, method: 'CONNECT' };
    dispatcher.dispatch(asked, new SocketHandler(asked, 'bad connect', done));
  });
}

export function upgrade(
  dispatcher: Dispatching,
  options: UpgradeOptions,
  callback: Callback<SocketData> | undefined,
): Promise<SocketData> | undefined {
  return callOrPromise(callback, options?.opaque, (done) => {
    checkOptions(options);
    const { method = 'GET', protocol = 'Websocket' } = options;
    dispatcher.dispatch({ ...options, method, upgrade: protocol }, new SocketHandler(options, 'bad upgrade', done));
  });
}

class SocketHandler extends ApiHandler {
  readonly #refusal: string;
  #done: Callback<SocketData> | null;

  constructor(options: ApiOptions, refusal: string, done: Callback<SocketData>) {
    super(options, true);
    this.#refusal = refusal;
    this.#done = done;
  }

  /** The server did not agree. */
  onResponseStart(_controller: DispatchController, statusCode: number): void {
    if (statusCode >= 200) throw new DispatchError('UND_ERR_SOCKET', this.#refusal);
  }

  onRequestUpgrade(controller: DispatchController, statusCode: number, headers: ParsedFields, socket: Duplex): void {
    const done = this.#done;
    this.#done = null;
    this.ended();
    const { opaque = null } = this.options;
    done?.(null, { statusCode, headers: this.shown(controller, headers), socket, opaque, context: this.context });
  }

  onResponseError(_controller: DispatchController | null, error: Error): void {
    const done = this.#done;
    this.#done = null;
    this.ended();
    const { opaque = null } = this.options;
    if (done !== null) queueMicrotask(() => done(error, { opaque } as SocketData));
  }
}
