/**
 * Mann-Whitney's test of two samples, two-sided and exact, ties included: of all ways to deal the values out into two samples of these
 * sizes, in what share do the ranks lie at least as far apart? Assumes nothing about how values are distributed. For small samples:
 * the work grows with the fourth power of their size.
 */

/** 0 to 1; small: chance alone rarely does this. 1 when a sample is empty. */
export function rankSumTest(first: readonly number[], second: readonly number[]): number {
  const size = first.length;
  const all = [...first, ...second];
  if (size === 0 || second.length === 0) return 1;
  const ranks = doubledRanks(all);
  const observed = ranks.slice(0, size).reduce((sum, rank) => sum + rank, 0);
  const most = ranks.reduce((sum, rank) => sum + rank, 0);
  // ways[chosen][sum]: choices of so many values whose doubled ranks add up to this.
  const ways = Array.from({ length: size + 1 }, () => new Float64Array(most + 1));
  (ways[0] as Float64Array)[0] = 1;
  for (const rank of ranks) {
    for (let chosen = size; chosen > 0; chosen--) {
      const from = ways[chosen - 1] as Float64Array;
      const to = ways[chosen] as Float64Array;
      for (let sum = most; sum >= rank; sum--) to[sum] = (to[sum] as number) + (from[sum - rank] as number);
    }
  }
  const expected = size * (all.length + 1);
  const distance = Math.abs(observed - expected);
  let farther = 0;
  let total = 0;
  (ways[size] as Float64Array).forEach((count, sum) => {
    total += count;
    if (Math.abs(sum - expected) >= distance) farther += count;
  });
  return farther / total;
}

/** Twice the rank of each, so that the mean rank of equal values is whole. */
function doubledRanks(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  return values.map((value) => {
    const first = sorted.indexOf(value);
    const last = sorted.lastIndexOf(value);
    return first + last + 2;
  });
}
