/** A server such as SDKs are written for: JSON, errors, answers that are busy or slow, server-sent events. */

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { onTestFinished } from 'vitest';

export interface ApiServer {
  readonly url: string;
  /** `GET /path`, in the order in which they came. */
  readonly asked: string[];
}

type Answer = (request: IncomingMessage, response: ServerResponse, body: string, count: number) => Promise<void> | void;

function json(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

const ROUTES: Record<string, Answer> = {
  '/echo': (request, response, body) => {
    json(response, {
      method: request.method,
      body,
      type: request.headers['content-type'],
      token: request.headers.authorization,
    });
  },
  '/busy': (_request, response, _body, count) => {
    if (count < 3) response.writeHead(503, { 'retry-after': '0' }).end();
    else json(response, { count });
  },
  '/missing': (_request, response) => json(response, { error: 'no such thing' }, 404),
  '/slow': async (_request, response) => {
    await delay(5_000, undefined, { ref: false });
    response.end('late');
  },
  '/pets/7': (_request, response) => json(response, { id: 7, name: 'Rex' }),
  '/v1/chat/completions': async (_request, response, body, count) => {
    const { stream, model } = JSON.parse(body) as { stream?: boolean; model: string };
    if (model === 'busy' && count < 2) return json(response, { error: { message: 'busy' } }, 500);
    if (model === 'unknown')
      return json(response, { error: { message: 'no such model', code: 'model_not_found' } }, 404);
    if (model === 'slow') return ROUTES['/slow']?.(null as never, response, '', 0);
    if (!stream) return json(response, { id: 'x', choices: [{ message: { role: 'assistant', content: 'hello' } }] });
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const content of ['he', 'l', 'lo']) {
      const line = `data: ${JSON.stringify({ id: 'x', choices: [{ delta: { content } }] })}\n\n`;
      // Cut in the middle, as networks do.
      response.write(line.slice(0, 20));
      await delay(5);
      response.write(line.slice(20));
    }
    response.end('data: [DONE]\n\n');
  },
};

/** Ends with the test. */
export async function apiServer(): Promise<ApiServer> {
  const asked: string[] = [];
  const server = createServer(async (request, response) => {
    const path = (request.url ?? '').split('?')[0] as string;
    const line = `${request.method} ${path}`;
    asked.push(line);
    const body = await text(request);
    await ROUTES[path]?.(request, response, body, asked.filter((other) => other === line).length);
  });
  // No client finds a connection closed that it was about to use.
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}
