/** The three forms of a date (RFC 9110 §5.6.7), and what is none. */

import { expect, test } from 'vitest';
import { parseHttpDate } from '../../../src/main/http-date.ts';

const TIME = Date.UTC(1994, 10, 6, 8, 49, 37);

test.each(['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994'])(
  '%s',
  (text) => {
    expect(parseHttpDate(text)).toBe(TIME);
  },
);

test('a year of two digits is never more than 50 years ahead', () => {
  const now = new Date().getUTCFullYear();
  for (const ahead of [0, 1, 49, 50]) {
    const year = String((now + ahead) % 100).padStart(2, '0');
    expect(parseHttpDate(`Sunday, 06-Nov-${year} 08:49:37 GMT`)).toBe(Date.UTC(now + ahead, 10, 6, 8, 49, 37));
  }
  const past = String((now + 51) % 100).padStart(2, '0');
  expect(parseHttpDate(`Sunday, 06-Nov-${past} 08:49:37 GMT`)).toBe(Date.UTC(now - 49, 10, 6, 8, 49, 37));
});

test.each([
  '',
  '0',
  'now',
  'Sun, 06 Nov 1994 08:49:37',
  'Sun, 06 Nov 1994 08:49:37 +0100',
  '1994-11-06T08:49:37Z',
  'Sun, 06 Foo 1994 08:49:37 GMT',
])('%j is none', (text) => {
  expect(parseHttpDate(text)).toBeNaN();
});
