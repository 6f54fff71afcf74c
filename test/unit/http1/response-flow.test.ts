/**
 * How the response parser is driven: pausing, skipping, reuse, abandoning, failing, and what all that costs. What it makes of the
 * bytes themselves is in `response-parser.test.ts`.
 */

import { describe, expect, test } from 'vitest';
import { TransferError } from '../../../src/protocol/errors.ts';
import { ResponseParser, type ResponseSink } from '../../../src/protocol/http1/response-parser.ts';
import { cpuMs } from '../cpu-time.ts';
import { DEFAULT_LIMITS, describeHead, latin1, play, Recorder, seeded, text } from './harness.ts';

const LENGTH_5 = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n';
const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

/** A sink that writes down events and does in them what a test says. */
function sinkOf(events: string[], does: Partial<ResponseSink> = {}): ResponseSink {
  return {
    onInterim(parser, bytes, start, end) {
      events.push(`interim ${parser.status}`);
      does.onInterim?.(parser, bytes, start, end);
    },
    onHead(parser, bytes, start, end) {
      events.push(describeHead(parser));
      does.onHead?.(parser, bytes, start, end);
    },
    onBody(parser, bytes, start, end) {
      events.push(`body ${text(bytes, start, end)}`);
      return does.onBody?.(parser, bytes, start, end) ?? true;
    },
    onEnd(parser, trailers) {
      events.push('end');
      does.onEnd?.(parser, trailers);
    },
  };
}

