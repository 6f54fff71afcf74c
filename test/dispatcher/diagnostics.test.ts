/** Events on undici's diagnostics_channel names, for fetch and for the dispatcher; OpenTelemetry's instrumentation of undici sees our requests. */

import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import {
  type Context,
  type ContextManager,
  context,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  trace,
} from '@opentelemetry/api';
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { describe, expect, onTestFinished, test } from 'vitest';
import { PLACES, poolFor, rejection } from '../wire/checks.ts';
import {
  answer,
  closedPort,
  deferred,
  gate,
  head,
  rawPeer,
  request,
  reset,
  send,
  serve,
  wait,
} from '../wire/raw-peer.ts';

const NAMES = ['create', 'bodySent', 'headers', 'trailers', 'error'];

// biome-ignore lint/suspicious/noExplicitAny: messages as any subscriber gets them.
type Message = any;

/** All events until the test ends, as `name: what`; `onCreate` may add headers. */
function record(onCreate: (request: Message) => void = () => undefined): { names: string[]; messages: Message[] } {
  const names: string[] = [];
  const messages: Message[] = [];
  const all = [...NAMES.map((name) => `undici:request:${name}`), 'undici:client:sendHeaders'];
  for (const channel of all) {
    const listener = (message: unknown): void => {
      if (channel.endsWith('create')) onCreate((message as Message).request);
      names.push(channel.slice(channel.lastIndexOf(':') + 1));
      messages.push(message);
    };
    subscribe(channel, listener);
    onTestFinished(() => {
      unsubscribe(channel, listener);
    });
  }
  return { names, messages };
}

function shown(raw: readonly Buffer[]): string[] {
  return raw.map((text) => text.toString('latin1'));
}

