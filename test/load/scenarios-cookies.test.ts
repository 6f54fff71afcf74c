/** The cookies of one virtual user: what is sent back where. */

import { expect, test } from 'vitest';
import { CookieJar } from '../../src/worker/load/cookie-jar.ts';

function jarOf(from: string, ...cookies: string[]): CookieJar {
  const jar = new CookieJar();
  for (const cookie of cookies) jar.take(cookie, new URL(from));
  return jar;
}

test.each<[string, string, string[], string, string]>([
  ['its own host', 'http://a.test/', ['a=1; HttpOnly; SameSite=Lax'], 'http://a.test:81/x', 'a=1'],
  ['no other host', 'http://a.test/', ['a=1'], 'http://b.test/', ''],
  ['not below it', 'http://a.test/', ['a=1'], 'http://x.a.test/', ''],
  ['below it, where a domain says so', 'http://x.a.test/', ['a=1; Domain=.a.test'], 'http://y.a.test/', 'a=1'],
  ['a domain of others is refused', 'http://a.test/', ['a=1; Domain=b.test'], 'http://b.test/', ''],
  ['a domain at the end of another word', 'http://bad.test/', ['a=1; Domain=ad.test'], 'http://ad.test/', ''],
  ['a whole top-level domain is refused', 'http://a.test/', ['a=1; Domain=test'], 'http://b.test/', ''],
  ['an address has nothing below it', 'http://1.2.3.4/', ['a=1; Domain=3.4'], 'http://1.2.3.4/', ''],
  ['its path and what is below', 'http://a.test/', ['a=1; Path=/x'], 'http://a.test/x/y', 'a=1'],
  ['no path that only begins alike', 'http://a.test/', ['a=1; Path=/x'], 'http://a.test/xy', ''],
  ['no path above', 'http://a.test/', ['a=1; Path=/x/y'], 'http://a.test/x', ''],
  ['by default the folder that it came from', 'http://a.test/x/y', ['a=1'], 'http://a.test/x/z', 'a=1'],
  ['and not those beside it', 'http://a.test/x/y', ['a=1'], 'http://a.test/z', ''],
  ['longer paths first', 'http://a.test/x/y', ['a=1; Path=/', 'b=2; Path=/x'], 'http://a.test/x/', 'b=2; a=1'],
  ['the later one of a name', 'http://a.test/', ['a=1', 'a=2'], 'http://a.test/', 'a=2'],
  ['secure ones by https alone', 'https://a.test/', ['a=1; Secure', 'b=2'], 'http://a.test/', 'b=2'],
  ['none that http calls secure', 'http://a.test/', ['a=1; Secure'], 'https://a.test/', ''],
  ['Max-Age 0 removes', 'http://a.test/', ['a=1', 'a=; Max-Age=0'], 'http://a.test/', ''],
  [
    'a date that is over removes',
    'http://a.test/',
    ['a=1', 'a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT'],
    'http://a.test/',
    '',
  ],
  [
    'Max-Age before Expires',
    'http://a.test/',
    ['a=1; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT'],
    'http://a.test/',
    'a=1',
  ],
  ['a value with signs', 'http://a.test/', ['a=b=c"d"; Path=/'], 'http://a.test/', 'a=b=c"d"'],
  ['nothing', 'http://a.test/', ['', ';', '=', ' ; Path=/'], 'http://a.test/', ''],
])('%s', (_what, from, cookies, to, expected) => {
  expect(jarOf(from, ...cookies).value(new URL(to))).toBe(expected);
  expect(jarOf(from, ...cookies).field(new URL(to))).toBe(expected === '' ? '' : `cookie: ${expected}\r\n`);
});

test('the oldest goes where there are too many; a long one is not kept', () => {
  const cookies = Array.from({ length: 60 }, (_, index) => `c${index}=1`);
  const jar = jarOf('http://a.test/', ...cookies, `long=${'x'.repeat(5_000)}`);
  expect(jar.size).toBe(50);
  expect(jar.value(new URL('http://a.test/'))).toMatch(/^c10=1; .*c59=1$/);
  jar.clear();
  expect(jar.size).toBe(0);
});
