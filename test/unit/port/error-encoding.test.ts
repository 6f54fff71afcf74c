import { describe, expect, test } from 'vitest';
import { TransferError } from '../../../src/protocol/errors.ts';
import { decodeError, decodeTransferError, encodeError } from '../../../src/protocol/port/error-encoding.ts';

const across = (error: unknown): Error => decodeError(encodeError(error));

describe('errors cross a thread', () => {
  test('a TransferError with everything it has', () => {
    const cause = Object.assign(new RangeError('inner'), { code: 'EINNER' });
    const error = new TransferError('COULDNT_CONNECT', 'Outer "quoted" \u{1f600}\n.', {
      phase: 'connect',
      limit: 'timeouts.connectMs',
      errno: 'ECONNREFUSED',
      cause,
    });
    const back = across(error) as TransferError;
    expect(back).toBeInstanceOf(TransferError);
    expect(TransferError.is(back)).toBe(true);
    const { name, message, code, phase, limit, errno, blame } = error;
    expect({ ...back, name: back.name, message: back.message, blame: back.blame }).toMatchObject({
      name,
      message,
      code,
      phase,
      limit,
      errno,
      blame,
    });
    expect(back.cause).toMatchObject({ name: 'RangeError', message: 'inner', code: 'EINNER', stack: cause.stack });
  });

  test('what a TransferError lacks it lacks afterwards', () => {
    const back = across(new TransferError('INTERNAL', 'bare')) as TransferError;
    expect([back.phase, back.limit, back.errno, back.url, back.cause]).toEqual(Array(5).fill(undefined));
    expect('cause' in back).toBe(false);
  });

  test('an AggregateError with its errors, inside a chain', () => {
    const parts = [new TransferError('COULDNT_CONNECT', 'a', { errno: 'EPERM' }), new Error('b')];
    const back = across(new TransferError('COULDNT_CONNECT', 'all', { cause: new AggregateError(parts, 'every') }));
    const cause = back.cause as AggregateError;
    expect(cause).toBeInstanceOf(AggregateError);
    expect(cause.message).toBe('every');
    expect(cause.errors).toMatchObject([
      { name: 'TransferError', code: 'COULDNT_CONNECT', errno: 'EPERM' },
      { name: 'Error', message: 'b' },
    ]);
  });

  test('circular and very long chains are cut', () => {
    const circular = new Error('round');
    circular.cause = circular;
    let depth = 0;
    for (let error: unknown = across(circular); error instanceof Error; error = error.cause) depth++;
    expect(depth).toBeGreaterThan(2);
    expect(depth).toBeLessThan(20);
    const aggregate = new AggregateError([], 'round');
    aggregate.errors.push(aggregate, new Error('leaf'));
    expect((across(aggregate) as AggregateError).errors[1]).toMatchObject({ message: 'leaf' });
  });

  test.each(['text', 42, null, undefined, { code: 'X' }, Symbol('s'), 10n])(
    'what is no error becomes one: %s',
    (thrown) => {
      const back = across(thrown);
      expect(back).toBeInstanceOf(Error);
      expect(back.message).toContain(String(thrown));
    },
  );

  test('an unknown code is no TransferError; decodeTransferError makes it the cause of an INTERNAL one', () => {
    const error = Object.assign(new Error('mine'), { name: 'TransferError', code: 'NO_SUCH_CODE' });
    expect(TransferError.is(across(error))).toBe(false);
    const internal = decodeTransferError(encodeError(error));
    expect(internal).toMatchObject({ code: 'INTERNAL', cause: { message: 'mine', code: 'NO_SUCH_CODE' } });
    const own = decodeTransferError(encodeError(new TransferError('QUEUE_FULL', 'full')));
    expect(own).toMatchObject({ code: 'QUEUE_FULL', message: 'full' });
  });

  test('codes inherited from Object are no codes', () => {
    for (const code of ['constructor', 'toString', '__proto__']) {
      const back = across(Object.assign(new Error('x'), { name: 'TransferError', code }));
      expect(TransferError.is(back)).toBe(false);
    }
  });
});
