/** Names: the application's own function, what is remembered, fixed addresses (rule 58, HOSTILE case 152). */

import { describe, expect, test } from 'vitest';
import type { LookupDone, LookupFunction } from '../../../src/worker/multi/index.ts';
import { deadPort, get, Names, Rig, StillClock, serve } from '../rig.ts';

/** A look-up function that answers when the test says. */
class Answers {
  readonly asked: { host: string; family: number; done: LookupDone }[] = [];
  readonly lookup: LookupFunction = (host, family, done) => {
    this.asked.push({ host, family, done });
  };

  get hosts(): string[] {
    return this.asked.map(({ host }) => host);
  }

  done(index: number): LookupDone {
    return (this.asked[index] as { done: LookupDone }).done;
  }
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

describe('the lookup function', () => {
  test.each([
    ['texts', ['127.0.0.1']],
    ['what dns.lookup answers', [{ address: '127.0.0.1', family: 4 }]],
  ])('answers at once: %s', async (_name, addresses) => {
    const server = await serve();
    const rig = new Rig({ lookup: (_host, _family, done) => done(null, addresses) });
    expect((await rig.fetch({ url: `http://a.test:${server.port}/` })).body).toBe('ok');
  });

  test('answers later, outside a turn: the timer callback asks for the turn', async () => {
    const server = await serve();
    const answers = new Answers();
    const rig = new Rig({ lookup: answers.lookup });
    const all = [get({ url: `http://a.test:${server.port}/` }), get({ url: `http://a.test:${server.port}/` })];
    for (const { transfer } of all) rig.multi.add(transfer);
    rig.step();
    // One look-up for both, and nothing to wait for but the answer and the clocks.
    expect(answers.hosts).toEqual(['a.test']);
    expect(rig.watched.size).toBe(0);
    rig.calls.length = 0;
    answers.done(0)(null, ['127.0.0.1']);
    expect(rig.timers).toEqual([0]);
    expect(rig.socketCalls).toEqual([]);
    for (const { transfer } of all) expect(await rig.end(transfer)).toBeNull();
  });

  test('answers inside a callback of the multi', async () => {
    const server = await serve();
    const answers = new Answers();
    const rig = new Rig({ lookup: answers.lookup });
    const waiting = get({ url: `http://a.test:${server.port}/` });
    rig.multi.add(waiting.transfer);
    rig.step();
    const other = get({ url: server.url, onEnd: () => answers.done(0)(null, ['127.0.0.1']) });
    rig.multi.add(other.transfer);
    expect(await rig.end(waiting.transfer)).toBeNull();
  });

  test('only the first answer counts', async () => {
    const server = await serve();
    const answers = new Answers();
    const rig = new Rig({ lookup: answers.lookup });
    const got = get({ url: `http://a.test:${server.port}/` });
    rig.multi.add(got.transfer);
    rig.step();
    answers.done(0)(null, ['127.0.0.1']);
    answers.done(0)(failure('ENOTFOUND'));
    answers.done(0)(null, ['127.0.0.2']);
    expect(await rig.end(got.transfer)).toBeNull();
    answers.done(0)(null, ['127.0.0.3']);
    expect((await rig.fetch({ url: `http://a.test:${server.port}/`, freshConnect: true })).body).toBe('ok');
    expect(answers.hosts).toEqual(['a.test']);
  });

  test('answers after remove and after close are ignored', async () => {
    const answers = new Answers();
    const rig = new Rig({ lookup: answers.lookup });
    const [removed, closed] = [get({ url: 'http://a.test/' }), get({ url: 'http://b.test/' })];
    rig.multi.add(removed.transfer);
    rig.multi.add(closed.transfer);
    rig.step();
    rig.multi.remove(removed.transfer);
    answers.done(0)(null, ['127.0.0.1']);
    rig.step();
    expect(rig.multi.stats()).toMatchObject({ running: 1, opened: 0 });
    answers.done(1)(null, ['127.0.0.1']);
    rig.multi.close();
    answers.done(1)(null, ['127.0.0.1']);
    expect(rig.multi.timers.size).toBe(0);
    const late = new Answers();
    const other = new Rig({ lookup: late.lookup });
    other.multi.add(get({ url: 'http://c.test/' }).transfer);
    other.step();
    other.multi.close();
    late.done(0)(null, ['127.0.0.1']);
    late.done(0)(failure('ENOTFOUND'));
    expect(other.multi.timers.size).toBe(0);
  });

  test.each<[string, LookupFunction, object]>([
    [
      'a throw',
      () => {
        throw new Error('broken');
      },
      { message: 'broken' },
    ],
    ['an error', (_host, _family, done) => done(failure('EAI_AGAIN')), { code: 'EAI_AGAIN' }],
    ['nothing', (_host, _family, done) => done(null), { message: expect.stringContaining('undefined') }],
    ['no addresses', (_host, _family, done) => done(null, []), { message: expect.stringContaining('no such address') }],
    ['a name', (_host, _family, done) => done(null, ['b.test']), { message: expect.stringContaining('"b.test"') }],
    ['numbers', (_host, _family, done) => done(null, [1] as never), { message: expect.stringContaining('1') }],
  ])('contract/rule-58 %s is COULDNT_RESOLVE with its cause', async (_name, lookup, cause) => {
    const rig = new Rig({ lookup });
    const { error } = await rig.fetch({ url: 'http://a.test/' });
    expect(error).toMatchObject({ code: 'COULDNT_RESOLVE', phase: 'dns', cause });
    expect(error?.message).toContain('a.test');
    expect(rig.multi.stats()).toMatchObject({ connections: 0, running: 0 });
  });

  test('it is told the family, and addresses of another are not used', async () => {
    const answers = new Answers();
    const rig = new Rig({ lookup: answers.lookup });
    const got = get({ url: 'http://a.test/', family: 6 });
    rig.multi.add(got.transfer);
    rig.multi.add(get({ url: 'http://a.test/' }).transfer);
    rig.step();
    // One look-up for each family.
    expect(answers.asked.map(({ host, family }) => [host, family])).toEqual([
      ['a.test', 6],
      ['a.test', 0],
    ]);
    answers.done(0)(null, ['127.0.0.1']);
    expect(await rig.end(got.transfer)).toMatchObject({ code: 'COULDNT_RESOLVE' });
  });

  test('it may add and remove transfers', async () => {
    const server = await serve();
    const second = get({ url: server.url });
    const first = get({ url: 'http://a.test/' });
    const rig = new Rig({
      lookup: (_host, _family, done) => {
        rig.multi.remove(first.transfer);
        rig.multi.add(second.transfer);
        done(null, ['127.0.0.1']);
      },
    });
    rig.multi.add(first.transfer);
    expect(await rig.end(second.transfer)).toBeNull();
    expect(rig.multi.stats()).toMatchObject({ added: 2, current: 1, opened: 1 });
  });

  test('driving inside it is refused', async () => {
    let refused: unknown;
    const rig = new Rig({
      lookup: (_host, _family, done) => {
        try {
          rig.multi.timeout();
        } catch (error) {
          refused = error;
        }
        done(failure('ENOTFOUND'));
      },
    });
    await rig.fetch({ url: 'http://a.test/' });
    expect(refused).toMatchObject({ code: 'RECURSIVE_API_CALL' });
  });
});

describe('hostile/152 what is remembered', () => {
  test('that there is no such name, for a second; that the name service failed, never', async () => {
    const names = new Names();
    const clock = new StillClock(names.io);
    const rig = new Rig({ io: clock.io });
    const ask = (host: string) => {
      const got = get({ url: `http://${host}/` });
      rig.multi.add(got.transfer);
      rig.step();
      return got.transfer;
    };
    const first = ask('no.test');
    names.answer(rig, 1, [], 'EAI_NONAME');
    expect(await rig.end(first)).toMatchObject({ errno: 'EAI_NONAME' });
    clock.passes(990);
    expect(await rig.end(ask('no.test'))).toMatchObject({ code: 'COULDNT_RESOLVE', errno: 'EAI_NONAME' });
    expect(names.asked).toEqual(['no.test']);
    const second = ask('down.test');
    names.answer(rig, 2, [], 'EAI_AGAIN');
    expect(await rig.end(second)).toMatchObject({ errno: 'EAI_AGAIN' });
    ask('down.test');
    expect(names.asked).toEqual(['no.test', 'down.test', 'down.test']);
    clock.passes(20);
    ask('no.test');
    expect(names.asked).toEqual(['no.test', 'down.test', 'down.test', 'no.test']);
  });

  test('nothing with lookupTtlMs 0', async () => {
    const asked: string[] = [];
    const rig = new Rig({
      lookupTtlMs: 0,
      lookup: (host, _family, done) => {
        asked.push(host);
        done(failure('ENOTFOUND'));
      },
    });
    for (let round = 0; round < 2; round++) await rig.fetch({ url: 'http://no.test/' });
    expect(asked).toEqual(['no.test', 'no.test']);
  });

  test('clear() forgets both kinds', async () => {
    const server = await serve();
    const asked: string[] = [];
    const rig = new Rig({
      lookup: (host, _family, done) => {
        asked.push(host);
        if (host === 'no.test') done(failure('ENOTFOUND'));
        else done(null, ['127.0.0.1']);
      },
    });
    const round = async () => {
      await rig.fetch({ url: 'http://no.test/' });
      await rig.fetch({ url: `http://a.test:${server.port}/`, freshConnect: true });
    };
    await round();
    await round();
    expect(asked).toEqual(['no.test', 'a.test']);
    rig.multi.clear({ connections: false });
    await round();
    expect(asked).toEqual(['no.test', 'a.test', 'no.test', 'a.test']);
  });

  test('ten thousand names and no more', async () => {
    const port = await deadPort();
    let asked = 0;
    const rig = new Rig({
      lookup: (_host, _family, done) => {
        asked++;
        done(null, ['127.0.0.1']);
      },
    });
    const round = async (first: number, last: number) => {
      for (let index = first; index <= last; index++) {
        rig.multi.add(get({ url: `http://n${index}.test:${port}/` }).transfer);
      }
      await rig.until(() => rig.multi.running === 0, 'the end of all', 80_000);
      for (const transfer of rig.multi.transfers()) rig.multi.remove(transfer);
    };
    await round(0, 10_000);
    await round(5_000, 5_000);
    expect(asked).toBe(10_001);
    // The oldest made room for the last.
    await round(0, 0);
    expect(asked).toBe(10_002);
    // A second and a half of work, on a machine that does nothing else.
  }, 120_000);
});

describe('fixed addresses', () => {
  test('come before look-ups, hold for their port alone, and can be removed', async () => {
    const server = await serve();
    const asked: string[] = [];
    const rig = new Rig({
      resolve: { [`a.test:${server.port}`]: '127.0.0.1' },
      lookup: (host, _family, done) => {
        asked.push(host);
        done(failure('ENOTFOUND'));
      },
      lookupTtlMs: 0,
    });
    const url = `http://A.test:${server.port}/`;
    expect((await rig.fetch({ url, freshConnect: true })).body).toBe('ok');
    expect((await rig.fetch({ url, freshConnect: true })).body).toBe('ok');
    expect(asked).toEqual([]);
    expect((await rig.fetch({ url: 'http://a.test:1/' })).error).toMatchObject({ code: 'COULDNT_RESOLVE' });
    rig.multi.setAddresses(`a.test:${server.port}`, null);
    expect((await rig.fetch({ url, freshConnect: true })).error).toMatchObject({ code: 'COULDNT_RESOLVE' });
    expect(asked).toEqual(['a.test', 'a.test']);
  });

  test('* is any host of that port, numeric ones too; a host of its own comes first', async () => {
    const [server, other] = [await serve(), await serve((connection) => connection.reply('other'))];
    const rig = new Rig();
    rig.multi.setAddresses(`*:${server.port}`, ['127.0.0.1']);
    rig.multi.setAddresses('[::1]:8080', ['127.0.0.1']);
    expect((await rig.fetch({ url: `http://any.test:${server.port}/` })).body).toBe('ok');
    const numeric = await rig.fetch({ url: `http://192.0.2.7:${server.port}/` });
    expect(numeric.transfer.info.remoteAddress).toBe(`127.0.0.1:${server.port}`);
    rig.multi.setAddresses(`own.test:${server.port}`, ['::1']);
    expect((await rig.fetch({ url: `http://own.test:${server.port}/` })).error?.code).toBe('COULDNT_CONNECT');
    expect((await rig.fetch({ url: other.url })).body).toBe('other');
  });

  test('the family is kept to', async () => {
    const rig = new Rig({ resolve: { 'a.test:80': ['127.0.0.1'] } });
    const { error } = await rig.fetch({ url: 'http://a.test/', family: 6 });
    expect(error).toMatchObject({ code: 'COULDNT_RESOLVE', limit: 'family' });
    expect((await rig.fetch({ url: 'http://127.0.0.1:1/', family: 6 })).error?.code).toBe('COULDNT_RESOLVE');
  });

  test.each([
    [{ 'a.test': '127.0.0.1' }],
    [{ 'a.test:0': '127.0.0.1' }],
    [{ 'a.test:80': 'b.test' }],
    [{ 'a.test:80': [] }],
    [{ ':80': '127.0.0.1' }],
    [[]],
    ['a.test:80:127.0.0.1'],
  ])('refused: %j', (resolve) => {
    expect(() => new Rig({ resolve: resolve as never })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});
