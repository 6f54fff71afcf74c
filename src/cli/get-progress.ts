/**
 * Downloads while they go on. On a terminal a bar for each that runs and one for all, drawn over themselves; else a line for each that
 * has ended, and one for all every few seconds. Like the live view of a run it changes no mode of the terminal.
 */

import type { DownloadState } from '../main/download.ts';
import { errorText } from './flag-names.ts';
import type { ViewOutput } from './live-view.ts';
import { bytesText, countText, plainText } from './text.ts';

const REDRAW_MS = 200;
const LINE_MS = 5_000;
const COLUMNS = 80;
const ROWS = 24;
const BAR_CELLS = 20;
const NAME_CELLS = 28;
const MS_PER_SECOND = 1_000;
/** Speed is of the last seconds. */
const SPEED_MS = 3_000;

export interface GetView {
  /** One has ended. */
  ended(state: DownloadState): void;
  end(): void;
}

export function openGetView(
  output: ViewOutput,
  states: readonly DownloadState[],
  quiet: boolean,
  env: Readonly<Record<string, string | undefined>>,
): GetView {
  if (quiet) return new ErrorsOnly(output);
  return output.isTTY === true && env.TERM !== 'dumb' ? new Bars(output, states) : new Lines(output, states);
}

class ErrorsOnly implements GetView {
  readonly #output: ViewOutput;

  constructor(output: ViewOutput) {
    this.#output = output;
  }

  ended(state: DownloadState): void {
    if (state.error !== null) this.#output.write(`${endLine(state)}\n`);
  }

  end(): void {}
}

class Lines implements GetView {
  readonly #output: ViewOutput;
  readonly #timer: NodeJS.Timeout;

  constructor(output: ViewOutput, states: readonly DownloadState[]) {
    this.#output = output;
    const speed = new Speed();
    this.#timer = setInterval(() => output.write(`${totalLine(states, speed)}\n`), LINE_MS);
  }

  ended(state: DownloadState): void {
    this.#output.write(`${endLine(state)}\n`);
  }

  end(): void {
    clearInterval(this.#timer);
  }
}

class Bars implements GetView {
  readonly #output: ViewOutput;
  readonly #states: readonly DownloadState[];
  readonly #timer: NodeJS.Timeout;
  readonly #speed = new Speed();
  readonly #speeds = new Map<DownloadState, Speed>();
  /** Lines that the last frame has. */
  #drawn = 0;

  constructor(output: ViewOutput, states: readonly DownloadState[]) {
    this.#output = output;
    this.#states = states;
    this.#timer = setInterval(() => this.#draw(''), REDRAW_MS);
  }

  ended(state: DownloadState): void {
    this.#speeds.delete(state);
    // A sentence that says what went wrong is never cut.
    const line = endLine(state);
    this.#draw(`${state.error === null ? this.#fit(line) : line}\n`);
  }

  end(): void {
    clearInterval(this.#timer);
    this.#output.write(this.#back());
    this.#drawn = 0;
  }

  /** `above`: lines that stay, over the bars. One write, so that no frame is seen half. */
  #draw(above: string): void {
    const rows = Math.max(1, (this.#output.rows || ROWS) - 3);
    const running = this.#states.filter(({ phase }) => phase === 'running' || phase === 'retrying');
    const lines = running.slice(0, rows).map((state) => this.#fit(barLine(state, this.#speedOf(state))));
    if (running.length > rows) lines.push(`… and ${countText(running.length - rows)} more`);
    lines.push(this.#fit(totalLine(this.#states, this.#speed)));
    this.#output.write(`${this.#back()}${above}${lines.map((line) => `${line}\n`).join('')}`);
    this.#drawn = lines.length;
  }

  #back(): string {
    return this.#drawn === 0 ? '' : `\u001b[${this.#drawn}A\r\u001b[J`;
  }

  #fit(line: string): string {
    return line.slice(0, Math.max(20, (this.#output.columns || COLUMNS) - 1));
  }

  #speedOf(state: DownloadState): number {
    let speed = this.#speeds.get(state);
    if (speed === undefined) {
      speed = new Speed();
      this.#speeds.set(state, speed);
    }
    return speed.of(state.received);
  }
}

/** Bytes a second, over the last SPEED_MS. */
class Speed {
  readonly #samples: [ms: number, bytes: number][] = [];

  of(bytes: number): number {
    const now = performance.now();
    this.#samples.push([now, bytes]);
    while (this.#samples.length > 2 && now - (this.#samples[0]?.[0] ?? now) > SPEED_MS) this.#samples.shift();
    const [firstMs, firstBytes] = this.#samples[0] ?? [now, bytes];
    return now > firstMs ? ((bytes - firstBytes) * MS_PER_SECOND) / (now - firstMs) : 0;
  }
}

function barLine(state: DownloadState, speed: number): string {
  const { bytes, total, phase } = state;
  const name = nameOf(state).slice(-NAME_CELLS).padEnd(NAME_CELLS);
  if (phase === 'retrying') return `${name} waits to try again   ${bytesText(bytes)} so far`;
  const rate = `${bytesText(Math.round(speed))}/s`.padStart(10);
  if (total < 0) return `${name} ${' '.repeat(BAR_CELLS + 7)} ${bytesText(bytes).padStart(8)} ${rate}`;
  const share = total === 0 ? 1 : bytes / total;
  const cells = Math.min(BAR_CELLS, Math.round(share * BAR_CELLS));
  const bar = `[${'='.repeat(cells).padEnd(BAR_CELLS)}]`;
  const left = speed > 0 ? `  ${secondsText((total - bytes) / speed)} left` : '';
  return `${name} ${bar} ${String(Math.floor(share * 100)).padStart(3)} % ${bytesText(bytes).padStart(8)} ${rate}${left}`;
}

function totalLine(states: readonly DownloadState[], speed: Speed): string {
  const count = (...phases: DownloadState['phase'][]) => states.filter(({ phase }) => phases.includes(phase)).length;
  const received = states.reduce((sum, state) => sum + state.received, 0);
  const failed = count('failed');
  return `${countText(count('done', 'there'))} of ${countText(states.length)} done, ${countText(count('running', 'retrying'))} running${failed > 0 ? `, ${countText(failed)} failed` : ''}   ${bytesText(received)}   ${bytesText(Math.round(speed.of(received)))}/s`;
}

function endLine(state: DownloadState): string {
  const { error, phase, bytes, beganMs, endedMs, resumedFrom } = state;
  if (error !== null) return `shardfetch: ${plainText(errorText('get', error))}`;
  if (phase === 'there') return `${nameOf(state)}   is there already, whole`;
  const resumed = resumedFrom > 0 ? `, the first ${bytesText(resumedFrom)} from an earlier run` : '';
  return `${nameOf(state)}   ${bytesText(bytes)} in ${secondsText((endedMs - beganMs) / MS_PER_SECOND)}${resumed}`;
}

export function nameOf({ path, url }: DownloadState): string {
  // A name on the command line may hold anything.
  return (path ?? url).replace(/\p{Cc}/gu, '?');
}

export function secondsText(seconds: number): string {
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  if (seconds < 6_000) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3_600)} h`;
}
