/** `pool.fetch` as the `fetch` of packages that take one: ky, ofetch, openapi-fetch, openai; and Request, FormData and Headers of undici as its input. */

import ky, { HTTPError, TimeoutError } from 'ky';
import { createFetch } from 'ofetch';
import OpenAI, { APIConnectionTimeoutError, NotFoundError } from 'openai';
import createClient from 'openapi-fetch';
import { type FetchInit, type RequestLike, webFetch } from 'shardfetch';
import { describe, expect, test } from 'vitest';
import { UNDICIS } from '../dispatcher/undici-versions.ts';
import { PLACES, poolFor, rejection } from '../wire/checks.ts';
import { apiServer } from './server.ts';

describe.each(PLACES.slice(0, 2))('$name', ({ shards }) => {
  test('ky: JSON, retries, errors, timeouts, prefixes, hooks', async () => {
    const { url, asked } = await apiServer();
    const client = ky.create({
      fetch: webFetch(poolFor({ shards })),
      prefixUrl: url,
      // Far beyond its own ten seconds, which a busy machine may take for the first request.
      timeout: 60_000,
      retry: { limit: 3, delay: () => 5 },
      hooks: { beforeRequest: [(request) => request.headers.set('authorization', 'token')] },
    });
    const echo = await client.post('echo', { json: { a: 1 } }).json();
    expect(echo).toEqual({ method: 'POST', body: '{"a":1}', type: 'application/json', token: 'token' });
    expect(await client.get('busy').json()).toEqual({ count: 3 });
    expect(asked.filter((line) => line === 'GET /busy')).toHaveLength(3);
    const missing = (await rejection(client.get('missing'))) as HTTPError;
    expect(missing).toBeInstanceOf(HTTPError);
    expect([missing.response.status, await missing.response.json()]).toEqual([404, { error: 'no such thing' }]);
    expect(await rejection(client.get('slow', { timeout: 50, retry: 0 }))).toBeInstanceOf(TimeoutError);
    const stop = new AbortController();
    const aborted = rejection(client.get('slow', { signal: stop.signal }));
    stop.abort();
    expect(await aborted).toMatchObject({ name: 'AbortError' });
  });

  test('ofetch: JSON, retries, errors, timeouts', async () => {
    const { url, asked } = await apiServer();
    // Its own options are handed on to its fetch, `retry` among them, which is something else there.
    const ofetch = createFetch({ fetch: webFetch(poolFor({ shards })) });
    expect(await ofetch(`${url}/echo`, { method: 'POST', body: { a: 1 } })).toMatchObject({
      body: '{"a":1}',
      type: 'application/json',
    });
    expect(await ofetch(`${url}/busy`, { retry: 3, retryDelay: 5 })).toEqual({ count: 3 });
    expect(asked.filter((line) => line === 'GET /busy')).toHaveLength(3);
    expect(await rejection(ofetch(`${url}/missing`))).toMatchObject({ status: 404, data: { error: 'no such thing' } });
    expect(await rejection(ofetch(`${url}/slow`, { timeout: 50, retry: 0 }))).toMatchObject({ name: 'FetchError' });
  });

  test('openapi-fetch: Requests of the runtime in, typed data out', async () => {
    interface Paths {
      '/pets/{id}': {
        get: {
          parameters: { path: { id: number } };
          responses: { 200: { content: { 'application/json': { id: number; name: string } } } };
        };
      };
      '/missing': {
        get: { responses: { 200: { content: never }; 404: { content: { 'application/json': { error: string } } } } };
      };
      '/echo': {
        post: {
          requestBody: { content: { 'application/json': { a: number } } };
          responses: { 200: { content: { 'application/json': { body: string } } } };
        };
      };
    }
    const { url } = await apiServer();
    const client = createClient<Paths>({ baseUrl: url, fetch: poolFor({ shards }).fetch });
    const pet = await client.GET('/pets/{id}', { params: { path: { id: 7 } } });
    expect(pet.data).toEqual({ id: 7, name: 'Rex' });
    const missing = await client.GET('/missing');
    expect([missing.response.status, missing.error]).toEqual([404, { error: 'no such thing' }]);
    const echo = await client.POST('/echo', { body: { a: 1 } });
    expect(echo.data).toMatchObject({ method: 'POST', body: '{"a":1}' });
  });

  test('openai: JSON, streams of events, retries, errors, timeouts, aborts', async () => {
    const { url, asked } = await apiServer();
    const fetch = webFetch(poolFor({ shards }));
    const client = new OpenAI({
      apiKey: 'key',
      baseURL: `${url}/v1`,
      fetch,
      maxRetries: 2,
    });
    const ask = (model: string) => ({ model, messages: [{ role: 'user' as const, content: 'hi' }] });
    const whole = await client.chat.completions.create(ask('any'));
    expect(whole.choices[0]?.message.content).toBe('hello');
    let all = '';
    for await (const event of await client.chat.completions.create({ ...ask('any'), stream: true })) {
      all += event.choices[0]?.delta.content;
    }
    expect(all).toBe('hello');
    const before = asked.length;
    const stopped = await client.chat.completions.create({ ...ask('any'), stream: true });
    for await (const _event of stopped) break;
    expect(asked.length).toBe(before + 1);
    const unknown = await rejection(client.chat.completions.create(ask('unknown')));
    expect(unknown).toBeInstanceOf(NotFoundError);
    expect(unknown).toMatchObject({ status: 404, code: 'model_not_found' });
    const slow = client.chat.completions.create(ask('slow'), { timeout: 50, maxRetries: 0 });
    expect(await rejection(slow)).toBeInstanceOf(APIConnectionTimeoutError);
    const other = new OpenAI({ apiKey: 'key', baseURL: `${(await apiServer()).url}/v1`, fetch });
    const retried = await other.chat.completions.create(ask('busy'));
    expect(retried.choices[0]?.message.content).toBe('hello');
  });

  test('pool.fetch itself, where a package is content with its type', async () => {
    const { url } = await apiServer();
    const { fetch } = poolFor({ shards });
    expect(await ky.get(`${url}/pets/7`, { fetch: fetch as never }).json()).toMatchObject({ name: 'Rex' });
    const client = new OpenAI({ apiKey: 'key', baseURL: `${url}/v1`, fetch: fetch as never });
    const { choices } = await client.chat.completions.create({ model: 'any', messages: [] });
    expect(choices[0]?.message.content).toBe('hello');
  });

  test('webFetch: what Fetch does not know is ignored, defaults hold, a dispatcher is refused', async () => {
    const { url } = await apiServer();
    const pool = poolFor({ shards });
    const fetch = webFetch(pool, { headers: { authorization: 'token' } });
    const init = { method: 'POST', body: 'x', retry: 5, timeouts: { totalMs: 0 } };
    expect(await (await fetch(`${url}/echo`, init)).json()).toMatchObject({ body: 'x', token: 'token' });
    const impatient = webFetch(pool, { timeouts: { totalMs: 400 } });
    expect(await rejection(impatient(`${url}/slow`, init))).toMatchObject({ code: 'TOTAL_TIMEOUT' });
    expect(await rejection(fetch(url, { dispatcher: {} } as never))).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test.each(UNDICIS)('Request, FormData and Headers of $name', async ({ load }) => {
    const undici = await load();
    const { url } = await apiServer();
    const { fetch } = poolFor({ shards });
    const ask = async (input: RequestLike | string, init?: FetchInit): Promise<Record<string, string>> =>
      (await (await fetch(input, init)).json()) as Record<string, string>;
    const headers = new undici.Headers({ authorization: 'token' });
    const request = new undici.Request(`${url}/echo`, { method: 'PUT', body: 'text', headers });
    expect(await ask(request)).toEqual({
      method: 'PUT',
      body: 'text',
      type: 'text/plain;charset=UTF-8',
      token: 'token',
    });
    expect(await ask(`${url}/echo`, { headers })).toMatchObject({ method: 'GET', token: 'token' });
    const body = new undici.FormData();
    body.set('a', 'b');
    const form = await ask(`${url}/echo`, { method: 'POST', body });
    expect(form.type).toMatch(/^multipart\/form-data; boundary=/);
    expect(form.body).toContain('name="a"\r\n\r\nb\r\n');
  });
});
