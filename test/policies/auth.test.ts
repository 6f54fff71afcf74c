/** Authentication: basic, bearer, digest (RFC 7617, 6750, 7616), challenges, and where credentials must not go. */

import { createHash } from 'node:crypto';
import { type AuthOptions, type FetchInit, Pool, type RedirectStep } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import { checkFailure, checkRefusal, checkStats, expectNoSocketLeaks, poolFor, rejection } from '../wire/checks.ts';
import { answer, closedPort, deferred, gate, type Peer, send } from '../wire/raw-peer.ts';
import { bodyOf, fieldOf, peerAnswering, redirectTo, status } from './redirecting.ts';

expectNoSocketLeaks();

const USER = { username: 'Mufasa', password: 'Circle of Life' };

function unauthorized(...challenges: string[]): string {
  const fields = challenges.map((challenge) => `WWW-Authenticate: ${challenge}\r\n`).join('');
  return `HTTP/1.1 401 Unauthorized\r\n${fields}Content-Length: 2\r\n\r\nno`;
}

/** The parameters of a Digest field. */
function parametersOf(field: string | undefined): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, name = '', quoted, token] of (field ?? '').matchAll(/([\w*]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))/g)) {
    found[name] = quoted ?? token ?? '';
  }
  return found;
}

/** A server's own reckoning, written apart from the client's. */
function isRight(sent: string, hash: string, password: string, isSession: boolean, username?: string): boolean {
  const {
    uri = '',
    nonce = '',
    nc = '',
    cnonce = '',
    qop,
    realm = '',
    response,
    ...others
  } = parametersOf(fieldOf(sent, 'authorization'));
  const [method, target] = sent.split(' ', 2);
  const h = (text: string): string => createHash(hash).update(text).digest('hex');
  const own = h(`${username ?? others.username}:${realm}:${password}`);
  const a1 = isSession ? h(`${own}:${nonce}:${cnonce}`) : own;
  const a2 = h(`${method}:${uri}`);
  const wanted = qop === undefined ? h(`${a1}:${nonce}:${a2}`) : h(`${a1}:${nonce}:${nc}:${cnonce}:${qop}:${a2}`);
  return uri === target && response === wanted;
}

/** A server that asks for a digest, and answers the right one. */
function digestPeer(challenge: string, check: (sent: string) => boolean): Promise<Peer> {
  return peerAnswering((sent, path) =>
    fieldOf(sent, 'authorization') !== undefined && check(sent) ? answer(path) : unauthorized(challenge),
  );
}

