/** Digest authentication by the examples of RFC 7616 §3.9, challenges as servers write them, and how much is kept. */

import { expect, test } from 'vitest';
import { parseChallenges } from '../../../src/main/auth-challenge.ts';
import { type DigestChallenge, DigestSessions, digestAuthorization, strongest } from '../../../src/main/digest.ts';
import { cpuMs } from '../cpu-time.ts';

const EXAMPLE =
  'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=ALGORITHM, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"';

function challengeOf(field: string): DigestChallenge {
  const found = strongest([field], 'digest');
  if (found === null || found === 'basic') throw new Error('it is not answered');
  return found;
}

test.each([
  ['MD5', '8ca523f5e9506fed4657c9700eebdbec'],
  ['SHA-256', '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1'],
])('RFC 7616 §3.9.1, %s', (algorithm, response) => {
  const challenge = challengeOf(EXAMPLE.replace('ALGORITHM', algorithm));
  const user = { username: 'Mufasa', password: 'Circle of Life' };
  const clientNonce = 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ';
  expect(digestAuthorization(challenge, user, 'GET', '/dir/index.html', 1, clientNonce)).toBe(
    `Digest username="Mufasa", realm="http-auth@example.org", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", uri="/dir/index.html", response="${response}", algorithm=${algorithm}, opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", qop=auth, nc=00000001, cnonce="${clientNonce}"`,
  );
});

test('RFC 7616 §3.9.2: userhash, UTF-8', () => {
  const challenge = challengeOf(
    'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true',
  );
  const user = { username: 'J\u00e4s\u00f8n Doe', password: 'Secret, or not?' };
  const field = digestAuthorization(
    challenge,
    user,
    'GET',
    '/doe.json',
    1,
    'NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v',
  );
  // The RFC's own figures are wrong; these are those of its erratum 4897.
  expect(field).toContain('username="793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"');
  expect(field).toContain('response="3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"');
  expect(field).toContain('userhash=true');
});

test.each([
  ['Basic realm="a"', [['basic', { realm: 'a' }]]],
  ['Basic', [['basic', {}]]],
  [
    'Negotiate YII=, Basic realm=a',
    [
      ['negotiate', {}],
      ['basic', { realm: 'a' }],
    ],
  ],
  [
    'Digest a = "1" ,b=2, ,, Digest A="3", a="4"',
    [
      ['digest', { a: '1', b: '2' }],
      ['digest', { a: '3' }],
    ],
  ],
  [
    'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',
    [
      ['newauth', { realm: 'apps', type: '1', title: 'Login to "apps"' }],
      ['basic', { realm: 'simple' }],
    ],
  ],
  ['Digest nonce="unended, x=1', [['digest', {}]]],
  ['', []],
  [' , ', []],
  ['=x', []],
])('challenges of %j', (field, expected) => {
  const found = parseChallenges([field]).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
  expect(found).toEqual(expected);
});

test('a field of many challenges, or of many parameters, is not read to its end', () => {
  expect(parseChallenges([Array.from({ length: 100 }, (_, at) => `s${at} a=1`).join(', ')])).toHaveLength(16);
  const [first] = parseChallenges([`Digest ${Array.from({ length: 100 }, (_, at) => `p${at}=1`).join(', ')}`]);
  expect(first?.parameters.size).toBe(32);
  const begun = cpuMs();
  parseChallenges([
    `Digest a="${'\\"'.repeat(50_000)}`,
    `${' ,'.repeat(50_000)}!`,
    'a'.repeat(100_000),
    `Basic ${'A'.repeat(100_000)}!`,
  ]);
  expect(cpuMs() - begun).toBeLessThan(1_000);
});

test('sessions are kept for 1,000 users and origins, those used last', () => {
  const sessions = new DigestSessions();
  const challenge = challengeOf('Digest realm="r", nonce="n", qop="auth"');
  const user = { username: 'u', password: 'p' };
  for (let at = 0; at < 1_000; at++) sessions.remember(`http://${at}.test`, user, challenge);
  expect(sessions.authorization('http://0.test', user, 'GET', '/')).toContain('nc=00000001');
  sessions.remember('http://more.test', user, challenge);
  expect(sessions.size).toBe(1_000);
  expect(sessions.authorization('http://0.test', user, 'GET', '/')).toContain('nc=00000002');
  expect(sessions.authorization('http://1.test', user, 'GET', '/')).toBe(null);
  sessions.forget('http://0.test', user);
  expect(sessions.authorization('http://0.test', user, 'GET', '/')).toBe(null);
});

test('the count is of the nonce: it goes on when the nonce comes again, for whichever user, and is of one origin', () => {
  const sessions = new DigestSessions();
  const first = challengeOf('Digest realm="r", nonce="first", qop="auth"');
  const second = challengeOf('Digest realm="r", nonce="second", qop="auth"');
  const user = { username: 'u', password: 'p' };
  const other = { username: 'v', password: 'p' };
  const next = (origin: string, credentials = user, challenge: DigestChallenge | null = null): string | undefined => {
    if (challenge !== null) sessions.remember(origin, credentials, challenge);
    return /nc=(\w+)/.exec(sessions.authorization(origin, credentials, 'GET', '/') ?? '')?.[1];
  };
  expect(next('http://a.test', user, first)).toBe('00000001');
  expect(next('http://a.test', user, first)).toBe('00000002');
  expect(next('http://a.test', other, first)).toBe('00000003');
  expect(next('http://a.test')).toBe('00000004');
  expect(next('http://a.test', user, second)).toBe('00000001');
  expect(next('http://a.test', user, first)).toBe('00000005');
  sessions.forget('http://a.test', user);
  expect(next('http://a.test', user, first)).toBe('00000006');
  expect(next('http://b.test', user, first)).toBe('00000001');
  // As many are kept as sessions are: a server that gives each a nonce of its own fills no memory.
  for (let at = 0; at < 1_000; at++) next('http://c.test', user, { ...first, nonce: String(at) });
  expect(next('http://c.test', user, { ...first, nonce: '0' })).toBe('00000002');
  expect(next('http://a.test', user, first)).toBe('00000001');
});
