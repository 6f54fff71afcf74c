/** How far a long run is: one live line on a terminal, else a plain line every two seconds. Counting costs one increment. */

import { bold, count, dim } from './text.ts';

const NAME_COLUMNS = 15;
const BAR_COLUMNS = 30;
const LIVE_MS = 100;
const PLAIN_MS = 2_000;
const ERASE_LINE = '\r\x1b[2K';

/** Stands on a terminal until the progress of what follows takes its line. */
export function sayWarmingUp(name: string): void {
  if (process.stdout.isTTY)
    process.stdout.write(`${ERASE_LINE}${bold(name.padEnd(NAME_COLUMNS))} ${dim('warming up …')}`);
}

export class Progress {
  /** What is done; whoever works counts it up. */
  done = 0;
  readonly #name: string;
  readonly #total: number;
  readonly #live = process.stdout.isTTY === true;
  readonly #beganMs = performance.now();
  readonly #timer: NodeJS.Timeout;

  constructor(name: string, total: number) {
    this.#name = name;
    this.#total = total;
    this.#timer = setInterval(() => this.#show(), this.#live ? LIVE_MS : PLAIN_MS);
  }

  /** Shows the last state and leaves it standing. */
  end(): void {
    clearInterval(this.#timer);
    this.#show();
    if (this.#live) process.stdout.write('\n');
  }

  #show(): void {
    const share = this.done / this.#total;
    const rate = this.done / ((performance.now() - this.#beganMs) / 1000);
    const percent = `${Math.floor(share * 100)} %`.padStart(5);
    const figures = `${percent}   ${count(rate).padStart(8)} requests/s`;
    const of = `${count(this.done)} of ${count(this.#total)}`;
    const name = this.#name.padEnd(NAME_COLUMNS);
    if (!this.#live) {
      console.log(`${name} ${figures}   ${of}`);
      return;
    }
    const full = Math.round(share * BAR_COLUMNS);
    const bar = '█'.repeat(full) + dim('░'.repeat(BAR_COLUMNS - full));
    process.stdout.write(`${ERASE_LINE}${bold(name)} ${bar} ${figures}   ${dim(of)}`);
  }
}
