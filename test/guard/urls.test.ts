/** URLs that readers could take for different hosts: the host that is parsed is the host that is looked up and named. HOSTILE 131 and 133. */

import { describe, expect, test } from 'vitest';
import { Transfer } from '../../src/worker/multi/index.ts';
import { Names, Rig } from '../contract/rig.ts';

/** The host that is asked for, and the Host field. */
async function reach(url: string): Promise<{ asked: string[]; host: string | undefined }> {
  const names = new Names();
  const rig = new Rig({ io: names.io });
  const got = rig.fetch({ url, guard: () => false, timeouts: { connectMs: 2_000 } });
  await rig.until(() => names.asked.length === 1 || rig.messages.length > 0);
  if (names.asked.length === 1) names.answer(rig, 1, ['127.0.0.1']);
  const { error, transfer } = await got;
  expect(error?.limit).toBe('guard');
  return { asked: names.asked, host: /\r\nhost: (.*)\r\n/.exec(transfer.head)?.[1] };
}

function expectRefused(url: string): void {
  const refusal = expect.objectContaining({ code: 'INVALID_ARGUMENT', limit: 'url' });
  expect(() => new Transfer({ url })).toThrow(refusal);
}

describe('hostile/131 the host parsed is the host dialled', () => {
  test.each([
    ['http://a.test#@b.test/', 'a.test'],
    ['http://a.test\\@b.test/', 'a.test'],
    ['http://a.test?@b.test/', 'a.test'],
    ['http://a.test/@b.test', 'a.test'],
    ['http:a.test/', 'a.test'],
    ['http:///a.test//b.test', 'a.test'],
    ['http://a.test:80:/', null],
    ['http://a%2Fb.test/', null],
    ['http://a b.test/', null],
    ['http://a<b.test/', null],
  ])('%s', async (url, host) => {
    if (host === null) expectRefused(url);
    else expect(await reach(url)).toEqual({ asked: [host], host });
  });
});

describe('hostile/133 as the URL standard has it', () => {
  test.each([
    ['http://stra\u00dfe.test/', 'xn--strae-oqa.test'],
    ['http://b\u00fccher\u3002test/', 'xn--bcher-kva.test'],
    ['http://EXAMPLE.test/', 'example.test'],
    ['http://exa\tmp\nle.te\rst/', 'example.test'],
    ['  http://example.test/  ', 'example.test'],
    [`http://example.test/${'x'.repeat(65_536)}`, 'example.test'],
  ])('%s', async (url, host) => {
    expect(await reach(url)).toEqual({ asked: [host], host });
  });

  test.each(['http://', 'http:///', 'http://a.test:65536/', 'http://a.test:-1/', 'http://a.test:0/', 'http://\u00ad/'])(
    '%j is refused',
    (url) => expectRefused(url),
  );
});