function failureOf(action: () => unknown): TransferError {
  try {
    action();
  } catch (error) {
    if (error instanceof TransferError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('pausing', () => {
  const responses: [string, string, boolean][] = [
    ['a length', `${LENGTH_5}hello`, false],
    ['chunks', `${CHUNKED}2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nA: b\r\n\r\n`, false],
    ['until close', 'HTTP/1.1 200 OK\r\n\r\nhello', true],
  ];
  test.each(responses)('%s: paused in every body event, in reads of every size', (_name, input, fin) => {
    const bytes = latin1(input);
    for (let size = 1; size <= bytes.length; size++) {
      const parser = new ResponseParser(DEFAULT_LIMITS);
      let body = '';
      let events = 0;
      let ends = 0;
      parser.begin(
        'GET',
        sinkOf([], {
          onBody(_parser, lent, start, end) {
            body += text(lent, start, end);
            events++;
            return false;
          },
          onEnd: () => ends++,
        }),
      );
      let at = 0;
      while (at < bytes.length) {
        const before = events;
        const next = parser.execute(bytes, at, Math.min(bytes.length, at + size));
        expect(events - before).toBeLessThanOrEqual(1);
        expect(next).toBeGreaterThan(at);
        at = next;
      }
      if (fin) parser.finish();
      expect(body).toBe('hello');
      expect(ends).toBe(1);
      expect(parser.complete).toBe(true);
    }
  });

  test('what follows the paused event is not consumed', () => {
    const parser = new ResponseParser(DEFAULT_LIMITS);
    const events: string[] = [];
    parser.begin('GET', sinkOf(events, { onBody: () => false }));
    const bytes = latin1(`${CHUNKED}2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n`);
    const first = parser.execute(bytes, 0, bytes.length);
    expect(text(bytes, first, bytes.length)).toBe('\r\n3\r\nllo\r\n0\r\n\r\n');
    const second = parser.execute(bytes, first, bytes.length);
    expect(text(bytes, second, bytes.length)).toBe('\r\n0\r\n\r\n');
    expect(parser.complete).toBe(false);
    expect(parser.execute(bytes, second, bytes.length)).toBe(bytes.length);
    expect(events).toEqual(['head 200 HTTP/1.1 chunked keep', 'body he', 'body llo', 'end']);
  });

  test('the last byte of a length ends the response though it pauses', () => {
    const parser = new ResponseParser(DEFAULT_LIMITS);
    const events: string[] = [];
    parser.begin('GET', sinkOf(events, { onBody: () => false }));
    const bytes = latin1(`${LENGTH_5}hello`);
    expect(parser.execute(bytes, 0, bytes.length)).toBe(bytes.length);
    expect(events.slice(1)).toEqual(['body hello', 'end']);
  });

  test('an empty read neither resumes nor begins', () => {
    const parser = new ResponseParser(DEFAULT_LIMITS);
    const events: string[] = [];
    parser.begin('GET', sinkOf(events));
    expect(parser.execute(latin1('x'), 1, 1)).toBe(1);
    expect(parser.begun).toBe(false);
    expect(events).toEqual([]);
  });
});

describe('a body that is read elsewhere', () => {
  function started(input: string): { parser: ResponseParser; events: string[] } {
    const parser = new ResponseParser(DEFAULT_LIMITS);
    const events: string[] = [];
    parser.begin('GET', sinkOf(events));
    const bytes = latin1(input);
    parser.execute(bytes, 0, bytes.length);
    return { parser, events };
  }

  test('is counted down, and ends with its last byte', () => {
    const { parser, events } = started(`${LENGTH_5}h`);
    expect(parser.bodyRemaining).toBe(4);
    parser.skipBody(3);
    expect(parser.bodyRemaining).toBe(1);
    parser.skipBody(0);
    expect(parser.complete).toBe(false);
    parser.skipBody(1);
    expect(parser.complete).toBe(true);
    expect(events).toEqual(['head 200 HTTP/1.1 length 5 keep', 'body h', 'end']);
  });

  test('goes on through execute()', () => {
    const { parser, events } = started(LENGTH_5);
    parser.skipBody(3);
    expect(parser.execute(latin1('loX'), 0, 3)).toBe(2);
    expect(events).toEqual(['head 200 HTTP/1.1 length 5 keep', 'body lo', 'end']);
  });

  test('FIN in it is an incomplete body, with the figures', () => {
    const { parser } = started(LENGTH_5);
    parser.skipBody(3);
    const failure = failureOf(() => parser.finish());
    expect(failure.code).toBe('INCOMPLETE_BODY');
    expect(failure.message).toContain('3 of the 5 body bytes');
  });

  test.each([
    ['more than is due', LENGTH_5, 6],
    ['less than nothing', LENGTH_5, -1],
    ['half a byte', LENGTH_5, 0.5],
    ['of a chunked body', CHUNKED, 1],
    ['after the end', `${LENGTH_5}hello`, 1],
  ])('is refused: %s', (_name, input, count) => {
    const { parser } = started(input);
    expect(failureOf(() => parser.skipBody(count)).code).toBe('INTERNAL');
  });
});

describe('reuse', () => {
  test('begin() in onEnd: pipelined responses of all kinds, in one read', () => {
    const parser = new ResponseParser(DEFAULT_LIMITS);
    const events: string[] = [];
    const methods = ['GET', 'HEAD', 'GET', 'GET', 'GET'];
    const sink = sinkOf(events, {
      onEnd: () => {
        const method = methods.shift();
        if (method !== undefined) parser.begin(method, sink);
      },
    });
    parser.begin('GET', sink);
    const bytes = latin1(
      `${LENGTH_5}hello${CHUNKED}2\r\nok\r\n0\r\nA: b\r\n\r\n${LENGTH_5}HTTP/1.0 204 N\r\n\r\nHTTP/1.1 103 E\r\n\r\n${LENGTH_5}again${LENGTH_5}`,
    );
    let at = 0;
    for (let turn = 0; turn < 6; turn++) {
      const next = parser.execute(bytes, at, bytes.length);
      expect(next).toBeGreaterThan(at);
      at = next;
    }
    expect(at).toBe(bytes.length);
    expect(events).toEqual([
      'head 200 HTTP/1.1 length 5 keep',
      'body hello',
      'end',
      'head 200 HTTP/1.1 chunked keep',
      'body ok',
      'end',
      'head 200 HTTP/1.1 none 5 keep',
      'end',
      'head 204 HTTP/1.0 none close',
      'end',
      'interim 103',
      'head 200 HTTP/1.1 length 5 keep',
      'body again',
      'end',
      'head 200 HTTP/1.1 length 5 keep',
    ]);
  });

  test('nothing of a response is left in the next one', () => {
    const parser = new ResponseParser({ ...DEFAULT_LIMITS, bodyBytes: 20, headerCount: 3, chunkExtensionBytes: 4 });
    const full =
      'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=9\r\nContent-Length: 20\r\n\r\n01234567890123456789';
    const chunked = `${CHUNKED}8;abc\r\n01234567\r\n0\r\nA: b\r\n\r\n`;
    const plain = 'HTTP/1.1 200 OK\r\nA: b\r\n\r\n';
    const alone = new Map<string, string[]>();
    for (const pass of ['alone', 'in turn', 'after a failure', 'after a part']) {
      for (const input of [full, chunked, plain, chunked, full]) {
        const events: string[] = [];
        const used =
          pass === 'alone' ? new ResponseParser({ ...DEFAULT_LIMITS, bodyBytes: 20, headerCount: 3 }) : parser;
        if (pass === 'after a failure') {
          const broken = latin1('HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n');
          used.begin('GET', sinkOf([]));
          failureOf(() => used.execute(broken, 0, broken.length));
        }
        if (pass === 'after a part') {
          const part = latin1('HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r');
          used.begin('HEAD', sinkOf([]));
          used.execute(part, 0, part.length);
        }
        used.begin('GET', sinkOf(events));
        expect([used.begun, used.complete, used.status, used.contentLength, used.keepAliveTimeoutS]).toEqual([
          false,
          false,
          0,
          -1,
          -1,
        ]);
        const bytes = latin1(input);
        used.execute(bytes, 0, bytes.length);
        if (input === plain) used.finish();
        if (pass === 'alone') alone.set(input, events);
        expect(events.at(-1)).toBe('end');
        expect(events, pass).toEqual(alone.get(input));
      }
    }
  });

  test('without begin() nothing is consumed, and FIN is nothing', () => {
    const parser = new ResponseParser(DEFAULT_LIMITS);
    expect(parser.execute(latin1(LENGTH_5), 0, 5)).toBe(0);
    parser.finish();
    expect(parser.begun).toBe(false);
    parser.begin('GET', sinkOf([]));
    parser.execute(latin1(`${LENGTH_5}hello`), 0, LENGTH_5.length + 5);
    expect(parser.complete).toBe(true);
    expect(parser.execute(latin1('HTTP'), 0, 4)).toBe(0);
    parser.finish();
  });
});

describe('abandoning', () => {
  const input = `HTTP/1.1 103 E\r\n\r\n${CHUNKED}2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n`;
  test.each([
    ['onInterim', ['interim 103']],
    ['onHead', ['interim 103', 'head 200 HTTP/1.1 chunked keep']],
    ['onBody', ['interim 103', 'head 200 HTTP/1.1 chunked keep', 'body he']],
  ] as const)('in %s: no event after it', (callback, expected) => {
    for (const answer of [true, false]) {
      const parser = new ResponseParser(DEFAULT_LIMITS);
      const events: string[] = [];
      const abandon = () => {
        parser.abandon();
        return answer;
      };
      parser.begin('GET', sinkOf(events, { [callback]: abandon }));
      const bytes = latin1(input);
      const at = parser.execute(bytes, 0, bytes.length);
      expect(parser.execute(bytes, at, bytes.length)).toBe(at);
      parser.finish();
      expect(events).toEqual(expected);
      expect(parser.complete).toBe(false);
    }
  });

  test('in the last body event of a length, and in the head of a bodiless response', () => {
    for (const [callback, method] of [
      ['onBody', 'GET'],
      ['onHead', 'HEAD'],
    ] as const) {
      const parser = new ResponseParser(DEFAULT_LIMITS);
      const events: string[] = [];
      const abandon = () => {
        parser.abandon();
        return true;
      };
      parser.begin(method, sinkOf(events, { [callback]: abandon }));
      const bytes = latin1(`${LENGTH_5}hello`);
      parser.execute(bytes, 0, bytes.length);
      expect(events).not.toContain('end');
    }
  });
});

describe('failing', () => {
  test('stays failed, with the same error', () => {
    const parser = new ResponseParser(DEFAULT_LIMITS);
    parser.begin('GET', sinkOf([]));
    const first = failureOf(() => parser.execute(latin1('nonsense'), 0, 8));
    expect(failureOf(() => parser.execute(latin1(LENGTH_5), 0, LENGTH_5.length))).toBe(first);
    expect(failureOf(() => parser.finish())).toBe(first);
    parser.abandon();
    expect(failureOf(() => parser.finish())).toBe(first);
    expect(parser.begun).toBe(true);
    expect(parser.complete).toBe(false);
  });

  test.each([
    ['<html><body>', 'The response does not begin with an HTTP/1.x status line, but with "<html><body>".'],
    ['HTTP/2 200\r\n', 'The response does not begin with an HTTP/1.x status line, but with "HTTP/2 200\\r\\n".'],
    ['\x15\x03\x01\x00\x02\x02\x16', 'It looks like TLS'],
    ['HTTP/1.1 20 OK\r\n', 'its status is not a number of three digits from 100 to 999: "HTTP/1.1 20 OK\\r\\n"'],
    ['HTTP/1.1 200 OK\n', 'a line ends with LF alone: "HTTP/1.1 200 OK\\n"'],
    ['HTTP/1.1 200 OK\r\r', 'a CR is not followed by LF'],
    ['HTTP/1.1 200 OK\r\n X: y', 'a blank stands before its first field: " X: y"'],
    ['HTTP/1.1 200 OK\r\nX : y', 'a blank stands in a field name or before its colon: "X : y"'],
    ['HTTP/1.1 200 OK\r\n: y', 'a field has no name: ": y"'],
    ['HTTP/1.1 200 OK\r\nno-colon\r\n', 'a field line has no colon: "no-colon\\r\\n"'],
    ['HTTP/1.1 200 OK\r\nX: a\0b', 'a byte in a field value is not allowed there: "X: a\\x00b"'],
    [`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(90)}\x07${'b'.repeat(90)}`, `: …"${'a'.repeat(24)}\\x07${'b'.repeat(15)}…".`],
    ['HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n', 'it announces two lengths: Content-Length "5, 6"'],
    ['HTTP/1.1 200 OK\r\nContent-Length: "5"\r\n\r\n', 'its Content-Length is not a number: "\\"5\\""'],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n', '"chunked", but "gzip"'],
    [`${CHUNKED}5\nhello`, 'in its chunked coding, only ";" or CRLF may follow a chunk size, not "\\nhello"'],
    [`${CHUNKED}0\r\nA\r\n`, 'in its trailers, a field line has no colon: "A\\r\\n"'],
  ])('says what was seen: %j', (input, sentence) => {
    const parser = new ResponseParser(DEFAULT_LIMITS);
    parser.begin('GET', sinkOf([]));
    const failure = failureOf(() => parser.execute(latin1(input), 0, input.length));
    expect(failure.message).toContain(sentence);
    expect(failure.message.length).toBeLessThan(300);
  });

  test('says which option raises a limit, and where it stands', () => {
    const parser = new ResponseParser({ ...DEFAULT_LIMITS, headBytes: 20 });
    parser.begin('GET', sinkOf([]));
    const failure = failureOf(() => parser.execute(latin1(LENGTH_5), 0, LENGTH_5.length));
    expect(failure.limit).toBe('limits.headBytes');
    expect(failure.message).toBe(
      'The head of the response has more bytes than limits.headBytes allows (20); raise it to take this response.',
    );
  });
});

describe('cost', () => {
  /** Two orders of magnitude above what linear time takes here, and below what quadratic time does. CPU, so that load counts less. */
  const LINEAR_MS_MAX = 2_000;

  test('20: 1,000,000 1-byte chunks, one event each, in one read after the other', () => {
    const parser = new ResponseParser(DEFAULT_LIMITS);
    let bodyBytes = 0;
    let events = 0;
    parser.begin('GET', {
      onInterim() {},
      onHead() {},
      onBody(_parser, _bytes, start, end) {
        bodyBytes += end - start;
        events++;
        return true;
      },
      onEnd() {},
    });
    const head = latin1(CHUNKED);
    const read = latin1('1\r\nx\r\n'.repeat(10_000));
    const startMs = cpuMs();
    parser.execute(head, 0, head.length);
    for (let turn = 0; turn < 100; turn++) expect(parser.execute(read, 0, read.length)).toBe(read.length);
    expect(cpuMs() - startMs).toBeLessThan(LINEAR_MS_MAX);
    expect([bodyBytes, events]).toEqual([1_000_000, 1_000_000]);
    parser.execute(latin1('0\r\n\r\n'), 0, 5);
    expect(parser.complete).toBe(true);
  });

  test.each([
    ['one line', `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(65_000)}\r\nContent-Length: 0\r\n\r\n`],
    ['many fields', `HTTP/1.1 200 OK\r\n${'Field: value\r\n'.repeat(900)}Content-Length: 0\r\n\r\n`],
    ['many folds', `HTTP/1.1 200 OK\r\nX: y\r\n${' z\r\n'.repeat(16_000)}Content-Length: 0\r\n\r\n`],
  ])('45: a head near 64 KiB, byte by byte: %s', (_name, input) => {
    const bytes = latin1(input);
    const parser = new ResponseParser(DEFAULT_LIMITS);
    const startMs = cpuMs();
    for (let round = 0; round < 5; round++) {
      const recorder = new Recorder(false);
      parser.begin('GET', recorder);
      for (let at = 0; at < bytes.length; ) at = parser.execute(bytes, at, at + 1);
      expect(recorder.events).toEqual(['head 200 HTTP/1.1 length 0 keep', 'end']);
    }
    expect(cpuMs() - startMs).toBeLessThan(LINEAR_MS_MAX);
  });
});

describe('seeded mutations', () => {
  const SEEDS = 400;
  const corpus = [
    `${LENGTH_5}hello`,
    `${CHUNKED}5;a="b;c"\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n`,
    `HTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.0 200\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2, 2\r\n\r\nok`,
    'HTTP/1.1 304 N\r\nX: a\r\n\tb\r\n\r\n',
    'HTTP/1.1 200 OK\r\nX: y\r\n\r\nto the end',
  ].map(latin1);
  const spice = latin1('\r\n\t :;,"\\\0\x7f\xff0159aFgHTP/.-=chunked');

  test('however the reads cut, the same is said; and nothing but TransferError is thrown', () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = seeded(seed);
      const bytes = [...corpus[random(corpus.length)]];
      for (let change = random(4); change > 0; change--) {
        const at = random(bytes.length);
        if (random(3) === 0) bytes.splice(at, 1 + random(3));
        else bytes.splice(at, random(2), spice[random(spice.length)]);
      }
      const whole = Uint8Array.from(bytes);
      const scenario = {
        method: random(8) === 0 ? 'HEAD' : 'GET',
        fin: random(2) === 0,
        heads: true,
        limits:
          random(4) === 0 ? { headBytes: 30 + random(60), bodyBytes: random(8), chunkExtensionBytes: random(8) } : {},
      };
      const expected = play([whole], scenario);
      for (let round = 0; round < 6; round++) {
        const reads: Uint8Array[] = [];
        for (let at = 0; at < whole.length; ) {
          const size = 1 + random(round === 0 ? 1 : 20);
          reads.push(whole.subarray(at, at + size));
          at += size;
        }
        expect(play(reads, scenario), `seed ${seed}, round ${round}`).toEqual(expected);
      }
    }
  });
});
