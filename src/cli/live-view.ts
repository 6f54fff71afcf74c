/**
 * A run while it goes on: how far it is, rate, latency and failures, drawn over itself about four times a second on a terminal, and a
 * line per second elsewhere.
 *
 * The cursor is never hidden and no mode of the terminal is changed: every frame is one write that ends with a new line and with the
 * colours as they were. So there is nothing to restore, however the process ends; not even SIGKILL leaves a terminal in disorder.
 */

import type { LoadProgress } from '../main/load/index.ts';
import { rateOf } from './reports/csv.ts';
import { progressLine } from './summary.ts';
import { countedText, countText, timeText } from './text.ts';

const REDRAW_MS = 250;
const MS_PER_SECOND = 1_000;
/** Where the terminal does not say. */
const COLUMNS = 80;
const ROWS = 24;
const BAR_MAX = 40;
const SPARK_MAX = 60;
/** A bar of fewer cells says nothing. */
const SPARK_MIN = 8;
const LABEL_WIDTH = 10;

/** What is drawn to: process.stderr, or a test's own. */
export interface ViewOutput {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

export interface ViewOptions {
  readonly quiet: boolean;
  /** What is under load. */
  readonly title: string;
  /** The run ends after so many; 0: by time. */
  readonly requests: number;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface RunView {
  progress(progress: LoadProgress): void;
  /** A line that stays. */
  say(line: string): void;
  /** `keep`: the last frame stays, because the summary goes elsewhere. May be called twice. */
  end(keep: boolean): void;
}

export function openView(output: ViewOutput, options: ViewOptions): RunView {
  if (options.quiet) return new QuietView();
  // A dumb terminal has no way to write over what was written.
  const isTerminal = output.isTTY === true && options.env.TERM !== 'dumb';
  return isTerminal ? new LiveView(output, options) : new LineView(output);
}

class QuietView implements RunView {
  progress(): void {}
  say(): void {}
  end(): void {}
}

class LineView implements RunView {
  readonly #output: ViewOutput;

  constructor(output: ViewOutput) {
    this.#output = output;
  }

  progress(progress: LoadProgress): void {
    this.say(progressLine(progress));
  }

  say(line: string): void {
    this.#output.write(`${line}\n`);
  }

  end(): void {}
}

class LiveView implements RunView {
  readonly #output: ViewOutput;
  readonly #state: FrameState;
  readonly #look: FrameLook;
  readonly #timer: NodeJS.Timeout;
  /** Lengths of the lines on the screen, as far as they are seen. */
  #drawn: number[] = [];
  #ended = false;

  constructor(output: ViewOutput, { title, requests, env }: ViewOptions) {
    this.#output = output;
    this.#state = new FrameState(title, requests);
    this.#look = lookOf(env);
    this.#timer = setInterval(() => this.#draw(), REDRAW_MS).unref();
    this.#draw();
  }

  progress(progress: LoadProgress): void {
    this.#state.add(progress);
    this.#draw();
  }

