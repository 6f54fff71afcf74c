/**
 * Keeps one shard alive: begins it, watches it, and begins another when it is lost. What it was carrying is failed by its
 * link; requests meanwhile go to other shards, or wait in the new link until the new thread listens.
 *
 *   alive       has a link that takes requests (its thread may still be starting)
 *   backing-off died DEATHS_MAX times within DEATHS_WINDOW_MS; begins again when the pause is over
 *   closed      the pool is
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { TransferError } from '../protocol/errors.ts';
import type { LookupFunction } from '../protocol/lookup-function.ts';
import type { ShardConfig, ShardStats, ShardTask } from '../protocol/port/control.ts';
import type { CheckServerIdentity } from '../protocol/tls-options.ts';
import type { Connecting } from './connecting.ts';
import { ControlClient } from './control-client.ts';
import type { Exchange } from './exchange.ts';
import { serveLookups } from './lookup-server.ts';
import type { SessionStore } from './session-store.ts';
import { ShardLink } from './shard-link.ts';
import type { ShardThread } from './shard-threads.ts';
import { identityPortFor } from './tls-identity-server.ts';
import { Watchdog } from './watchdog.ts';

/** This many deaths … */
const DEATHS_MAX = 3;
/** … within this long, and the next beginning waits: */
const DEATHS_WINDOW_MS = 10_000;
/** The first pause; each further one is twice as long, up to the longest. */
const BACK_OFF_MS = 1_000;
const BACK_OFF_MS_MAX = 30_000;
/** Silence of a thread that is still starting is no sign of death this long: on a machine with more work than cores it takes many seconds. */
const BEGIN_MS_MAX = 60_000;

/** The application's functions that shards call; they run on the main thread. null: there is none. */
export interface ShardFunctions {
  readonly lookup: LookupFunction | null;
  readonly checkServerIdentity: CheckServerIdentity | null;
  readonly connecting: Connecting;
}

export type Launch = (task: ShardTask<MessagePort>) => ShardThread;

/** One life of the shard. */
interface Life {
  readonly link: ShardLink;
  readonly control: ControlClient;
  readonly thread: ShardThread;
  readonly launchedMs: number;
  begun: boolean;
}

export class ShardKeeper {
  state: 'alive' | 'backing-off' | 'closed' = 'alive';
  /** How often it was lost. */
  deaths = 0;
  /** Why it was lost last. */
  lastDeath: unknown = undefined;
  readonly #config: ShardConfig;
  readonly #launch: Launch;
  readonly #functions: ShardFunctions;
  readonly #sessions: SessionStore | null;
  readonly #watchdog: Watchdog;
  #life: Life;
  #deathTimes: number[] = [];
  #backOffs = 0;
  #timer: NodeJS.Timeout | null = null;

  /** `sessions` null: there is no other shard. */
  constructor(config: ShardConfig, launch: Launch, functions: ShardFunctions, sessions: SessionStore | null = null) {
    this.#functions = functions;
    this.#sessions = sessions;
    this.#config = config;
    this.#launch = launch;
    this.#watchdog = new Watchdog({
      isBusy: () => this.#life.link.inFlight > 0,
      wasHeard: () => {
        const { link, begun, launchedMs } = this.#life;
        const { heard } = link;
        link.heard = false;
        return heard || (!begun && performance.now() - launchedMs < BEGIN_MS_MAX);
      },
      ask: () => this.#ping(),
      end: () => this.#endStuck(),
    });
    this.#life = this.#begin();
  }

  get isAlive(): boolean {
    return this.state === 'alive';
  }

  get inFlight(): number {
    return this.#life.link.inFlight;
  }

  get ignoredFrames(): number {
    return this.#life.link.ignoredFrames;
  }

  start(exchange: Exchange, startMs: number, originShare: number): void {
    this.#life.link.start(exchange, startMs, originShare);
    if (!this.#watchdog.running) this.#watchdog.start();
  }

  exchanges(): Iterable<Exchange> {
    return this.#life.link.exchanges();
  }

  async stats(): Promise<ShardStats> {
    return this.#life.control.stats();
  }

  /** Ends the shard: in good order when it answers, else with its thread. */
  async close(): Promise<void> {
    if (this.state === 'closed') return;
    const wasAlive = this.state === 'alive';
    this.state = 'closed';
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#watchdog.stop();
    const { control, link } = this.#life;
    if (wasAlive && !link.lost) await settledWithin(control.close(), CLOSE_MS_MAX);
    control.end();
    link.close();
  }

  #begin(): Life {
    const data = new MessageChannel();
    const control = new MessageChannel();
    const { shard } = this.#config;
    const { lookup, checkServerIdentity, connecting } = this.#functions;
    const client = new ControlClient(control.port1);
    const link = new ShardLink(data.port1, () => this.#onLost(link), client, this.#sessions?.shelfOf(shard));
    this.#sessions?.begun(shard);
    const thread = this.#launch({
      config: this.#config,
      dataPort: data.port2,
      controlPort: control.port2,
      guardPort: connecting.guards.openPort(),
      lookupPort: lookup === null ? null : lookupPortFor(lookup),
      identityPort: checkServerIdentity === null ? null : identityPortFor(checkServerIdentity),
    });
    thread.onError = (error) => {
      link.deathCause ??= error;
    };
    const life: Life = { link, control: client, thread, launchedMs: performance.now(), begun: false };
    thread.begun.then(
      () => {
        life.begun = true;
      },
      (error: unknown) => {
        link.deathCause ??= error;
        link.neverBegan = true;
        link.close();
      },
    );
    return life;
  }

  #onLost(link: ShardLink): void {
    const life = this.#life;
    if (life.link !== link) return;
    life.control.end();
    if (this.state === 'closed') return;
    // The port may have closed while the thread lives on (an unreadable batch, a shard that could not begin).
    life.thread.terminate();
    this.#watchdog.stop();
    this.deaths++;
    this.lastDeath = link.deathCause;
    const now = performance.now();
    this.#deathTimes = this.#deathTimes.filter((time) => time > now - DEATHS_WINDOW_MS);
    this.#deathTimes.push(now);
    if (this.#deathTimes.length < DEATHS_MAX) {
      this.#backOffs = 0;
      this.#life = this.#begin();
    } else this.#backOff();
  }

  #backOff(): void {
    this.state = 'backing-off';
    const pauseMs = Math.min(BACK_OFF_MS * 2 ** this.#backOffs++, BACK_OFF_MS_MAX);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.state = 'alive';
      this.#life = this.#begin();
    }, pauseMs);
    this.#timer.unref();
  }

  #ping(): void {
    const { control, link } = this.#life;
    control.ping().then(
      () => {
        link.heard = true;
      },
      // It ended meanwhile: its link has said so.
      () => undefined,
    );
  }

  #endStuck(): void {
    const { link, thread } = this.#life;
    link.deathCause = new TransferError(
      'INTERNAL',
      'The shard answered nothing for 10 s, not even whether it lives, and was ended.',
    );
    thread.terminate();
  }
}

/** The shard's end; ours ends with it. */
function lookupPortFor(lookup: LookupFunction): MessagePort {
  const { port1, port2 } = new MessageChannel();
  serveLookups(lookup, port1);
  return port2;
}

/** A shard that does not answer is ended with its thread. */
const CLOSE_MS_MAX = 1_000;

async function settledWithin(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([promise.catch(() => undefined), late]);
  clearTimeout(timer);
}
