/** SESSION frames: what is written is read; a frame that does not hold what it says is none. */

import { expect, test } from 'vitest';
import { BatchReader } from '../../../src/protocol/port/batch-reader.ts';
import { BatchWriter } from '../../../src/protocol/port/batch-writer.ts';
import { SESSION } from '../../../src/protocol/port/frames.ts';
import { readSession, type SharedSession, writeSession } from '../../../src/protocol/port/session-frames.ts';

function reread(sessions: readonly SharedSession[], damage: (words: Int32Array) => void = () => undefined) {
  const writer = new BatchWriter();
  for (const session of sessions) writeSession(writer, session);
  const reader = new BatchReader();
  const buffer = writer.take(1);
  damage(new Int32Array(buffer));
  reader.open(buffer, [], 1);
  const read: (SharedSession | null)[] = [];
  while (reader.next()) {
    expect(reader.kind).toBe(SESSION);
    read.push(readSession(reader));
  }
  return read;
}

const SESSIONS: readonly SharedSession[] = [
  { key: 'identity= https://ä.test ["unix"]', single: true, bytes: Uint8Array.of(1, 2, 3) },
  { key: ' https://a.test', single: false, bytes: new Uint8Array(3_000).fill(7) },
  { key: '', single: false, bytes: new Uint8Array(0) },
];

test('what is written is read', () => {
  expect(reread(SESSIONS)).toEqual(SESSIONS);
});

test.each([
  [6, 1_000_000],
  [6, -1],
  [7, 1_000_000],
  [7, -1],
])('word %i of the batch that says %i', (word, value) => {
  const read = reread(SESSIONS.slice(0, 1), (words) => {
    words[word] = value;
  });
  expect(read).toEqual([null]);
});
