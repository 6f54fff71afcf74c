/**
 * The process that measures one call of `multi.action` among many open sockets, for `bench/action.ts`. Takes an ActionOrder as
 * JSON, prints an ActionFigures (or, with `memory`, a MemoryFigures) as JSON.
 *
 * The engine runs over an Io of ours that hands on to the native one, but for the one active socket: its reads are cut to one
 * byte (the founding text's "read-only-1-byte-at-a-time hack"), or taken from memory, so that an action has no system call at
 * all. What an action costs without its system calls is thus measured, not computed. The clock stays the real one.
 */

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { EpollDriver, Multi, type MultiOptions, Transfer } from 'shardfetch/multi';
import type { ActionFigures, ActionLevel, ActionOrder, MemoryFigures } from '../action.ts';
import { median } from '../text.ts';

/** The product's own file, which the package does not export. Relative to this file once compiled. */
const NATIVE_IO = new URL('../../../dist/worker/io/native-io.js', import.meta.url);

type Io = NonNullable<MultiOptions['io']>;

/** How the active socket is read: what is there, a byte of what is there, or a response from memory, whole or by the byte. */
type Reading = 'real' | 'byte' | 'memory' | 'memory byte';

const BODY_BYTES = 1_000;
const SMALL = Buffer.from(
  'HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n',
);
const LONG = Buffer.concat([
  Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`),
  Buffer.alloc(BODY_BYTES),
]);
const EVENT_IN = 1;
/** How long the answer on this machine may take to lie in the socket. */
const ANSWER_MS = 0.4;
const ACTIONS_PER_BATCH = 2_000;
const BATCHES = 25;
/** Real answers are waited for one by one. */
const REAL_BATCHES = 60;
const OPEN_MS_MAX = 30_000;

/** What the active socket is, and how it is read. */
class SteeredIo {
  reading: Reading = 'real';
  active = -1;
  /** Requests written. */
  writes = 0;
  /** What the last read answered. */
  lastRead = 0;
  readonly io: Io;
  readonly #native: Io;
  #at = 0;

  constructor(native: Io) {
    this.#native = native;
    this.io = {
      ...native,
      read: (socket) => {
        this.lastRead = socket === this.active ? this.#read(socket) : native.read(socket);
        return this.lastRead;
      },
      write: (socket, offset, length) => {
        this.writes++;
        if (socket === this.active && this.reading.startsWith('memory')) return length;
        if (this.active === -2) this.active = socket;
        return native.write(socket, offset, length);
      },
    };
  }

  /** The socket of the next request is the active one. */
  activateNext(): void {
    this.active = -2;
  }

  #read(socket: number): number {
    const { readBuffer } = this.#native;
    switch (this.reading) {
      case 'real':
        return this.#native.read(socket);
      case 'byte':
        return this.#native.readInto(socket, readBuffer, 0, 1);
      case 'memory':
        readBuffer.set(SMALL);
        return SMALL.length;
      case 'memory byte':
        readBuffer[0] = LONG[this.#at] as number;
        this.#at = this.#at + 1 === LONG.length ? 0 : this.#at + 1;
        return 1;
    }
  }
}

const order = JSON.parse(process.argv[2] as string) as ActionOrder;
const { nativeIo } = (await import(NATIVE_IO.href)) as { nativeIo(): Io };
const steered = new SteeredIo(nativeIo());
const multi = new Multi({ io: steered.io, maxConnects: 20_000 });

// ── One action ─────────────────────────────────────────────────────────────────────────────────────────────────────────

async function measureActions(): Promise<ActionFigures> {
  const levels: ActionLevel[] = [];
  let open = 0;
  // The first is the compiler's.
  for (let times = 0; times < 2; times++) await measureLevel();
  for (const sockets of order.levels) {
    await openSilent(sockets - 1 - open);
    open = sockets - 1;
    levels.push({ sockets, ...(await measureLevel()) });
  }
  return { levels };
}

/** Connections whose transfers wait for an answer that does not come: open, watched, each with its clock running. */
async function openSilent(count: number): Promise<void> {
  const driver = new EpollDriver(multi);
  driver.run();
  const due = steered.writes + count;
  for (let index = 0; index < count; index++) {
    const origin = order.origins[index % order.origins.length] as string;
    multi.add(new Transfer({ url: `${origin}/silent` }));
  }
  await until(() => steered.writes >= due, `${count} connections opened`);
  driver.stop();
}

async function measureLevel(): Promise<Omit<ActionLevel, 'sockets'>> {
  return {
    wholeUs: await measure('/hello', 'real', REAL_BATCHES),
    byteUs: await measure(`/${BODY_BYTES}`, 'byte', BATCHES),
    wholeApartUs: await measure('/hello', 'memory', BATCHES),
    byteApartUs: await measure(`/${BODY_BYTES}`, 'memory byte', BATCHES),
  };
}

/** One connection does one exchange after the other, driven by us alone. CPU microseconds per action, median of batches. */
async function measure(path: string, reading: Reading, batches: number): Promise<number> {
  let ended = 0;
  let looping = false;
  const transfer = new Transfer({
    url: `${order.origins[0]}${path}`,
    onData: () => {},
    onEnd: (self) => {
      ended++;
      if (!looping) return;
      multi.remove(self);
      multi.add(self);
    },
  });
  steered.reading = 'real';
  steered.activateNext();
  const driver = new EpollDriver(multi);
  driver.run();
  multi.add(transfer);
  await until(() => ended > 0, 'the first answer');
  driver.stop();

  // As an application has them: they hear of changes, of which there are none while a connection is kept alive.
  multi.socketFunction(() => {});
  multi.timerFunction(() => {});
  steered.reading = reading;
  looping = true;
  multi.remove(transfer);
  multi.add(transfer);
  multi.timeout();
  const samples: number[] = [];
  const fromMemory = reading.startsWith('memory');
  // The first tenth is the compiler's.
  const spare = Math.ceil(batches / 10);
  for (let batch = -spare; batch < batches; batch++) {
    const us = fromMemory ? timeActions(ACTIONS_PER_BATCH) : timeUntilEnd(() => ended);
    if (batch >= 0) samples.push(us);
    if (batch % 10 === 0) await nextTurn();
  }
  multi.socketFunction(null);
  multi.timerFunction(null);
  looping = false;
  multi.remove(transfer);
  return median(samples);
}

/**
 * CPU and not time: a request that is written wakes the server, which may take this processor. The kernel counts it to the
 * nanosecond where it is switched, and tells microseconds.
 */
function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function timeActions(actions: number): number {
  const began = cpuUs();
  for (let action = 0; action < actions; action++) multi.action(steered.active, EVENT_IN);
  return (cpuUs() - began) / actions;
}

/** Waits without sleeping: who sleeps finds the processor cold. */
function spin(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** From an answer that lies whole in the socket to the next request written. */
function timeUntilEnd(ended: () => number): number {
  const due = ended() + 1;
  for (;;) {
    spin(ANSWER_MS);
    let actions = 0;
    const began = cpuUs();
    do {
      multi.action(steered.active, EVENT_IN);
      actions++;
    } while (ended() < due && steered.lastRead > 0);
    const us = (cpuUs() - began) / actions;
    // An answer that came late is waited for again, and not counted.
    if (ended() === due) return us;
  }
}

// ── Memory ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What idle connections of a pool or a load cost beyond the kernel's own: their transfers are gone. */
async function measureMemory(): Promise<MemoryFigures> {
  const [connections] = order.levels as [number];
  const driver = new EpollDriver(multi);
  driver.run();
  // What is made once is made before: the addon's buffers, compiled code, the first chunks of every list.
  await openIdle(1_000);
  const before = usage();
  await openIdle(connections + 1_000);
  const after = usage();
  driver.stop();
  const each = (of: (usage: NodeJS.MemoryUsage) => number) => (of(after) - of(before)) / connections;
  return {
    connections,
    heapBytes: each(({ heapUsed }) => heapUsed),
    externalBytes: each(({ external }) => external),
    residentBytes: each(({ rss }) => rss),
  };
}

/** So many idle connections altogether: that many requests at once, each on a connection of its own. */
async function openIdle(count: number): Promise<void> {
  let ended = 0;
  const onEnd = (): void => {
    ended++;
  };
  for (let index = 0; index < count; index++) {
    const origin = order.origins[index % order.origins.length] as string;
    multi.add(new Transfer({ url: `${origin}/later`, onEnd }));
  }
  await until(() => ended === count, `${count} answers`);
  for (const { transfer } of multi.messages()) multi.remove(transfer);
  if (multi.stats().idle !== count) throw new Error(`${multi.stats().idle} connections are idle, not ${count}.`);
}

function usage(): NodeJS.MemoryUsage {
  for (let times = 0; times < 3; times++) globalThis.gc?.();
  return process.memoryUsage();
}

async function until(met: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + OPEN_MS_MAX;
  while (!met()) {
    if (performance.now() > deadline) throw new Error(`waited too long for ${what}`);
    await sleep(2);
  }
}

const figures = order.memory ? await measureMemory() : await measureActions();
process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit(0));
