/** The ways to test code that uses a pool, as docs/testing.md tells: a fetch of one's own, MSW's handlers, undici's MockAgent, a server. */

import { getResponse, HttpResponse, http } from 'msw';
import { setupServer } from 'msw/node';
import type { FetchLike } from 'shardfetch';
import { expect, onTestFinished, test } from 'vitest';
import { UNDICIS } from '../dispatcher/undici-versions.ts';
import { poolFor } from '../wire/checks.ts';
import { apiServer } from './server.ts';

/** The code under test: it takes its fetch. */
async function nameOf(id: number, fetch: FetchLike, origin = 'https://api.test'): Promise<string> {
  const response = await fetch(`${origin}/pets/${id}`, { signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const { name } = (await response.json()) as { name: string };
  return name;
}

test('a fetch of the test, and a pool where there is a server: both are a FetchLike', async () => {
  const asked: string[] = [];
  const fake: FetchLike = async (input) => {
    asked.push(String(input));
    return Response.json({ name: 'Rex' });
  };
  expect([await nameOf(7, fake), asked]).toEqual(['Rex', ['https://api.test/pets/7']]);
  const { url } = await apiServer();
  const pool = poolFor();
  expect(await nameOf(7, pool.fetch as FetchLike, url)).toBe('Rex');
  expect(await nameOf(7, fetch, url)).toBe('Rex');
});

test("MSW's handlers as a fetch", async () => {
  const handlers = [
    http.get('https://api.test/pets/:id', ({ params }) => HttpResponse.json({ name: `pet ${params.id}` })),
    http.get('https://api.test/pets/9', () => HttpResponse.error()),
  ];
  const mocked: FetchLike = async (input, init) => {
    const request = new Request(input, init);
    const response = await getResponse(handlers, request);
    if (response === undefined)
      throw new TypeError('fetch failed', { cause: new Error(`no handler for ${request.url}`) });
    return response;
  };
  expect(await nameOf(7, mocked)).toBe('pet 7');
  await expect(nameOf(7, mocked, 'https://elsewhere.test')).rejects.toThrow('fetch failed');
});

test("MSW's server patches fetch and http of this thread: a pool's sockets it does not see", async () => {
  const { url } = await apiServer();
  const server = setupServer(http.get(`${url}/pets/7`, () => HttpResponse.json({ name: 'mocked' })));
  server.listen({ onUnhandledRequest: 'bypass' });
  onTestFinished(() => server.close());
  expect(await nameOf(7, fetch, url)).toBe('mocked');
  expect(await nameOf(7, poolFor().fetch as FetchLike, url)).toBe('Rex');
});

test.each(UNDICIS)("MockAgent of $name takes the place of the pool's dispatcher", async ({ load }) => {
  const undici = await load();
  const agent = new undici.MockAgent();
  agent.disableNetConnect();
  agent.get('https://api.test').intercept({ path: '/pets/7' }).reply(200, { name: 'mocked' });
  const getName = async (dispatcher: unknown): Promise<string> => {
    const { body } = await undici.request('https://api.test/pets/7', { dispatcher });
    return (await body.json()).name;
  };
  expect(await getName(agent)).toBe('mocked');
  await agent.close();
});