describe.each(PLACES.slice(0, 2))('$name', ({ shards }) => {
  test('fetch: one object throughout, headers can be added, what came is told raw', async () => {
    const peer = await rawPeer(serve(send(answer('abc', 'X-Name: y'))));
    const { names, messages } = record((request) => request.addHeader('x-added', 'here'));
    const response = await poolFor({ shards }).fetch(`${peer.url}path?a=b`, {
      method: 'POST',
      body: 'hi',
      headers: { 'X-Own': '1' },
    });
    expect(await response.text()).toBe('abc');
    expect(names).toEqual(['create', 'bodySent', 'sendHeaders', 'headers', 'trailers']);
    const [{ request: seen }] = messages;
    expect(messages.every((message) => message.request === seen)).toBe(true);
    expect(seen).toMatchObject({ origin: peer.origin, path: '/path?a=b', method: 'POST', completed: true });
    expect(seen.headers.slice(0, 2)).toEqual(['X-Own', '1']);
    expect(seen.headers.slice(-2)).toEqual(['x-added', 'here']);
    expect(peer.requests()[0]).toContain('x-added: here\r\n');
    expect(messages[2].socket).toEqual({ remoteAddress: '127.0.0.1', remotePort: peer.port, remoteFamily: 'IPv4' });
    const { statusCode, statusText, headers } = messages[3].response;
    expect([statusCode, statusText, shown(headers)]).toEqual([200, 'OK', ['X-Name', 'y', 'Content-Length', '3']]);
    expect(messages[4].trailers).toEqual([]);
  });

  test('each hop of a redirect is a request of its own, and gets its own headers', async () => {
    const found = head('HTTP/1.1 302 Found', 'Location: /next', 'Content-Length: 0');
    const peer = await rawPeer([request(), send(found), request(), send(answer('abc'))]);
    let count = 0;
    const { names } = record((seen) => seen.addHeader('x-hop', String(++count)));
    await (await poolFor({ shards }).fetch(peer.url)).text();
    expect(names.filter((name) => name === 'create' || name === 'trailers')).toEqual([
      'create',
      'trailers',
      'create',
      'trailers',
    ]);
    expect(peer.requests().map((text) => text.match(/x-hop: \d/g)?.join())).toEqual(['x-hop: 1', 'x-hop: 2']);
  });

  test('failures, before and within the body, and aborts', async () => {
    const partial = head('HTTP/1.1 200 OK', 'Content-Length: 9');
    const headSeen = deferred();
    const peer = await rawPeer(
      [request(), send(`${partial}a`), gate(headSeen.promise), reset()],
      [request(), wait(60_000)],
    );
    const pool = poolFor({ shards });
    const closed = record();
    await rejection(pool.fetch(`http://127.0.0.1:${await closedPort()}/`));
    expect(closed.names).toEqual(['create', 'bodySent', 'error']);
    expect(closed.messages[2].error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'ECONNREFUSED' });
    const cut = record();
    const response = await pool.fetch(peer.url, { method: 'POST' });
    headSeen.resolve();
    await rejection(response.text());
    expect(cut.names).toEqual(['create', 'bodySent', 'sendHeaders', 'headers', 'error']);
    const reason = new Error('mine');
    const aborted = record();
    const stop = new AbortController();
    const failure = rejection(pool.fetch(peer.url, { signal: stop.signal }));
    stop.abort(reason);
    expect(await failure).toBe(reason);
    expect([aborted.names.at(-1), aborted.messages.at(-1).error]).toEqual(['error', reason]);
  });

  test('the dispatcher tells the same', async () => {
    const peer = await rawPeer([request(), send(answer('abc'))]);
    const { names, messages } = record((seen) => seen.addHeader('x-added', 'here'));
    const { body } = await poolFor({ shards })
      .dispatcher()
      .request({ origin: peer.origin, path: '/', headers: { a: 'b' } });
    expect(await body.text()).toBe('abc');
    expect(names).toEqual(['create', 'bodySent', 'sendHeaders', 'headers', 'trailers']);
    expect(messages[0].request.headers).toEqual(['a', 'b', 'x-added', 'here']);
    expect(peer.requests()[0]).toContain('a: b\r\nx-added: here\r\n');
    await rejection(
      poolFor({ shards })
        .dispatcher()
        .request({ origin: `http://127.0.0.1:${await closedPort()}`, path: '/' }),
    );
    expect(names.slice(5)).toEqual(['create', 'bodySent', 'error']);
  });

  test('OpenTelemetry: a span per request with its attributes, its parent from the caller, traceparent on the wire', async () => {
    const exporter = startTracing();
    const found = head('HTTP/1.1 302 Found', 'Location: /next', 'Content-Length: 0');
    const peer = await rawPeer([
      request(),
      send(found),
      request(),
      send(answer('abc', 'X-Name: y')),
      request(),
      send(answer('d')),
    ]);
    const pool = poolFor({ shards });
    const tracer = trace.getTracer('test');
    const parent = tracer.startSpan('parent');
    await context.with(trace.setSpan(context.active(), parent), async () => {
      await (await pool.fetch(`${peer.url}first?q=1`)).text();
      const { body } = await pool
        .dispatcher()
        .request({ origin: peer.origin, path: '/third', method: 'PUT', body: 'x' });
      await body.dump();
    });
    await rejection(pool.fetch(`http://127.0.0.1:${await closedPort()}/`));
    const spans = exporter.getFinishedSpans();
    expect(spans.map(({ name, kind }) => [name, kind])).toEqual([
      ['GET', SpanKind.CLIENT],
      ['GET', SpanKind.CLIENT],
      ['PUT', SpanKind.CLIENT],
      ['GET', SpanKind.CLIENT],
    ]);
    expect(spans[0]?.attributes).toMatchObject({
      'http.request.method': 'GET',
      'url.full': `${peer.url}first?q=1`,
      'url.path': '/first',
      'server.address': '127.0.0.1',
      'server.port': peer.port,
      'network.peer.address': '127.0.0.1',
      'network.peer.port': peer.port,
      'http.response.status_code': 302,
    });
    expect(spans[1]?.attributes).toMatchObject({ 'url.path': '/next', 'http.response.status_code': 200 });
    expect(spans[3]?.attributes['error.type'] ?? spans[3]?.status.code).toBeTruthy();
    const { traceId, spanId } = parent.spanContext();
    // The second hop too, which was sent long after the caller's turn.
    for (const span of spans.slice(0, 3)) expect(span.parentSpanContext).toMatchObject({ traceId, spanId });
    const onWire = peer.requests().map((text) => text.match(/traceparent: [^\r]*/g));
    expect(onWire).toEqual(
      spans.slice(0, 3).map((span) => [`traceparent: 00-${traceId}-${span.spanContext().spanId}-01`]),
    );
  });
});

/** The contexts of @opentelemetry/context-async-hooks, which is not installed here. */
class StorageContexts implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>();
  active(): Context {
    return this.#storage.getStore() ?? ROOT_CONTEXT;
  }
  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    active: Context,
    callback: F,
    thisArg?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    return this.#storage.run(active, () => callback.apply(thisArg, args));
  }
  bind<T>(_context: Context, target: T): T {
    return target;
  }
  enable(): this {
    return this;
  }
  disable(): this {
    return this;
  }
}

function startTracing(): InMemorySpanExporter {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  trace.setGlobalTracerProvider(provider);
  context.setGlobalContextManager(new StorageContexts());
  propagation.setGlobalPropagator({
    inject(active, carrier, setter): void {
      const span = trace.getSpanContext(active);
      if (span !== undefined) setter.set(carrier, 'traceparent', `00-${span.traceId}-${span.spanId}-01`);
    },
    extract: (active) => active,
    fields: () => ['traceparent'],
  });
  const instrumentation = new UndiciInstrumentation();
  instrumentation.setTracerProvider(provider);
  instrumentation.enable();
  onTestFinished(() => {
    instrumentation.disable();
    trace.disable();
    context.disable();
    propagation.disable();
  });
  return exporter;
}
