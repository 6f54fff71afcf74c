/** Whatever a caller gives: a request head says what was asked and not a line more, or INVALID_ARGUMENT says why not. */

import http from 'node:http';
import { Duplex } from 'node:stream';
import fc from 'fast-check';
import { expect } from 'vitest';
import { FetchRequests } from '../../src/main/fetch-request.ts';
import { resolvePoolOptions } from '../../src/main/options.ts';
import { TransferError } from '../../src/protocol/errors.ts';
import { CHUNKED_BODY, composeRequestHead, NO_BODY, type RequestHead } from '../../src/protocol/http1/request-head.ts';
import { DEFAULT_TIMEOUTS } from '../../src/protocol/options.ts';
import { fuzz } from './fuzz.ts';

/** What people put where it can do harm. */
const text = fc.oneof(
  { weight: 2, arbitrary: fc.string({ maxLength: 12 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 6 }) },
  {
    weight: 2,
    arbitrary: fc
      .array(
        fc.constantFrom('a', 'X-B', ':', ' ', '\r\n', '\n', '\r', '\0', '\t', '\u010a', '\u560a', '\xa0', '\x85', '/'),
        { maxLength: 6 },
      )
      .map((parts) => parts.join('')),
  },
);
const method = fc.oneof(fc.constantFrom('GET', 'get', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'PATCH', 'CONNECT'), text);
const name = fc.oneof(
  fc.constantFrom('x-a', 'Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Accept', 'User-Agent', 'TE'),
  text,
);
const value = fc.oneof(fc.constantFrom('5', '0', 'a.test', 'chunked', 'b:80', 'user@b'), text);
const headers = fc.array(fc.tuple(name, value), { maxLength: 4 });
const target = fc.oneof(fc.constantFrom('/', '/a?b', '*', 'http://a.test/'), text);
const host = fc.oneof(fc.constantFrom('a.test', '[::1]:80', '127.0.0.1:8080'), text);
const requestHead: fc.Arbitrary<RequestHead> = fc.record({
  method,
  target,
  host,
  headers,
  bodyBytes: fc.constantFrom(NO_BODY, CHUNKED_BODY, 0, 5),
});

/** What the call gives; null when it threw INVALID_ARGUMENT with a sentence and the name of an option. Anything else it throws fails. */
function unlessRefused<T>(call: () => T): T | null {
  try {
    return call();
  } catch (error) {
    if (!TransferError.is(error) || error.code !== 'INVALID_ARGUMENT' || error.limit === undefined) throw error;
    expect(error.message).toMatch(/^[^\r\n\0]+\.$/);
    return null;
  }
}

const FIELD =
  /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)$/;
/** Written when the caller's fields do not say otherwise. */
const OWN = ['host', 'accept-encoding', 'accept', 'user-agent', 'content-length', 'transfer-encoding'];
/** Written for other members of an init. */
const OF_MEMBERS = ['authorization', 'cache-control', 'pragma', 'referer'];

/** The head as lines: that there is one request line, one empty line at its end, and fields between that were asked for. */
function checkHead(head: string, asked: readonly (readonly [string, string])[]): void {
  expect(head.endsWith('\r\n\r\n')).toBe(true);
  const [requestLine, ...fields] = head.slice(0, -4).split('\r\n') as [string, ...string[]];
  expect(requestLine).toMatch(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP\/1\.1$/);
  const wanted = new Set(asked.map(([one]) => one.toLowerCase()));
  const names: string[] = [];
  for (const line of fields) {
    const match = FIELD.exec(line);
    if (match === null) throw new Error(`not a field: ${JSON.stringify(line)}`);
    const lower = (match[1] as string).toLowerCase();
    if (!wanted.has(lower) && !OWN.includes(lower) && !OF_MEMBERS.includes(lower))
      throw new Error(`nobody asked for ${JSON.stringify(line)}`);
    if (
      wanted.has(lower) &&
      lower !== 'host' &&
      !asked.some(([one, given]) => one === match[1] && trim(given) === match[2])
    ) {
      throw new Error(`something else was asked for than ${JSON.stringify(line)}`);
    }
    names.push(lower);
  }
  expect(names.filter((one) => one === 'host').length).toBe(1);
  const framing = names.filter((one) => one === 'content-length' || one === 'transfer-encoding');
  expect(framing.length).toBeLessThanOrEqual(1);
  expect(names.length).toBeLessThanOrEqual(asked.length + OWN.length - 1 + OF_MEMBERS.length);
}

function trim(given: string): string {
  return given.replace(/^[ \t]+|[ \t]+$/g, '');
}

class Peer extends Duplex {
  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }
}

/** How many requests Node's server reads from the bytes, or null when it refuses them. */
async function requestsIn(bytes: Buffer): Promise<http.IncomingMessage[] | null> {
  const seen: http.IncomingMessage[] = [];
  let refused = false;
  const server = http.createServer((request) => seen.push(request));
  server.on('clientError', () => {
    refused = true;
  });
  const peer = new Peer();
  server.emit('connection', peer);
  peer.push(bytes);
  for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
  peer.destroy();
  return refused ? null : seen;
}