  say(line: string): void {
    if (this.#ended) return;
    this.#output.write(`${this.#erasure()}${line}\n`);
    this.#drawn = [];
    this.#draw();
  }

  end(keep: boolean): void {
    if (this.#ended) return;
    clearInterval(this.#timer);
    if (keep) this.#draw();
    else this.#output.write(this.#erasure());
    this.#ended = true;
  }

  #draw(): void {
    if (this.#ended) return;
    const { columns, rows } = sizeOf(this.#output);
    // A line that reached the last column would wrap; a frame as high as the screen would scroll.
    const lines = frameOf(this.#state, performance.now(), columns - 1, this.#look).slice(0, Math.max(1, rows - 1));
    const text = lines.map((line) => `${line}\n`).join('');
    this.#output.write(this.#erasure() + text);
    this.#drawn = lines.map((line) => visibleLength(line));
  }

  /** Up to the first line and everything away. A terminal that has become narrower shows a line as several. */
  #erasure(): string {
    const { columns } = sizeOf(this.#output);
    const rows = this.#drawn.reduce((sum, length) => sum + Math.max(1, Math.ceil(length / columns)), 0);
    return rows === 0 ? '' : `\x1b[${rows}A\r\x1b[J`;
  }
}

/** Some terminals say 0 where they do not know. */
function sizeOf({ columns, rows }: ViewOutput): { readonly columns: number; readonly rows: number } {
  return { columns: columns || COLUMNS, rows: rows || ROWS };
}

// ── A frame ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What was told so far. Time goes on between two tellings. */
export class FrameState {
  readonly title: string;
  readonly requests: number;
  readonly rates: number[] = [];
  readonly p99s: number[] = [];
  readonly errors = new Map<string, number>();
  last: LoadProgress | null = null;
  /** On the clock of `performance.now`. */
  beganMs = 0;
  notStarted = 0;

  constructor(title: string, requests: number) {
    this.title = title;
    this.requests = requests;
  }

  add(progress: LoadProgress, nowMs = performance.now()): void {
    const { second } = progress;
    this.last = progress;
    this.beganMs = nowMs - progress.elapsedMs;
    if (second.lengthMs > 0) {
      this.rates.push(rateOf(second));
      this.p99s.push(second.completed === 0 ? 0 : second.p99Us);
    }
    for (const list of [this.rates, this.p99s]) if (list.length > SPARK_MAX) list.shift();
    if (second.t >= 0) this.notStarted += second.notStarted;
    for (const [code, count] of Object.entries(second.errors)) {
      this.errors.set(code, (this.errors.get(code) ?? 0) + count);
    }
  }
}

export interface FrameLook {
  readonly colour: boolean;
  /** The terminal shows block elements. */
  readonly unicode: boolean;
}

export function lookOf(env: Readonly<Record<string, string | undefined>>): FrameLook {
  // https://no-color.org: present and not empty.
  const colour = (env.NO_COLOR ?? '') === '';
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || '';
  return { colour, unicode: /utf-?8/i.test(locale) };
}

/** Lines of at most `width` cells. */
export function frameOf(state: FrameState, nowMs: number, width: number, look: FrameLook): string[] {
  const { last } = state;
  const dim = (text: string) => painted(text, '2', look);
  const title = painted(clipped(state.title, width, look), '1', look);
  if (last === null) return [title, clipped('Checking the target and starting threads', width, look)];
  const { second, completed, failed } = last;
  const label = (name: string) => name.padEnd(LABEL_WIDTH);
  const withSpark = (name: string, text: string, values: readonly number[]) => {
    const plain = clipped(`${label(name)} ${text}`, width, look);
    const room = Math.min(width - plain.length - 3, SPARK_MAX);
    const spark = room < SPARK_MIN ? '' : `   ${painted(sparkline(values.slice(-room), look), '36', look)}`;
    return dim(plain.slice(0, LABEL_WIDTH)) + plain.slice(LABEL_WIDTH) + spark;
  };
  const latency =
    second.completed === 0 ? 'no answer' : `p50 ${timeText(second.p50Us)}   p99 ${timeText(second.p99Us)}`;
  const requests = [
    `${countText(completed)} completed`,
    `${countText(failed)} failed`,
    ...(state.notStarted > 0 ? [`${countText(state.notStarted)} not started`] : []),
    countedText(second.connections, 'connection'),
  ];
  const lines = [
    title,
    progressBar(state, last, nowMs, width, look),
    withSpark('Rate', `${countText(rateOf(second))}/s`.padEnd(26), state.rates),
    withSpark('Latency', latency.padEnd(26), state.p99s),
    withSpark('Requests', requests.join('   '), []).trimEnd(),
  ];
  if (state.errors.size > 0) {
    const errors = [...state.errors]
      .sort(([, a], [, b]) => b - a)
      .map(([code, count]) => `${countText(count)} ${code}`);
    lines.push(painted(clipped(`${label('Failed')} ${errors.join('   ')}`, width, look), '31', look));
  }
  return lines;
}

function progressBar(
  state: FrameState,
  { totalMs, phase, completed, failed, second }: LoadProgress,
  nowMs: number,
  width: number,
  look: FrameLook,
): string {
  const elapsedMs = nowMs - state.beganMs;
  const ended = completed + failed;
  const byTime = totalMs > 0 ? elapsedMs / totalMs : 0;
  const byRequests = state.requests > 0 ? ended / state.requests : 0;
  const share = Math.min(1, Math.max(byTime, byRequests));
  const parts: string[] = [];
  if (phase === 'draining') parts.push('waiting for the last answers');
  else if (byRequests > byTime || totalMs === 0) {
    parts.push(`${countText(ended)} of ${countText(state.requests)}`);
    const rate = rateOf(second);
    if (rate > 0) parts.push(`about ${clockText(((state.requests - ended) / rate) * MS_PER_SECOND)} left`);
  } else {
    parts.push(`${clockText(Math.min(elapsedMs, totalMs))} of ${clockText(totalMs)}`);
    parts.push(`${clockText(Math.max(0, totalMs - elapsedMs))} left`);
  }
  if (phase === 'warm-up') parts.push('warming up');
  const percent = `${Math.floor(share * 100)} %`.padStart(5);
  const text = `${percent}  ${parts.join(', ')}`;
  const cells = Math.min(BAR_MAX, width - text.length - 1);
  if (cells < SPARK_MIN) return clipped(text.trimStart(), width, look);
  const full = Math.round(share * cells);
  const [on, off] = look.unicode ? ['█', '░'] : ['#', '.'];
  return `${painted(on.repeat(full), '32', look)}${off.repeat(cells - full)} ${text}`;
}

const BLOCKS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SIGNS = ['_', '.', '-', '=', '+', '*', '%', '#'];

/** Heights from 0 to the highest of them. */
export function sparkline(values: readonly number[], { unicode }: FrameLook): string {
  const steps = unicode ? BLOCKS : SIGNS;
  const most = Math.max(...values, 0);
  return values
    .map((value) => (most === 0 ? steps[0] : steps[Math.round((value / most) * (steps.length - 1))]))
    .join('');
}

/** `4.2 s`, `1:05`, `2:00:00`. */
function clockText(ms: number): string {
  const seconds = ms / MS_PER_SECOND;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  const two = (value: number) => `${value}`.padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

function clipped(text: string, width: number, { unicode }: FrameLook): string {
  if (text.length <= width) return text;
  return width < 2 ? text.slice(0, Math.max(0, width)) : `${text.slice(0, width - 1)}${unicode ? '…' : '~'}`;
}

function painted(text: string, code: string, { colour }: FrameLook): string {
  return colour && text !== '' ? `\x1b[${code}m${text}\x1b[0m` : text;
}

function visibleLength(line: string): number {
  let length = line.length;
  for (let at = line.indexOf('\x1b['); at >= 0; at = line.indexOf('\x1b[', at + 1))
    length -= line.indexOf('m', at) - at + 1;
  return length;
}
