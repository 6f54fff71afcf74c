/**
 * What Node's own HTTP client makes of a response: `http.request` over a stream of ours instead of a socket, so that thousands
 * of them take a second.
 */

import http from 'node:http';
import { Duplex } from 'node:stream';

export interface NodeView {
  /** `complete`, `incomplete` (it saw the body cut short), or the error's code. */
  outcome: string;
  /** The final head was seen. */
  answered: boolean;
  interim: number[];
  status: number;
  httpVersion: string;
  fields: [name: string, value: string][];
  body: string;
  trailers: [name: string, value: string][];
  keepAlive: boolean;
}

class Peer extends Duplex {
  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }

  /** Members of a Socket that the client calls. */
  setKeepAlive(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

/** The response to a request of this method that comes in one read; then FIN, when `fin`. */
export function nodeReads(bytes: Uint8Array, method: string, fin: boolean): Promise<NodeView> {
  return new Promise((resolve) => {
    const view: NodeView = {
      outcome: 'more',
      answered: false,
      interim: [],
      status: 0,
      httpVersion: '',
      fields: [],
      body: '',
      trailers: [],
      keepAlive: false,
    };
    const peer = new Peer({ allowHalfOpen: true });
    const agent = new http.Agent({ keepAlive: true });
    Object.assign(agent, { createConnection: () => peer });
    const request = http.request({ method, agent });
    let settled = false;
    const settle = (outcome: string): void => {
      if (settled) return;
      settled = true;
      view.outcome = outcome;
      view.keepAlive = request.shouldKeepAlive;
      request.on('error', () => undefined);
      peer.destroy();
      resolve(view);
    };
    request.on('information', ({ statusCode }) => view.interim.push(statusCode));
    request.on('upgrade', () => settle('UPGRADE'));
    request.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
    request.on('response', (response) => {
      view.answered = true;
      view.status = response.statusCode ?? 0;
      view.httpVersion = response.httpVersion;
      view.fields = pairs(response.rawHeaders);
      response.setEncoding('latin1');
      response.on('data', (chunk: string) => {
        view.body += chunk;
      });
      response.on('end', () => {
        view.trailers = pairs(response.rawTrailers);
        settle(response.complete ? 'complete' : 'incomplete');
      });
      response.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
    });
    request.end();
    // The request leaves in the next tick; the response must not come before it.
    setImmediate(() => {
      peer.push(bytes);
      setImmediate(() => {
        if (fin) peer.push(null);
        // What was pushed is handled within a few turns; what has not ended by then waits for more bytes.
        let turns = 0;
        const look = (): void => {
          if (settled) return;
          if (++turns > 6) settle('more');
          else setImmediate(look);
        };
        look();
      });
    });
  });
}

function pairs(raw: readonly string[]): [string, string][] {
  const fields: [string, string][] = [];
  for (let at = 0; at < raw.length; at += 2) fields.push([(raw[at] as string).toLowerCase(), raw[at + 1] as string]);
  return fields;
}