const NODE_METHODS = new Set(http.METHODS);
const anything = fc.oneof(
  fc.anything(),
  fc.constantFrom(0, -1, 0.5, Number.NaN, 2 ** 31, 2 ** 53, '5', null, undefined, true, [], {}),
);

fuzz({
  'a head has the lines that were asked for': {
    runs: 3_000,
    property: fc.property(requestHead, (request) => {
      const head = unlessRefused(() => composeRequestHead(request));
      if (head !== null) checkHead(head, request.headers);
    }) as fc.IRawProperty<unknown>,
  },

  'Node reads one request where one was written': {
    runs: 300,
    property: fc.asyncProperty(requestHead, async (request) => {
      const head = unlessRefused(() => composeRequestHead(request));
      if (head === null) return;
      const [sent, target] = head.split(' ', 2) as [string, string];
      if (!NODE_METHODS.has(sent) || !/^(?:\/|\*$)/.test(target)) return;
      const body = request.bodyBytes === CHUNKED_BODY ? '0\r\n\r\n' : 'x'.repeat(Math.max(request.bodyBytes, 0));
      const seen = await requestsIn(Buffer.from(head + body, 'latin1'));
      expect(seen?.map((one) => [one.method, one.url])).toEqual([[sent, target]]);
    }) as fc.IRawProperty<unknown>,
  },

  'whatever fetch is given': {
    runs: 1_000,
    property: fc.property(
      fc.oneof(
        fc.constantFrom('http://a.test/', 'http://a.test:81/x?y#z', 'data:;base64,%', 'blob:x'),
        fc.webUrl(),
        text,
        anything,
      ),
      fc.oneof(
        fc.record(
          {
            method: fc.oneof({ weight: 4, arbitrary: method }, { weight: 1, arbitrary: anything }),
            headers: fc.oneof(
              { weight: 3, arbitrary: headers },
              { weight: 1, arbitrary: fc.dictionary(name, value) },
              { weight: 1, arbitrary: anything },
            ),
            body: fc.oneof(text, fc.uint8Array({ maxLength: 9 }), anything),
            duplex: fc.constantFrom('half', 'full'),
            timeouts: fc.oneof(fc.record({ headMs: anything }, { requiredKeys: [] }), anything),
            redirect: fc.constantFrom('manual', 'follow', 'x'),
            cache: fc.constantFrom('no-cache', 'reload', 'only-if-cached', 5),
            integrity: fc.oneof(fc.constantFrom('sha256-', 'sha512-x sha1-y'), anything),
            referrer: fc.oneof(fc.webUrl(), text, anything),
            referrerPolicy: fc.constantFrom('', 'origin', 'unsafe-url', 'x'),
          },
          { requiredKeys: [] },
        ),
        anything,
      ),
      (input, init) => {
        const request = unlessRefused(() => new FetchRequests(DEFAULT_TIMEOUTS).prepare(input, init));
        if (request === null) return;
        const asked = headersOf(init);
        const typed: [string, string][] = /^content-type: (.*)$/m.test(request.head)
          ? [['content-type', /^content-type: (.*?)\r?$/m.exec(request.head)?.[1] as string]]
          : [];
        checkHead(request.head, [...asked, ...typed]);
      },
    ) as fc.IRawProperty<unknown>,
  },

  'whatever a pool is given': {
    runs: 1_000,
    property: fc.property(
      fc.oneof(
        fc.record(
          {
            shards: anything,
            placement: fc.oneof(fc.constantFrom('origin', 'spread'), anything),
            connections: fc.record(
              { perOrigin: anything, total: anything, queueLength: anything },
              { requiredKeys: [] },
            ),
            timeouts: fc.record({ queueMs: anything, totalMs: anything }, { requiredKeys: [] }),
            limits: fc.record({ headBytes: anything, bodyBytes: anything }, { requiredKeys: [] }),
            retry: anything,
            dns: anything,
          },
          { requiredKeys: [] },
        ),
        anything,
      ),
      (options) => {
        const resolved = unlessRefused(() => resolvePoolOptions(options));
        if (resolved === null) return;
        expect(resolved.shards).toBeGreaterThanOrEqual(0);
        for (const numbers of [resolved.connections, resolved.timeouts, resolved.limits]) {
          for (const [name, value] of Object.entries(numbers)) {
            if (name === 'reuse') expect(typeof value).toBe('boolean');
            else expect(value).toBeGreaterThanOrEqual(0);
          }
        }
      },
    ) as fc.IRawProperty<unknown>,
  },
});

function headersOf(init: unknown): [string, string][] {
  const given = (init as { headers?: unknown } | undefined)?.headers;
  if (typeof given !== 'object' || given === null) return [];
  const pairs = Symbol.iterator in given ? [...(given as Iterable<[unknown, unknown]>)] : Object.entries(given);
  return pairs.map(([one, other]) => [String(one), String(other)]);
}
