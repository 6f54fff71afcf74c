/** What the tests of policies share: servers that answer by path, and what they were sent. */

import { answer, type Peer, type PeerConnection, rawPeer, type Script, type Step } from '../wire/raw-peer.ts';

/** What to answer a request; its text in latin-1, head and body. */
export type Answers = (request: string, path: string) => string | readonly Step[];

/** Answers each request on each connection. */
export function answering(answers: Answers): Script {
  return [
    async (connection) => {
      for (;;) {
        const text = await nextRequest(connection);
        if (text === null) return;
        const path = text.split(' ', 2)[1] ?? '';
        const given = answers(text, path);
        if (typeof given === 'string') await connection.write(given);
        else for (const step of given) await step(connection);
      }
    },
  ];
}

export function peerAnswering(answers: Answers): Promise<Peer> {
  return rawPeer(answering(answers));
}

/** A 3xx with a short body, so that nothing is special about it. */
export function redirectTo(location: string, status = 302, ...fields: readonly string[]): string {
  const lines = [`HTTP/1.1 ${status} Elsewhere`, `Location: ${location}`, 'Content-Length: 4', ...fields];
  return `${lines.join('\r\n')}\r\n\r\ngone`;
}

export function status(code: number, ...fields: readonly string[]): string {
  return `${[`HTTP/1.1 ${code} So`, 'Content-Length: 2', ...fields].join('\r\n')}\r\n\r\nno`;
}

/** `/path` redirects as the record says; everything else is answered with its own path. */
export function redirects(record: Readonly<Record<string, string>>): Answers {
  return (_request, path) => record[path] ?? answer(path);
}

/** The value of a field that stands in a request once; undefined: it is not there. */
export function fieldOf(request: string | undefined, name: string): string | undefined {
  const head = (request ?? '').split('\r\n\r\n', 1)[0] ?? '';
  const lines = head.split('\r\n').slice(1);
  const found = lines.filter((line) => line.toLowerCase().startsWith(`${name}:`));
  if (found.length > 1) throw new Error(`${name} stands there ${found.length} times`);
  return found[0]?.slice(name.length + 1).trim();
}

export function bodyOf(request: string | undefined): string {
  return (request ?? '').slice((request ?? '').indexOf('\r\n\r\n') + 4);
}

/** Takes one request with its body, of a length or in chunks; null when the client has closed. */
async function nextRequest(connection: PeerConnection): Promise<string | null> {
  const whole = await connection.until((pending) => {
    const end = requestEnd(pending);
    return end < 0 ? null : pending.slice(0, end);
  });
  if (whole === null) return null;
  connection.pending = connection.pending.slice(whole.length);
  connection.requests.push(whole);
  connection.wake();
  return whole;
}

function requestEnd(pending: string): number {
  const headEnd = pending.indexOf('\r\n\r\n');
  if (headEnd < 0) return -1;
  const head = pending.slice(0, headEnd + 2);
  if (/\r\ntransfer-encoding: chunked\r\n/i.test(head)) {
    const end = pending.indexOf('0\r\n\r\n', headEnd + 4);
    return end < 0 ? -1 : end + 5;
  }
  const end = headEnd + 4 + Number(/\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1] ?? 0);
  return pending.length >= end ? end : -1;
}
