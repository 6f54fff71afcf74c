import { expect, test } from 'vitest';
import { originOf, parseOrigin, shown, targetOf } from '../../src/protocol/origin.ts';

test.each([
  ['http://Example.ORG/', { text: 'http://example.org', host: 'example.org', port: 80, hostField: 'example.org' }],
  ['http://example.org:80/', { text: 'http://example.org', host: 'example.org', port: 80, hostField: 'example.org' }],
  ['http://a.test:8080/x', { text: 'http://a.test:8080', host: 'a.test', port: 8080, hostField: 'a.test:8080' }],
  ['http://[::1]:81/', { text: 'http://[::1]:81', host: '::1', port: 81, hostField: '[::1]:81' }],
  ['http://0x7f.1/', { text: 'http://127.0.0.1', host: '127.0.0.1', port: 80, hostField: '127.0.0.1' }],
  ['https://a.test/', { text: 'https://a.test', scheme: 'https', port: 443, hostField: 'a.test' }],
  ['https://a.test:80/', { text: 'https://a.test:80', scheme: 'https', port: 80, hostField: 'a.test:80' }],
  ['http://bücher.test:65535/', { host: 'xn--bcher-kva.test', port: 65_535, hostField: 'xn--bcher-kva.test:65535' }],
])('%s', (url, origin) => {
  expect(originOf(new URL(url))).toMatchObject(origin);
  expect(parseOrigin(originOf(new URL(url)).text)).toEqual(originOf(new URL(url)));
});

test.each(['ws://a.test/', 'ftp://a.test/', 'data:,x', 'http://u:p@a.test/', 'http://u@a.test/', 'http://a.test:0/'])(
  '%s is refused, without its password in the message',
  (url) => {
    expect(() => originOf(new URL(url))).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', limit: 'url' }));
    expect(() => originOf(new URL(url))).not.toThrow(/u:p/);
  },
);

test('the target is path and query, never the fragment; what is shown has no credentials', () => {
  expect(targetOf(new URL('http://a.test'))).toBe('/');
  expect(targetOf(new URL('http://a.test/b?c=d#e'))).toBe('/b?c=d');
  expect(targetOf(new URL('http://a.test/?'))).toBe('/');
  expect(targetOf(new URL('http://a.test/ä ö'))).toBe('/%C3%A4%20%C3%B6');
  expect(shown(new URL('http://u:p@a.test/b#c'))).toBe('http://a.test/b#c');
});