describe.each([{ shards: 1 }, { shards: 0 }])('$shards shards', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(async () => {
    await checkStats(pool, { inFlight: 0 });
    await pool.close();
  });

  async function authorizationOf(url: (peer: Peer) => string, init?: FetchInit): Promise<string | undefined> {
    const peer = await peerAnswering(() => answer('ok'));
    await (await pool.fetch(url(peer), init)).text();
    return fieldOf(peer.requests()[0], 'authorization');
  }

  const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;
  const plainUrl = (peer: Peer): string => peer.url;

  describe('basic and bearer', () => {
    test.each([
      { what: 'of a URL', userinfo: 'user:pass', value: basic('user:pass') },
      { what: 'of a URL, encoded', userinfo: 'm%C3%BCller:p%40ss%3A', value: basic('müller:p@ss:') },
      { what: 'of a URL, no password', userinfo: 'user', value: basic('user:') },
      { what: 'of a URL, no user', userinfo: ':pass', value: basic(':pass') },
      { what: 'of a URL, not an encoding', userinfo: 'a%:%zz', value: basic('a%:%zz') },
    ])('hostile/84 $what', async ({ userinfo, value }) => {
      const peer = await peerAnswering(() => answer('ok'));
      const url = `http://${userinfo}@127.0.0.1:${peer.port}/path`;
      for (const input of [url, new URL(url)]) {
        const response = await pool.fetch(input);
        await response.text();
        expect(response.url).toBe(`${peer.origin}/path`);
      }
      for (const sent of peer.requests()) {
        expect(fieldOf(sent, 'authorization')).toBe(value);
        expect(fieldOf(sent, 'host')).toBe(`127.0.0.1:${peer.port}`);
        expect(sent).toMatch(/^GET \/path HTTP/);
        expect(sent).not.toContain('@');
      }
    });

    test('hostile/84 not in errors, not for the next request, not in Referer', async () => {
      const url = `http://user:s3cret@127.0.0.1:${await closedPort()}/`;
      const error = (await rejection(pool.fetch(url, { retry: { delayMs: 1 } }))) as Error;
      const cause = checkFailure(error, { code: 'COULDNT_CONNECT', message: 'fetch failed' });
      const said = [error.message, error.stack, cause.message, cause.stack, cause.url, JSON.stringify(error)];
      expect(said.join()).not.toContain('s3cret');
      const peer = await peerAnswering(() => answer('ok'));
      const here = `http://user:s3cret@127.0.0.1:${peer.port}/`;
      await (await pool.fetch(here, { referrer: here, referrerPolicy: 'unsafe-url' })).text();
      await (await pool.fetch(peer.url)).text();
      expect(fieldOf(peer.requests()[0], 'referer')).toBe(peer.url);
      expect(fieldOf(peer.requests()[1], 'authorization')).toBeUndefined();
    });

    test('the option; the token; what wins', async () => {
      const auth = { username: 'user', password: 'p:ss ü' };
      const withUser = (peer: Peer): string => `http://other@127.0.0.1:${peer.port}/`;
      expect(await authorizationOf(plainUrl, { auth })).toBe(basic('user:p:ss ü'));
      expect(await authorizationOf(withUser, { auth })).toBe(basic('user:p:ss ü'));
      expect(await authorizationOf(plainUrl, { auth: { bearer: 'abc.DEF-_~+/=' } })).toBe('Bearer abc.DEF-_~+/=');
      const headers = { Authorization: 'Own x' };
      expect(await authorizationOf(withUser, { headers })).toBe('Own x');
      expect(await authorizationOf(plainUrl, { headers, auth })).toBe('Own x');
      expect(await authorizationOf(plainUrl, { headers, auth: { ...auth, scheme: 'digest' } })).toBe('Own x');
      expect(await authorizationOf(plainUrl, { auth: null })).toBeUndefined();
    });

    test('hostile/91 hostile/92 the origin alone gets it', async () => {
      const back: string[] = [];
      const there = await peerAnswering(() => redirectTo(`${back[0]}/back`));
      const here = await peerAnswering((_sent, path) =>
        path === '/' ? redirectTo('/b') : path === '/b' ? redirectTo(there.url) : answer('ok'),
      );
      back.push(here.origin);
      await (await pool.fetch(here.url, { auth: USER })).text();
      expect(here.requests().map((sent) => fieldOf(sent, 'authorization') !== undefined)).toEqual([true, true, false]);
      expect(fieldOf(there.requests()[0], 'authorization')).toBeUndefined();
    });

    test('a 401 is delivered', async () => {
      const peer = await peerAnswering(() => unauthorized('Basic realm="x"'));
      const response = await pool.fetch(peer.url, { auth: USER });
      expect([response.status, await response.text()]).toEqual([401, 'no']);
      expect(peer.requests()).toHaveLength(1);
    });
  });

  describe('digest (RFC 7616)', () => {
    const auth: AuthOptions = { ...USER, scheme: 'digest' };

    test.each([
      { algorithm: 'MD5', hash: 'md5', isSession: false },
      { algorithm: 'MD5-sess', hash: 'md5', isSession: true },
      { algorithm: 'SHA-256', hash: 'sha256', isSession: false },
      { algorithm: 'SHA-256-sess', hash: 'sha256', isSession: true },
      { algorithm: 'SHA-512-256', hash: 'sha512-256', isSession: false },
      { algorithm: 'sha-512-256-SESS', hash: 'sha512-256', isSession: true },
    ])('$algorithm', async ({ algorithm, hash, isSession }) => {
      const challenge = `Digest realm="r \\"q\\" s", nonce="abc", qop="auth, auth-int", algorithm=${algorithm}, opaque="o"`;
      const peer = await digestPeer(
        challenge,
        (sent) =>
          isRight(sent.replace('r \\"q\\" s', 'r "q" s').replaceAll('\\"', '"'), hash, USER.password, isSession) ||
          isRightQuoted(sent, hash, isSession),
      );
      const response = await pool.fetch(`${peer.origin}/dir?a=1&b="`, { auth });
      expect([response.status, await response.text()]).toEqual([200, '/dir?a=1&b=%22']);
      const sent = parametersOf(fieldOf(peer.requests()[1], 'authorization'));
      expect(sent).toMatchObject({
        username: 'Mufasa',
        nonce: 'abc',
        uri: '/dir?a=1&b=%22',
        algorithm,
        opaque: 'o',
        qop: 'auth',
        nc: '00000001',
      });
      expect(sent.cnonce).toMatch(/^[0-9a-f]{32}$/);
      // The password does not travel, and the first request says nothing.
      expect(peer.requests().join('')).not.toContain(USER.password);
      expect(fieldOf(peer.requests()[0], 'authorization')).toBeUndefined();
    });

    function isRightQuoted(sent: string, hash: string, isSession: boolean): boolean {
      const field = fieldOf(sent, 'authorization') ?? '';
      const { nonce, nc, cnonce, uri, response } = parametersOf(field);
      const h = (text: string): string => createHash(hash).update(text).digest('hex');
      const own = h(`Mufasa:r "q" s:${USER.password}`);
      const a1 = isSession ? h(`${own}:${nonce}:${cnonce}`) : own;
      return response === h(`${a1}:${nonce}:${nc}:${cnonce}:auth:${h(`GET:${uri}`)}`);
    }

    test('without qop and algorithm, as RFC 2069 had it', async () => {
      const peer = await digestPeer('Digest realm="old", nonce="n"', (sent) =>
        isRight(sent, 'md5', USER.password, false),
      );
      expect((await pool.fetch(peer.url, { auth })).status).toBe(200);
      const sent = parametersOf(fieldOf(peer.requests()[1], 'authorization'));
      expect(Object.keys(sent).sort()).toEqual(['nonce', 'realm', 'response', 'uri', 'username']);
    });

    test('userhash and a user name above ASCII', async () => {
      const username = 'Jäsøn Doe';
      const password = 'Secret, or not?';
      const own: AuthOptions = { username, password, scheme: 'digest' };
      // RFC 7616 §3.9.2, but for the hash.
      const hashed = await digestPeer(
        'Digest realm="api@example.org", nonce="n", qop="auth", algorithm=SHA-256, charset=UTF-8, userhash=true',
        (sent) => isRight(sent, 'sha256', password, false, username),
      );
      expect((await pool.fetch(hashed.url, { auth: own })).status).toBe(200);
      const sent = parametersOf(fieldOf(hashed.requests()[1], 'authorization'));
      expect(sent.username).toBe(createHash('sha256').update(`${username}:api@example.org`).digest('hex'));
      expect(sent.userhash).toBe('true');
      const plain = await digestPeer(
        'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256, charset=UTF-8',
        (text) => isRight(text, 'sha256', password, false, username),
      );
      expect((await pool.fetch(plain.url, { auth: own })).status).toBe(200);
      expect(fieldOf(plain.requests()[1], 'authorization')).toContain("username*=UTF-8''J%C3%A4s%C3%B8n%20Doe,");
    });

    test('the nonce serves later requests, with a count; each body is sent', async () => {
      const peer = await digestPeer('Digest realm="r", nonce="n", qop="auth"', (sent) =>
        isRight(sent, 'md5', USER.password, false),
      );
      await (await pool.fetch(peer.url, { auth, method: 'POST', body: 'first' })).text();
      await (await pool.fetch(`${peer.origin}/x`, { auth, method: 'PUT', body: 'second' })).text();
      await (await pool.fetch(`${peer.origin}/y`, { auth })).text();
      expect(peer.requests().map(bodyOf)).toEqual(['first', 'first', 'second', '']);
      const counts = peer.requests().map((sent) => parametersOf(fieldOf(sent, 'authorization')).nc);
      expect(counts).toEqual([undefined, '00000001', '00000002', '00000003']);
      // Another user asks for a challenge of their own.
      await (await pool.fetch(peer.url, { auth: { ...auth, username: 'Scar' } })).text();
      expect(fieldOf(peer.requests()[4], 'authorization')).toBeUndefined();
    });

    test('requests at once, challenged with the same nonce: no count goes out twice, not even before a server that watches for it', async () => {
      const used = new Set<string>();
      const peers = Array.from({ length: 4 }, () => 0);
      let asked = 0;
      const all = deferred();
      const peer = await peerAnswering((sent, path) => {
        const { nonce, nc } = parametersOf(fieldOf(sent, 'authorization'));
        if (nc === undefined) {
          // Nobody is challenged before all have asked.
          if (++asked === peers.length) all.resolve();
          return [gate(all.promise), send(unauthorized('Digest realm="r", nonce="window", qop="auth"'))];
        }
        if (used.has(`${nonce} ${nc}`)) {
          return unauthorized('Digest realm="r", nonce="window", qop="auth", stale=true');
        }
        used.add(`${nonce} ${nc}`);
        return isRight(sent, 'md5', USER.password, false) ? answer(path) : status(403);
      });
      const own = poolFor({ shards });
      const responses = await Promise.all(peers.map((_, at) => own.fetch(`${peer.origin}/${at}`, { auth })));
      expect(responses.map((response) => response.status)).toEqual([200, 200, 200, 200]);
      expect([...used].sort()).toEqual([1, 2, 3, 4].map((count) => `window 0000000${count}`));
      expect(peer.requests()).toHaveLength(8);
    });

    test('a nonce that is too old: once more, with the new one', async () => {
      let nonce = 1;
      const peer = await peerAnswering((sent, path) => {
        const own = parametersOf(fieldOf(sent, 'authorization'));
        if (own.nonce === String(nonce)) return answer(path);
        return unauthorized(
          `Digest realm="r", nonce="${nonce}", qop="auth"${own.nonce === undefined ? '' : ', stale=TRUE'}`,
        );
      });
      expect((await pool.fetch(peer.url, { auth })).status).toBe(200);
      nonce = 2;
      expect((await pool.fetch(peer.url, { auth })).status).toBe(200);
      expect(peer.requests()).toHaveLength(4);
      const last = parametersOf(fieldOf(peer.requests()[3], 'authorization'));
      expect(last).toMatchObject({ nonce: '2', nc: '00000001' });
    });

    test('refused credentials are not sent again and again', async () => {
      let count = 0;
      const peer = await peerAnswering(() => unauthorized(`Digest realm="r", nonce="${count++}", qop="auth"`));
      expect((await pool.fetch(peer.url, { auth })).status).toBe(401);
      expect(peer.requests()).toHaveLength(2);
      // What was refused is forgotten: the next request asks anew.
      expect((await pool.fetch(peer.url, { auth })).status).toBe(401);
      expect(fieldOf(peer.requests()[2], 'authorization')).toBeUndefined();
      const stale = await peerAnswering(() =>
        unauthorized(`Digest realm="r", nonce="${count++}", qop="auth", stale=true`),
      );
      expect((await pool.fetch(stale.url, { auth })).status).toBe(401);
      expect(stale.requests()).toHaveLength(3);
    });

    test('a stream cannot be sent twice: the 401 is delivered', async () => {
      const peer = await digestPeer('Digest realm="r", nonce="n", qop="auth"', () => true);
      async function* stream(): AsyncGenerator<string> {
        yield 'piece';
      }
      const response = await pool.fetch(peer.url, { auth, method: 'POST', body: stream(), duplex: 'half' });
      expect(response.status).toBe(401);
      expect(peer.requests()).toHaveLength(1);
    });

    test.each([
      'Basic realm="x"',
      'Digest realm="r", nonce="n", qop="auth-int"',
      'Digest realm="r", nonce="n", algorithm=SHA-1',
      'Digest realm="r"',
      'Digest nonce="n"',
      'Digest realm="r, nonce="n"',
      'Negotiate',
      ', ,',
      '"',
      'Digest =, nonce',
    ])('a challenge that is not answered: %s', async (challenge) => {
      const peer = await peerAnswering(() => unauthorized(challenge));
      const response = await pool.fetch(peer.url, { auth });
      expect([response.status, await response.text()]).toEqual([401, 'no']);
      expect(peer.requests()).toHaveLength(1);
    });

    test('hostile/91 hostile/92 another origin gets no answer to its challenge, and credentials never come back', async () => {
      const back: string[] = [];
      const challenge = 'Digest realm="r", nonce="n", qop="auth"';
      const there = await peerAnswering((_sent, path) =>
        path === '/steal' ? unauthorized(challenge) : redirectTo(`${back[0]}/back`),
      );
      const here = await peerAnswering((sent, path) => {
        if (path === '/back') return answer('back');
        if (fieldOf(sent, 'authorization') === undefined) return unauthorized(challenge);
        return redirectTo(`${there.origin}${path}`);
      });
      back.push(here.origin);
      const stolen = await pool.fetch(`${here.origin}/steal`, { auth });
      expect(stolen.status).toBe(401);
      expect(await (await pool.fetch(`${here.origin}/around`, { auth })).text()).toBe('back');
      for (const sent of there.requests()) expect(fieldOf(sent, 'authorization')).toBeUndefined();
      expect(fieldOf(here.requests().at(-1), 'authorization')).toBeUndefined();
    });

    test('a redirect in the same origin is answered again, with its own path', async () => {
      const peer = await peerAnswering((sent, path) => {
        if (fieldOf(sent, 'authorization') === undefined || !isRight(sent, 'md5', USER.password, false))
          return unauthorized('Digest realm="r", nonce="n", qop="auth"');
        return path === '/' ? redirectTo('/b') : answer(path);
      });
      const response = await pool.fetch(peer.url, { auth });
      expect(await response.text()).toBe('/b');
      expect(response.redirects.map(({ status }: RedirectStep) => status)).toEqual([302]);
      expect(peer.requests()).toHaveLength(3);
    });

    test('many at once: each has a count of its own', async () => {
      const peer = await digestPeer('Digest realm="r", nonce="n", qop="auth"', (sent) =>
        isRight(sent, 'md5', USER.password, false),
      );
      await (await pool.fetch(peer.url, { auth })).text();
      const responses = await Promise.all(
        Array.from({ length: 20 }, (_, at) => pool.fetch(`${peer.origin}/${at}`, { auth })),
      );
      expect(responses.every((response) => response.status === 200)).toBe(true);
      const counts = peer.requests().map((sent) => parametersOf(fieldOf(sent, 'authorization')).nc);
      expect(new Set(counts.filter((count) => count !== undefined)).size).toBe(21);
    });
  });

  describe("'auto'", () => {
    const auth: AuthOptions = { ...USER, scheme: 'auto' };
    const DIGEST = 'realm="r", nonce="n", qop="auth"';

    test.each([
      { challenges: ['Basic realm="x"'], takes: /^Basic / },
      { challenges: [`Basic realm="x", Digest ${DIGEST}`], takes: /^Digest / },
      {
        challenges: [`Digest ${DIGEST}, algorithm=MD5`, `Digest ${DIGEST}, algorithm=SHA-256`, 'Basic realm="x"'],
        takes: /algorithm=SHA-256,/,
      },
      {
        challenges: [`Digest ${DIGEST}, algorithm=SHA-256, Digest ${DIGEST}, algorithm=SHA-512-256`],
        takes: /algorithm=SHA-512-256,/,
      },
      { challenges: ['Negotiate abc==, Newer x=1, Basic realm="x, y"'], takes: /^Basic / },
      { challenges: [`Digest ${DIGEST}, algorithm=SHA3`, 'BASIC realm=x'], takes: /^Basic / },
    ])('$challenges', async ({ challenges, takes }) => {
      const peer = await peerAnswering((sent) =>
        fieldOf(sent, 'authorization') === undefined ? unauthorized(...challenges) : answer('ok'),
      );
      const response = await pool.fetch(peer.url, { auth });
      expect(await response.text()).toBe('ok');
      expect(peer.requests().map((sent) => fieldOf(sent, 'authorization'))).toEqual([
        undefined,
        expect.stringMatching(takes),
      ]);
    });

    test('basic that is refused is refused', async () => {
      const peer = await peerAnswering(() => unauthorized('Basic realm="x"'));
      expect((await pool.fetch(peer.url, { auth })).status).toBe(401);
      expect(peer.requests()).toHaveLength(2);
    });
  });
});

test.each<{ auth: unknown; limit: string }>([
  { auth: 'user:s3cret', limit: 'auth' },
  { auth: {}, limit: 'auth.username' },
  { auth: { username: 'u' }, limit: 'auth.password' },
  { auth: { username: 'u', password: 7 }, limit: 'auth.password' },
  { auth: { username: 'a:b', password: 's3cret' }, limit: 'auth.username' },
  { auth: { username: 'u', password: 's3cret\n' }, limit: 'auth.password' },
  { auth: { username: 'u', password: 's3cret', scheme: 'ntlm' }, limit: 'auth.scheme' },
  { auth: { bearer: 's3cret s3cret' }, limit: 'auth.bearer' },
  { auth: { bearer: 's3cret\r\nx: y' }, limit: 'auth.bearer' },
  { auth: { bearer: 's3cret', username: 'u' }, limit: 'auth' },
  { auth: { user: 'u' }, limit: 'auth.user' },
])('refused, without the secret in the sentence: $limit', async ({ auth, limit }) => {
  const error = await rejection(poolFor({ shards: 0 }).fetch('http://127.0.0.1:1/', { auth: auth as AuthOptions }));
  const { message } = checkRefusal(error, limit);
  expect(message).not.toContain('s3cret');
});
