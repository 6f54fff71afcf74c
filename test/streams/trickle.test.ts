/** A body that trickles in while nobody reads: it is there at once when somebody does, in few pieces, and nobody waits for a full one. */

import type { DispatchHandler } from 'shardfetch';
import { describe, expect, test } from 'vitest';
import { eventually, PLACES, poolFor } from '../wire/checks.ts';
import { deferred, gate, head, type Peer, rawPeer, request, send, sendApart } from '../wire/raw-peer.ts';

const LETTERS = Array.from({ length: 500 }, (_, index) => String.fromCharCode(0x61 + (index % 26)));
const WHOLE = LETTERS.join('');
/** As many as reads of the socket where they are not gathered: some hundred. */
const PIECES_MAX = 20;

interface Trickler {
  readonly peer: Peer;
  /** All but the end. */
  readonly sent: Promise<void>;
  end(): void;
}

/** One byte at a time, each a packet of its own. */
async function trickler(): Promise<Trickler> {
  const [sent, end] = [deferred(), deferred()];
  const peer = await rawPeer([
    request(),
    send(head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked')),
    sendApart(LETTERS.map((letter) => `1\r\n${letter}\r\n`)),
    () => sent.resolve(),
    gate(end.promise),
    send('0\r\n\r\n'),
  ]);
  return { peer, sent: sent.promise, end: () => end.resolve() };
}

describe.each(PLACES.slice(0, 2))('$name', ({ shards }) => {
  test('fetch: all that is there, in few pieces, before the end comes', async () => {
    const { peer, sent, end } = await trickler();
    const pool = poolFor({ shards });
    const response = await pool.fetch(peer.url);
    await sent;
    // What the shard has read by then is in the main thread when it has answered.
    await pool.stats();
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let [text, pieces] = ['', 0];
    for (; text.length < WHOLE.length; pieces++) {
      text += Buffer.from((await reader.read()).value as Uint8Array).toString('latin1');
    }
    expect([text, pieces < PIECES_MAX]).toEqual([WHOLE, true]);
    end();
    expect((await reader.read()).done).toBe(true);
  });

  test('dispatcher: the same of a handler that has paused', async () => {
    const { peer, sent, end } = await trickler();
    const pool = poolFor({ shards });
    const over = deferred();
    let resume = (): void => undefined;
    let [text, pieces] = ['', 0];
    const handler: DispatchHandler = {
      onRequestStart: () => undefined,
      onResponseStart(controller) {
        controller.pause();
        resume = () => controller.resume();
      },
      onResponseData(_controller, chunk) {
        text += chunk.toString('latin1');
        pieces++;
      },
      onResponseEnd: () => over.resolve(),
      onResponseError: (_controller, error) => expect.fail(error.message),
    };
    pool.dispatcher().dispatch({ origin: peer.origin, path: '/', method: 'GET' }, handler);
    await sent;
    await pool.stats();
    resume();
    await eventually(() => text.length === WHOLE.length, 'all that came was told');
    expect([text, pieces < PIECES_MAX]).toEqual([WHOLE, true]);
    end();
    await over.promise;
  });
});
