/** Unread messages: their order whatever is dropped, and what is left of those that were read. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { Completions } from '../../../src/worker/multi/completions.ts';
import { Transfer } from '../../../src/worker/multi/transfer.ts';
import { randomOf } from '../random.ts';

const make = (): Transfer => new Transfer({ url: 'http://127.0.0.1/' });

test('contract/rule-41 messages are read in order, whatever is added, read and dropped between', () => {
  for (let seed = 0; seed < 5; seed++) {
    const random = randomOf(seed);
    const completions = new Completions();
    let model: Transfer[] = [];
    for (let step = 0; step < 2_000; step++) {
      // Grows to some hundreds, then shrinks, and again.
      const grows = step % 1_000 < 600;
      if (random(10) < (grows ? 7 : 2)) {
        const transfer = make();
        completions.add(transfer);
        model.push(transfer);
      } else if (random(2) === 0) {
        expect(completions.next()).toBe(model.shift() ?? null);
      } else {
        const dropped = model[random(model.length)];
        if (dropped === undefined) continue;
        completions.drop(dropped);
        completions.drop(dropped);
        model = model.filter((transfer) => transfer !== dropped);
      }
      expect(completions.unread).toBe(model.length);
    }
    for (const transfer of model) expect(completions.next()).toBe(transfer);
    expect(completions.next()).toBeNull();
  }
});

test.each(['read', 'dropped'] as const)(
  'contract/rule-41 what was %s is let go of, though one message stays unread',
  (how) => {
    const completions = new Completions();
    const first = make();
    // Dropping passes over the first; who reads has the one of the round before still before it.
    completions.add(first);
    const references: WeakRef<Transfer>[] = [];
    const round = (): void => {
      const transfer = make();
      completions.add(transfer);
      if (how === 'read') completions.next();
      else completions.drop(transfer);
      references.push(new WeakRef(transfer));
    };
    for (let count = 0; count < 1_000; count++) round();
    expect(completions.unread).toBe(1);
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      collect();
      const left = references.filter((reference) => reference.deref() !== undefined).length;
      expect(left).toBeLessThan(100);
    });
  },
);
