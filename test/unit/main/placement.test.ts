import { expect, test } from 'vitest';
import { equalShare, type Place, Placement, rankShards } from '../../../src/main/placement.ts';
import { cpuMs } from '../cpu-time.ts';
import { randomOf } from '../random.ts';

const origins = Array.from({ length: 2_000 }, (_, index) => `http://host-${index}.test`);
const alive = (): boolean => true;

test('shares are equal and add up to the whole', () => {
  for (const whole of [1, 2, 7, 256, 20_000, 1_000_003]) {
    for (const parts of [1, 2, 3, 7, 64]) {
      const shares = Array.from({ length: parts }, (_, index) => equalShare(whole, parts, index));
      expect(shares.reduce((sum, share) => sum + share)).toBe(whole);
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
    }
  }
});

test.each([
  [4, 256],
  [4, 2],
  [3, 10],
  [1, 5],
  [8, 8],
])('%i shards may hold perOrigin %i connections between them, no more', (shards, perOrigin) => {
  const placement = new Placement(shards, perOrigin, 'origin', alive);
  const reach = Math.min(shards, perOrigin);
  const shares = Array.from({ length: reach }, (_, rank) => placement.share(rank));
  expect(shares.reduce((sum, share) => sum + share)).toBe(perOrigin);
  // Load without end goes to those alone.
  const place = placement.placeOf('http://busy.test');
  const used = new Set(Array.from({ length: 1_000 }, () => placement.choose(place)));
  expect(used.size).toBe(reach);
});

