/**
 * A server that sends literal bytes: one script per connection, in the order in which connections come. What it was sent is
 * kept as text in latin-1, so that a test can say what stood on the wire. It never parses more than it must to know where a
 * request ends, and never mends anything.
 */

import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { onTestFinished } from 'vitest';

/** One thing that a peer does on a connection. A script is over after its last step; the connection then stays as it is. */
export type Step = (connection: PeerConnection) => Promise<void> | void;
export type Script = readonly Step[];

/** Longest that a step or a test waits for the client; far beyond what anything here takes. */
const PATIENCE_MS = 20_000;

/** The server's end of one connection. */
export class PeerConnection {
  readonly socket: net.Socket;
  /** Requests that `request()` took, each head and body as it came. */
  readonly requests: string[] = [];
  /** Bytes that came and were not taken. */
  pending = '';
  /** Settles when the client has closed (or reset) its end. */
  readonly gone: Promise<void>;
  isGone = false;
  /** Who waits in `until`: a script and a test may, at the same time. */
  #waiting: (() => void)[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.pending += chunk.toString('latin1');
      this.wake();
    });
    this.gone = new Promise((resolve) => {
      const end = (): void => {
        this.isGone = true;
        this.wake();
        resolve();
        socket.destroy();
      };
      socket.on('end', end);
      socket.on('close', end);
    });
  }

  /** Waits until `found` answers something for what is pending; null when the client closed before that. */
  async until<T>(found: (pending: string) => T | null): Promise<T | null> {
    for (;;) {
      const answer = found(this.pending);
      if (answer !== null || this.isGone) return answer;
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
  }

  /** What `until` waits for may be true now. */
  wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  write(bytes: string | Uint8Array): Promise<void> {
    if (this.socket.destroyed) return Promise.resolve();
    const data = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
    return new Promise((resolve) => {
      this.socket.once('close', resolve);
      this.socket.write(data, () => {
        this.socket.off('close', resolve);
        resolve();
      });
    });
  }
}

export interface Peer {
  readonly port: number;
  /** `http://127.0.0.1:port`, without a slash at the end. */
  readonly origin: string;
  readonly url: string;
  /** All connections that ever came. */
  readonly connections: PeerConnection[];
  /** Connections open now, and the most at any time. */
  readonly open: number;
  readonly openMax: number;
  /** All requests of all connections. */
  requests(): string[];
  /** The `index`th connection, once it is there. */
  connection(index: number): Promise<PeerConnection>;
  /** Settles when the client has closed the `index`th connection. */
  gone(index: number): Promise<void>;
  /** Settles when the client has closed all. */
  quiet(): Promise<void>;
  /** Stops listening and drops what is open; the port is closed from then on. */
  close(): Promise<void>;
}

/**
 * Connection n plays script n; the last script is played by all that follow. Ends with the test, or with `close`: not for
 * tests that run at once (vitest takes the one that began last for the one that is running), which take `startPeer`.
 */
export async function rawPeer(...scripts: Script[]): Promise<Peer> {
  const peer = await startPeer('127.0.0.1', scripts);
  onTestFinished(() => peer.close());
  return peer;
}

/** As `rawPeer`, for more than one test: whoever starts it closes it. */
export async function startPeer(host: string, scripts: readonly Script[]): Promise<Peer> {
  const connections: PeerConnection[] = [];
  let openMax = 0;
  const countOpen = (): number => connections.filter((connection) => !connection.isGone).length;
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const connection = new PeerConnection(socket);
    const script = scripts[Math.min(connections.length, scripts.length - 1)] ?? [];
    connections.push(connection);
    openMax = Math.max(openMax, countOpen());
    server.emit('accepted');
    void play(connection, script);
  });
  server.listen({ host, port: 0, backlog: 1024 });
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const origin = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  const connectionAt = async (index: number): Promise<PeerConnection> => {
    for (;;) {
      const connection = connections[index];
      if (connection !== undefined) return connection;
      await once(server, 'accepted', { signal: AbortSignal.timeout(PATIENCE_MS) });
    }
  };
  return {
    port,
    origin,
    url: `${origin}/`,
    connections,
    get open(): number {
      return countOpen();
    },
    get openMax(): number {
      return openMax;
    },
    requests: () => connections.flatMap((connection) => connection.requests),
    connection: connectionAt,
    gone: async (index) => within((await connectionAt(index)).gone, `the client to close connection ${index}`),
    quiet: () =>
      within(Promise.all(connections.map(({ gone }) => gone)).then(), 'the client to close every connection'),
    async close(): Promise<void> {
      for (const { socket } of connections) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, 'close');
    },
  };
}

