import { expect, test } from 'vitest';
import { SocketTable, WATCH_IN, WATCH_NONE, WATCH_OUT } from '../../../src/worker/multi/socket-table.ts';

const owner = { transfer: null, onSocketEvents: () => undefined };

test('entries are found by descriptor, however large or sparse, and gone when deleted', () => {
  const table = new SocketTable();
  for (const socket of [3, 70_000, 12]) table.add(socket, owner);
  expect(table.get(12)?.socket).toBe(12);
  expect([table.get(4), table.get(-1), table.get(1_000_000)]).toEqual([undefined, undefined, undefined]);
  expect([...table].map((entry) => entry.socket)).toEqual([3, 12, 70_000]);
  expect(() => table.add(12, owner)).toThrow('12');
  const entry = table.get(12);
  if (entry !== undefined) table.delete(entry);
  expect([table.get(12), table.size]).toEqual([undefined, 2]);
  expect(table.add(12, owner)).not.toBe(entry);
});

test('changes are noted once, in order, also those made while the last are being walked', () => {
  const table = new SocketTable();
  const [a, b] = [table.add(1, owner), table.add(2, owner)];
  table.want(a, WATCH_NONE);
  expect(table.hasChanged).toBe(false);
  table.want(b, WATCH_IN);
  table.want(a, WATCH_OUT);
  table.want(b, WATCH_OUT);
  const first = table.takeChanged();
  expect(first).toEqual([b, a]);
  expect(table.hasChanged).toBe(false);
  for (const entry of first) entry.changed = false;
  table.leave(a);
  table.leave(a);
  expect([a.wanted, a.leaving]).toEqual([WATCH_NONE, true]);
  expect(first).toEqual([b, a]);
  expect(table.takeChanged()).toEqual([a]);
  expect(table.takeChanged()).toEqual([]);
});

test('a callback installed late is told everything again', () => {
  const table = new SocketTable();
  const [a, b] = [table.add(1, owner), table.add(2, owner)];
  table.want(a, WATCH_IN);
  for (const entry of table.takeChanged()) {
    entry.changed = false;
    entry.told = entry.wanted;
  }
  table.noteAll();
  expect(a.told).toBe(WATCH_NONE);
  expect(table.takeChanged()).toEqual([a, b]);
});

test('prefetch asks the owners of the sockets between its offsets, and passes over what is no socket of the table', () => {
  const table = new SocketTable();
  const asked: number[] = [];
  for (const socket of [3, 4, 5, 6]) {
    table.add(socket, {
      ...owner,
      prefetch: () => {
        asked.push(socket);
        return 1;
      },
    });
  }
  table.add(7, owner);
  const events = Int32Array.from([3, 1, 0, 4, 1, 0, -1, 1, 0, 999, 1, 0, 7, 1, 0, 5, 1, 0, 6, 1, 0]);
  table.prefetch(events, 3, 18);
  expect(asked).toEqual([4, 5]);
});