test('a ranking names every shard once, and is the same each time', () => {
  for (const key of origins.slice(0, 50)) {
    const ranking = [...rankShards(key, 7)];
    expect([...ranking].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect([...rankShards(key, 7)]).toEqual(ranking);
  }
});

test('origins are spread evenly over the shards', () => {
  const first = new Array<number>(8).fill(0);
  for (const key of origins) {
    const shard = rankShards(key, 8)[0] as number;
    first[shard] = (first[shard] as number) + 1;
  }
  for (const count of first) {
    expect(count).toBeGreaterThan(200);
    expect(count).toBeLessThan(300);
  }
});

test('one more shard moves only the origins that it takes', () => {
  let moved = 0;
  for (const key of origins) {
    const [before, after] = [rankShards(key, 7)[0], rankShards(key, 8)[0]];
    if (before === after) continue;
    expect(after).toBe(7);
    moved++;
  }
  expect(moved / origins.length).toBeGreaterThan(0.09);
  expect(moved / origins.length).toBeLessThan(0.16);
});

test('a lost shard moves only its own origins, each to the next of its ranking; they return with it', () => {
  let lost = -1;
  const placement = new Placement(5, 256, 'origin', (shard) => shard !== lost);
  const shardOf = (key: string): number => {
    const place = placement.placeOf(key);
    const shard = placement.choose(place);
    placement.release(place, placement.rank);
    return shard;
  };
  const before = origins.map(shardOf);
  lost = 2;
  for (const [index, key] of origins.entries()) {
    const ranking = placement.placeOf(key).ranking;
    expect(shardOf(key)).toBe(before[index] === 2 ? ranking[1] : before[index]);
  }
  lost = -1;
  expect(origins.map(shardOf)).toEqual(before);
});

test('no shard lives: -1, and nothing is counted', () => {
  const placement = new Placement(3, 256, 'origin', () => false);
  const place = placement.placeOf('http://a.test');
  expect(placement.choose(place)).toBe(-1);
  expect([place.inFlightTotal, ...placement.load]).toEqual([0, 0, 0, 0]);
});

test('a quiet origin stays on one shard; a busy one spreads over all', () => {
  const placement = new Placement(4, 256, 'origin', alive);
  const place = placement.placeOf('http://quiet.test');
  const first = placement.choose(place);
  for (let more = 0; more < 30; more++) expect(placement.choose(place)).toBe(first);
  for (let more = 0; more < 400; more++) placement.choose(place);
  const busiest = Math.max(...placement.load);
  const idlest = Math.min(...placement.load);
  expect(idlest).toBeGreaterThan(70);
  expect(busiest).toBeLessThan(150);
});

test('spread takes the least loaded shard whatever the origin', () => {
  const placement = new Placement(4, 256, 'spread', alive);
  const place = placement.placeOf('http://a.test');
  const used = Array.from({ length: 8 }, () => placement.choose(place));
  expect([...used].sort()).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
});

test('counts return to zero after random load (model)', () => {
  const random = randomOf(9);
  const dead = new Set<number>();
  const placement = new Placement(6, 4, 'origin', (shard) => !dead.has(shard));
  const inFlight: { place: Place; rank: number; shard: number }[] = [];
  for (let step = 0; step < 20_000; step++) {
    if (random(100) === 0) dead.add(random(6));
    if (random(50) === 0) dead.clear();
    if (random(2) === 0) {
      const place = placement.placeOf(origins[random(200)] as string);
      const shard = placement.choose(place);
      if (shard < 0) continue;
      if (dead.has(shard)) throw new Error(`a request went to dead shard ${shard}`);
      inFlight.push({ place, rank: placement.rank, shard });
    } else if (inFlight.length > 0) {
      const [one] = inFlight.splice(random(inFlight.length), 1);
      if (one !== undefined) placement.release(one.place, one.rank);
    }
  }
  const loads = new Array<number>(6).fill(0);
  for (const { shard } of inFlight) loads[shard] = (loads[shard] as number) + 1;
  expect([...placement.load]).toEqual(loads);
  for (const { place, rank } of inFlight) placement.release(place, rank);
  expect([...placement.load]).toEqual([0, 0, 0, 0, 0, 0]);
});

test('a million quiet keys leave a bounded number behind: those in flight, and those used last', () => {
  const placement = new Placement(2, 4, 'origin', alive);
  const busy = placement.placeOf('http://busy.test');
  placement.choose(busy);
  const unused = placement.placeOf('http://unused.test');
  const used = placement.placeOf('http://used.test');
  for (let key = 0; key < 30_000; key++) {
    placement.placeOf(`http://${key}.test`);
    if (key % 1_000 > 0) continue;
    placement.choose(used);
    placement.release(used, placement.rank);
  }
  expect(placement.placeOf('http://busy.test')).toBe(busy);
  expect(placement.placeOf('http://used.test')).toBe(used);
  expect(placement.placeOf('http://unused.test')).not.toBe(unused);
  const last = placement.placeOf('http://29999.test');
  // Once its request is over it is as quiet as any, and may go.
  placement.release(busy, 0);
  for (let key = 0; key < 9_997; key++) placement.placeOf(`http://more-${key}.test`);
  expect([placement.placeOf('http://29999.test') === last, placement.placeOf('http://busy.test') === busy]).toEqual([
    true,
    true,
  ]);
  for (let key = 0; key < 10_000; key++) placement.placeOf(`http://again-${key}.test`);
  expect(placement.placeOf('http://busy.test')).not.toBe(busy);
});

test('60,000 keys in flight at once are placed in no time', () => {
  const placement = new Placement(4, 6, 'origin', alive);
  const startMs = cpuMs();
  for (let key = 0; key < 60_000; key++) placement.choose(placement.placeOf(`http://${key}.test`));
  // It took half a minute where each new key looked at all of them.
  expect(cpuMs() - startMs).toBeLessThan(3_000);
  for (let key = 0; key < 60_000; key++) placement.release(placement.placeOf(`http://${key}.test`), 0);
  expect([...placement.load]).toEqual([0, 0, 0, 0]);
});

test('who waits for room hears of it once, when there is some, whoever made it', () => {
  const placement = new Placement(1, 2, 'origin', alive);
  const place = placement.placeOf('http://a.test');
  const told: Place[] = [];
  for (let more = 0; more < 3; more++) placement.choose(place);
  place.onRoom = (which) => told.push(which);
  placement.release(place, 0);
  expect(told).toEqual([]);
  placement.release(place, 0);
  expect(told).toEqual([place]);
  placement.release(place, 0);
  expect(told).toHaveLength(1);
});
