/**
 * The process of one candidate: in a process with others its calls would be compiled for all of them. Takes its place in the list
 * and the operations per load, prints its figures as JSON.
 */

import { type Candidate, fourAryHeap, lanes, SPLAY_TREE, TIMING_WHEEL } from './candidate.ts';
import { COUNTS, LOADS, measureLoad, measureTransfers, type TimerFigures } from './loads.ts';

const TRANSFERS = 100_000;

function measure<Node>(candidate: Candidate<Node>, operations: number): TimerFigures {
  return {
    name: candidate.name,
    loads: LOADS.flatMap((load) =>
      COUNTS.map((count) => ({ load, count, ns: measureLoad(candidate, load, count, operations) })),
    ),
    transfer: measureTransfers(candidate, TRANSFERS),
  };
}

async function measureNumber(place: number, operations: number): Promise<TimerFigures> {
  switch (place) {
    case 0:
      return measure(SPLAY_TREE, operations);
    case 1:
      return measure(await fourAryHeap(), operations);
    case 2:
      return measure(TIMING_WHEEL, operations);
    default:
      return measure(await lanes(), operations);
  }
}

const [place, operations] = process.argv.slice(2).map(Number);
console.log(JSON.stringify(await measureNumber(place as number, operations as number)));