async function play(connection: PeerConnection, script: Script): Promise<void> {
  for (const step of script) {
    if (connection.socket.destroyed) return;
    await step(connection);
  }
}

/** A port of 127.0.0.1 on which nothing listens. */
export async function closedPort(): Promise<number> {
  const peer = await startPeer('127.0.0.1', []);
  await peer.close();
  return peer.port;
}

export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  const stop = new AbortController();
  const late = delay(PATIENCE_MS, undefined, { signal: stop.signal, ref: false }).then(
    () => {
      throw new Error(`waited in vain for ${what}`);
    },
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
  }
}

// ── Steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Takes one whole request: its head, and as many body bytes as its Content-Length says. */
export function request(): Step {
  return async (connection) => {
    const whole = await connection.until(wholeRequest);
    if (whole === null) return;
    connection.pending = connection.pending.slice(whole.length);
    connection.requests.push(whole);
    connection.wake();
  };
}

function wholeRequest(pending: string): string | null {
  const headEnd = pending.indexOf('\r\n\r\n');
  if (headEnd < 0) return null;
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(pending.slice(0, headEnd + 2));
  const end = headEnd + 4 + Number(length?.[1] ?? 0);
  return pending.length >= end ? pending.slice(0, end) : null;
}

/** Waits until `count` bytes are pending, and leaves them. */
export function bytes(count: number): Step {
  return async (connection) => {
    await connection.until((pending) => (pending.length >= count ? true : null));
  };
}

/** A string is sent as latin-1. */
export function send(...parts: readonly (string | Uint8Array)[]): Step {
  return async (connection) => {
    for (const part of parts) await connection.write(part);
  };
}

/** Each part in a segment of its own. */
export function sendApart(parts: Iterable<string | Uint8Array>, pauseMs = 0): Step {
  return async (connection) => {
    for (const part of parts) {
      await connection.write(part);
      await delay(pauseMs);
    }
  };
}

export function wait(ms: number): Step {
  return async () => {
    await delay(ms);
  };
}

/** Goes on when the test says so. */
export function gate(opened: Promise<unknown>): Step {
  return async () => {
    await opened;
  };
}

/** Sends FIN and goes on reading. */
export function fin(): Step {
  return ({ socket }) => {
    socket.end();
  };
}

export function reset(): Step {
  return ({ socket }) => {
    socket.resetAndDestroy();
  };
}

/** Takes nothing more from the socket: the client's writes fill its buffers and stop. */
export function stopReading(): Step {
  return ({ socket }) => {
    socket.pause();
  };
}

/** Requests and answers on this connection until the client closes it. */
export function serve(...steps: readonly Step[]): Script {
  return [
    async (connection) => {
      const take = request();
      for (;;) {
        await take(connection);
        if (connection.isGone || connection.socket.destroyed) return;
        for (const step of steps) await step(connection);
      }
    },
  ];
}

// ── Bytes ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A response with a Content-Length. */
export function answer(body: string, ...fields: readonly string[]): string {
  return `HTTP/1.1 200 OK\r\n${fields.map((field) => `${field}\r\n`).join('')}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** The head of a response, fields given. */
export function head(...lines: readonly string[]): string {
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** A promise and its two ends. */
export function deferred<T = void>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
