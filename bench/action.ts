/**
 * The question: what does one `multi.action` cost among many open sockets? The founding experiment again (libcurl's multi_socket
 * was published with it): many connections, of which one is active, with the active one read a byte at a time. Beside it the
 * same with a small response read whole, which is what an action does in earnest: read, parse, complete, start the next
 * request, write it. And what an idle connection holds of memory.
 *
 * "Without system calls": the active socket's reads and writes go to memory, and nothing else changes; see
 * `clients/action-process.ts`.
 */

import { fileURLToPath } from 'node:url';
import { runOwned } from './child-processes.ts';
import { startWaitingServer } from './server/waiting-server.ts';
import { bars, bold, count, figure, median, table } from './text.ts';

export const ACTION_QUESTION = 'What does one action cost among many open sockets?';

/** What `clients/action-process.ts` is told. */
export interface ActionOrder {
  /** Open sockets, ascending, the active one included. With `memory`: the connections to hold. */
  readonly levels: readonly number[];
  readonly origins: readonly string[];
  readonly memory: boolean;
}

/** CPU microseconds per action. */
export interface ActionLevel {
  readonly sockets: number;
  /** A small response read whole, the next request written. */
  readonly wholeUs: number;
  /** One byte read. */
  readonly byteUs: number;
  /** The same two without system calls. */
  readonly wholeApartUs: number;
  readonly byteApartUs: number;
}

export interface ActionFigures {
  readonly levels: readonly ActionLevel[];
}

/** Per idle connection. */
export interface MemoryFigures {
  readonly connections: number;
  readonly heapBytes: number;
  readonly externalBytes: number;
  /** Of the process, beyond what sockets take in the kernel. */
  readonly residentBytes: number;
}

export interface ActionResult {
  readonly rounds: readonly ActionFigures[];
  readonly memory: readonly MemoryFigures[];
}

export interface ActionOptions {
  readonly rounds: number;
  readonly levels: readonly number[];
}

export const ACTION_LEVELS: readonly number[] = [100, 1_000, 3_000, 9_000, 18_000];
export const ACTION_LEVELS_QUICK: readonly number[] = [100, 9_000];
const MEMORY_CONNECTIONS = 10_000;
const PROCESS_MS_MAX = 120_000;
/** Descriptors a process needs besides its connections. */
const FILES_APART = 500;
const ACTION_PROCESS = fileURLToPath(new URL('./clients/action-process.js', import.meta.url));

export async function runAction(
  options: ActionOptions,
  fileLimit: number,
  say: (line: string) => void,
): Promise<ActionResult> {
  const levels = options.levels.filter((sockets) => sockets + FILES_APART <= fileLimit);
  for (const sockets of options.levels) {
    if (!levels.includes(sockets))
      say(`${count(sockets)} sockets are left out: the limit of open files is ${fileLimit}.`);
  }
  const rounds: ActionFigures[] = [];
  const memory: MemoryFigures[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    say(`Round ${round} of ${options.rounds} …`);
    await withServer(say, async (origins) => {
      rounds.push(await measure<ActionFigures>({ levels, origins, memory: false }));
    });
    if (MEMORY_CONNECTIONS + 2 * FILES_APART > fileLimit) continue;
    await withServer(say, async (origins) => {
      memory.push(await measure<MemoryFigures>({ levels: [MEMORY_CONNECTIONS], origins, memory: true }));
    });
  }
  return { rounds, memory };
}

/** A server of its own for each: it has as many files as the client has. */
async function withServer(
  say: (line: string) => void,
  work: (origins: readonly string[]) => Promise<void>,
): Promise<void> {
  const server = await startWaitingServer();
  try {
    await work(server.origins);
  } catch (error) {
    say(`No figure: ${(error as Error).message}`);
  } finally {
    await server.stop();
  }
}

async function measure<Figures>(order: ActionOrder): Promise<Figures> {
  const args = ['--expose-gc', ACTION_PROCESS, JSON.stringify(order)];
  const { code, stdout, stderr, timedOut } = await runOwned(process.execPath, args, PROCESS_MS_MAX);
  if (code === 0 && stdout !== '') return JSON.parse(stdout) as Figures;
  throw new Error(timedOut ? 'it did not end in time' : (/^\w*Error.*$/m.exec(stderr)?.[0] ?? stderr.trim()));
}

// ── The report ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What the founding text reports of libcurl in 2006, a byte per action: microseconds, by sockets; it names no more than these. */
const FOUNDING_US: Readonly<Record<number, string>> = { 100: '3-6', 9000: 'below 10' };

export function reportAction({ rounds, memory }: ActionResult): string {
  const sockets = [...new Set(rounds.flatMap(({ levels }) => levels.map((level) => level.sockets)))];
  const middle = (at: number, of: (level: ActionLevel) => number) =>
    median(rounds.flatMap(({ levels }) => levels.filter((level) => level.sockets === at).map(of)));
  const rows = sockets.map((at) => [
    count(at),
    figure(middle(at, ({ byteUs }) => byteUs)),
    figure(middle(at, ({ byteApartUs }) => byteApartUs)),
    figure(middle(at, ({ wholeUs }) => wholeUs)),
    figure(middle(at, ({ wholeApartUs }) => wholeApartUs)),
    FOUNDING_US[at] ?? '-',
  ]);
  const header = [
    'open sockets, one active',
    'one byte',
    'without system calls',
    'a small GET',
    'without system calls',
    'libcurl 2006, one byte',
  ];
  const parts = [
    [
      bold('One action, CPU us, medians'),
      table([header, ...rows]),
      bars(
        sockets.map((at) => ({
          label: `a small GET without system calls, ${count(at)}`,
          value: middle(at, ({ wholeApartUs }) => wholeApartUs),
        })),
      ),
    ].join('\n'),
  ];
  const bounded = middle(9_000, ({ wholeApartUs }) => wholeApartUs);
  const kib = (of: (figures: MemoryFigures) => number) => figure(median(memory.map(of)) / 1024);
  const bounds = [];
  if (Number.isFinite(bounded))
    bounds.push(['one action without system calls, 9,000 sockets, us', '2', '1', figure(bounded)]);
  if (memory.length > 0) {
    const held = ({ heapBytes, externalBytes }: MemoryFigures) => heapBytes + externalBytes;
    bounds.push([`KiB per idle connection, ${count(MEMORY_CONNECTIONS)} of them: JavaScript`, '2', '1', kib(held)]);
    bounds.push([
      '  of the whole process (its resident set, with what the allocators hold back)',
      '',
      '',
      kib(({ residentBytes }) => residentBytes),
    ]);
  }
  parts.push([bold('Against what it must cost'), table([['', 'bound', 'stretch', 'measured'], ...bounds])].join('\n'));
  return parts.join('\n\n');
}
