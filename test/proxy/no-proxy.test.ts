/** NO_PROXY and the other variables: what curl's lists match, entry by entry. */

import { describe, expect, test } from 'vitest';
import { isExcepted, noProxyEntries } from '../../src/protocol/no-proxy.ts';
import { originOf } from '../../src/protocol/origin.ts';
import { environmentProxies } from '../../src/protocol/proxy-env.ts';
import { proxyFor, resolveProxy } from '../../src/protocol/proxy-options.ts';

const excepted = (list: string, url: string): boolean => isExcepted(noProxyEntries(list), originOf(new URL(url)));

describe('NO_PROXY', () => {
  test.each([
    ['*', 'http://anything.test/'],
    ['other.test, * ', 'http://[::1]/'],
    ['example.org', 'http://example.org/'],
    ['example.org', 'https://www.example.org:8443/'],
    ['.example.org', 'http://example.org/'],
    ['.example.org', 'http://www.example.org/'],
    ['*.example.org', 'http://www.example.org/'],
    ['example.org.', 'http://example.org/'],
    ['example.org', 'http://example.org./'],
    ['EXAMPLE.org', 'http://Example.ORG/'],
    ['one.test two.test\tthree.test,,four.test', 'http://two.test/'],
    ['one.test two.test\tthree.test,,four.test', 'http://four.test/'],
    ['example.org:8080', 'http://example.org:8080/'],
    ['example.org:443', 'https://example.org/'],
    ['192.0.2.7', 'http://192.0.2.7/'],
    ['192.0.2.7', 'http://0xc0.0.0x207/'],
    ['192.0.2.0/24', 'http://192.0.2.255/'],
    ['192.0.2.0/24:8080', 'http://192.0.2.9:8080/'],
    ['10.0.0.0/8', 'http://10.255.0.1/'],
    ['0.0.0.0/0', 'http://198.51.100.1/'],
    ['::1', 'http://[::1]/'],
    ['[::1]', 'http://[::1]/'],
    ['[::1]:8080', 'http://[::1]:8080/'],
    ['2001:DB8::/32', 'http://[2001:db8:1::1]/'],
    ['localhost', 'http://localhost:3000/'],
  ])('%s excepts %s', (list, url) => expect(excepted(list, url)).toBe(true));

  test.each([
    ['', 'http://example.org/'],
    [', ,', 'http://example.org/'],
    ['.', 'http://example.org/'],
    ['example.org', 'http://nonexample.org/'],
    ['example.org', 'http://example.org.evil.test/'],
    ['www.example.org', 'http://example.org/'],
    ['example.org:8080', 'http://example.org/'],
    ['exam*.org', 'http://example.org/'],
    ['192.0.2.0/24', 'http://192.0.3.0/'],
    ['192.0.2.0/33', 'http://192.0.2.0/'],
    ['192.0.2.0/', 'http://192.0.2.0/'],
    ['192.0.2.0/24/8', 'http://192.0.2.0/'],
    ['192.0.2', 'http://192.0.2.1/'],
    ['2.7', 'http://192.0.2.7/'],
    ['::1', 'http://[::2]/'],
    ['[::1]:8080', 'http://[::1]/'],
    ['::/0', 'http://192.0.2.1/'],
    ['localhost', 'http://127.0.0.1/'],
  ])('%s does not except %s', (list, url) => expect(excepted(list, url)).toBe(false));
});

describe('variables', () => {
  const proxies = (environment: Record<string, string>): (string | undefined)[] => {
    const rules = resolveProxy('env', 'proxy', environment);
    return ['http://a.test/', 'https://a.test/'].map((url) => proxyFor(rules, originOf(new URL(url)))?.name);
  };

  test.each<[string, Record<string, string>, (string | undefined)[]]>([
    ['none', {}, [undefined, undefined]],
    ['HTTP_PROXY is a field of a CGI request', { HTTP_PROXY: 'http://p:1' }, [undefined, undefined]],
    ['http_proxy is for http', { http_proxy: 'http://p:1' }, ['http://p:1', undefined]],
    ['the lower case comes first', { https_proxy: 'http://p:1', HTTPS_PROXY: 'http://p:2' }, [undefined, 'http://p:1']],
    ['an empty one is not set', { https_proxy: '', HTTPS_PROXY: 'http://p:2' }, [undefined, 'http://p:2']],
    [
      'all_proxy is for the rest',
      { https_proxy: 'http://p:1', all_proxy: 'socks5h://p' },
      ['socks5://p:1080', 'http://p:1'],
    ],
    ['ALL_PROXY', { ALL_PROXY: 'p' }, ['http://p:80', 'http://p:80']],
    ['NO_PROXY', { ALL_PROXY: 'p', NO_PROXY: 'a.test' }, [undefined, undefined]],
    ['no_proxy comes first', { ALL_PROXY: 'p', no_proxy: 'b.test', NO_PROXY: '*' }, ['http://p:80', 'http://p:80']],
  ])('%s', (_, environment, expected) => expect(proxies(environment)).toEqual(expected));

  test('noProxy of the option comes before the variable', () => {
    const rules = resolveProxy({ url: 'env', noProxy: ['b.test'] }, 'proxy', { all_proxy: 'p', no_proxy: '*' });
    expect(proxyFor(rules, originOf(new URL('http://a.test/')))?.name).toBe('http://p:80');
    expect(proxyFor(rules, originOf(new URL('http://b.test/')))).toBe(null);
    expect(environmentProxies({ no_proxy: '*' }).noProxy).toBe('*');
  });
});

describe('URLs', () => {
  test.each([
    ['proxy.test', 'http://proxy.test:80'],
    ['proxy.test:3128', 'http://proxy.test:3128'],
    ['HTTP://PROXY.test:80/', 'http://proxy.test:80'],
    ['https://proxy.test', 'https://proxy.test:443'],
    ['https://proxy.test:80', 'https://proxy.test:80'],
    ['socks5://PROXY.test', 'socks5://proxy.test:1080'],
    ['socks5h://[::1]:80', 'socks5://[::1]:80'],
    ['http://0x7f.1:8080', 'http://127.0.0.1:8080'],
    ['http://us%40er:pa%3Ass@proxy.test:1', 'http://proxy.test:1'],
    ['user:p@ss@proxy.test:1', 'http://proxy.test:1'],
  ])('%s', (url, name) => expect(resolveProxy(url)?.http?.name).toBe(name));

  test('userinfo is decoded', () => {
    expect(resolveProxy('socks5://us%40er:pa%3Ass@proxy.test')?.http).toMatchObject({
      username: 'us@er',
      password: 'pa:ss',
    });
    expect(() => resolveProxy('http://a%zz:b@proxy.test')).toThrow(/%25/);
  });

  test.each([
    'socks4://p',
    'socks://p',
    'ftp://p',
    'file:///p',
    'http://',
    'http://p:0',
    'http://p?q',
    '://p',
    'http://p:port',
  ])('%s is refused', (url) => expect(() => resolveProxy(url)).toThrow());
});
