/** What is seen while a run goes on: frames for terminals of several widths and looks, plain lines elsewhere, and a real terminal. */

import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import type { LoadProgress, LoadSecond } from 'shardfetch/load';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { FrameState, frameOf, lookOf, openView, sparkline } from '../../src/cli/live-view.ts';
import { startServer } from './rig.ts';

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const PLAIN = { colour: false, unicode: true };
const ESCAPE = '\x1b';
const COLOUR = new RegExp(`${ESCAPE}\\[(\\d+)m`, 'g');
const UP = new RegExp(`${ESCAPE}\\[(\\d+)A`);
const ALLOWED = new RegExp(`${ESCAPE}\\[(?:\\d+A|J|\\d+m)`, 'g');
const ERASURE = new RegExp(`${ESCAPE}\\[\\d+A\r${ESCAPE}\\[J`);
/** Up, clearing below, other sequences, a new line, a letter. */
const CONTROL = new RegExp(
  `${ESCAPE}\\[(\\d+)A|(${ESCAPE}\\[J)|(${ESCAPE}\\[[^A-Za-z]*[A-Za-z]|\r)|(\n)|([^${ESCAPE}\r\n])`,
  'g',
);

function second(t: number, changes: Partial<LoadSecond> = {}): LoadSecond {
  return {
    t,
    lengthMs: 1_000,
    started: 1_200,
    completed: 1_200,
    failed: 0,
    notStarted: 0,
    p50Us: 1_500,
    p90Us: 2_500,
    p99Us: 9_000,
    maxUs: 12_000,
    connections: 64,
    bytes: 6_000,
    statuses: { '2xx': 1_200 },
    errors: {},
    ...changes,
  };
}

function progress(t: number, changes: Partial<LoadProgress> = {}): LoadProgress {
  return {
    elapsedMs: (t + 1) * 1_000,
    totalMs: 10_000,
    phase: 'measuring',
    second: second(t),
    completed: 1_200 * (t + 1),
    failed: 0,
    ...changes,
  };
}

function stateAfter(...told: LoadProgress[]): FrameState {
  const state = new FrameState('shardfetch load http://127.0.0.1:8080/', 0);
  for (const one of told) state.add(one, one.elapsedMs);
  return state;
}

describe('a frame', () => {
  test('says how far, how fast, how slow, how many; time goes on between two tellings', () => {
    const state = stateAfter(progress(0), progress(1), progress(2));
    const lines = frameOf(state, 3_500, 100, PLAIN);
    expect(lines[0]).toBe('shardfetch load http://127.0.0.1:8080/');
    expect(lines[1]).toMatch(/^█{14}░{26} +35 % {2}3\.5 s of 10 s, 6\.5 s left$/);
    expect(lines[2]).toMatch(/^Rate +1,200\/s +███$/);
    expect(lines[3]).toMatch(/^Latency +p50 1\.50 ms {3}p99 9\.00 ms +███$/);
    expect(lines[4]).toMatch(/^Requests +3,600 completed {3}0 failed {3}64 connections$/);
    expect(lines).toHaveLength(5);
  });

  test('failures by code as they come, the most frequent first; what was not started', () => {
    const failing = (t: number, errors: Record<string, number>) =>
      progress(t, { second: second(t, { errors, notStarted: 2 }), failed: 5 });
    const state = stateAfter(failing(0, { TIMEOUT: 1 }), failing(1, { TIMEOUT: 1, CONNECTION_LOST: 3 }));
    const lines = frameOf(state, 2_000, 100, PLAIN);
    expect(lines[4]).toContain('4 not started');
    expect(lines[5]).toMatch(/^Failed +3 CONNECTION_LOST {3}2 TIMEOUT$/);
  });

  test('a run by requests, warm-up, the end, a second without an answer', () => {
    const byRequests = new FrameState('x', 10_000);
    byRequests.add(progress(0, { totalMs: 0 }), 1_000);
    expect(frameOf(byRequests, 1_000, 100, PLAIN)[1]).toMatch(/12 % {2}1,200 of 10,000, about 7\.3 s left$/);
    expect(frameOf(stateAfter(progress(-1, { phase: 'warm-up' })), 0, 100, PLAIN)[1]).toContain('warming up');
    expect(frameOf(stateAfter(progress(9, { phase: 'draining' })), 10_500, 100, PLAIN)[1]).toMatch(
      /100 % {2}waiting for the last answers$/,
    );
    const silent = progress(0, { second: second(0, { completed: 0 }) });
    expect(frameOf(stateAfter(silent), 1_000, 100, PLAIN)[3]).toContain('no answer');
    expect(frameOf(new FrameState('x', 0), 0, 100, PLAIN)[1]).toContain('Checking');
  });

  test.each([20, 39, 60, 79, 200])('never wider than %i cells, with colours or without', (width) => {
    const errors = { CONNECTION_LOST: 12_345, TOTAL_TIMEOUT: 6_789, CONNECT_REFUSED: 1 };
    const state = stateAfter(...Array.from({ length: 90 }, (_, t) => progress(t, { second: second(t, { errors }) })));
    for (const look of [PLAIN, { colour: true, unicode: false }]) {
      for (const line of frameOf(state, 5_000, width, look)) {
        expect(stripVTControlCharacters(line).length).toBeLessThanOrEqual(width);
      }
    }
  });

  test('NO_COLOR, and terminals without UTF-8', () => {
    expect(lookOf({ LANG: 'de_DE.UTF-8' })).toEqual({ colour: true, unicode: true });
    expect(lookOf({ LC_ALL: 'C', LANG: 'de_DE.UTF-8', NO_COLOR: '1' })).toEqual({ colour: false, unicode: false });
    expect(lookOf({ NO_COLOR: '' }).colour).toBe(true);
    const state = stateAfter(progress(0));
    expect(frameOf(state, 1_000, 80, { colour: true, unicode: true }).join('')).toContain(`${ESCAPE}[`);
    const ascii = frameOf(state, 1_000, 80, { colour: false, unicode: false }).join('');
    expect(ascii).toMatch(/^[ -~]+$/);
  });

  test('a sparkline goes from 0 to the highest', () => {
    expect(sparkline([0, 5, 10], PLAIN)).toBe('▁▅█');
    expect(sparkline([0, 0], PLAIN)).toBe('▁▁');
    expect(sparkline([], PLAIN)).toBe('');
  });
});

/** A terminal as far as the view uses one: new lines, up, and clearing below. */
class Screen {
  readonly isTTY = true;
  columns = 60;
  rows = 20;
  readonly writes: string[] = [];
  lines: string[] = [''];
  #row = 0;

  write(text: string): void {
    this.writes.push(text);
    for (const [, up, clear, other, newLine, letter] of text.matchAll(CONTROL)) {
      if (up !== undefined) this.#row = Math.max(0, this.#row - Number(up));
      else if (clear !== undefined) this.lines = [...this.lines.slice(0, this.#row), ''];
      else if (newLine !== undefined) this.lines[++this.#row] ??= '';
      else if (other === undefined) this.lines[this.#row] += letter;
    }
  }
}

describe('on a terminal', () => {
  const options = { quiet: false, title: 'shardfetch load URL', requests: 0, env: { NO_COLOR: '1', LANG: 'C.UTF-8' } };
  afterEach(() => {
    vi.useRealTimers();
  });

  test('draws over itself about four times a second, in one write each; lines that are said stay above', () => {
    vi.useFakeTimers();
    const screen = new Screen();
    const view = openView(screen, options);
    view.progress(progress(0));
    const before = screen.writes.length;
    vi.advanceTimersByTime(1_000);
    expect(screen.writes.length - before).toBe(4);
    view.say('Ending; once more ends at once.');
    view.progress(progress(1));
    expect(screen.lines.filter((line) => line.startsWith('Rate'))).toHaveLength(1);
    expect(screen.lines[0]).toBe('Ending; once more ends at once.');
    view.end(true);
    expect(screen.lines.at(-1)).toBe('');
    const after = screen.writes.length;
    view.progress(progress(2));
    view.say('late');
    view.end(false);
    vi.advanceTimersByTime(1_000);
    expect(screen.writes.length).toBe(after);
  });

  test('makes room for the summary, and leaves no mode changed, whenever it stops', () => {
    const screen = new Screen();
    const view = openView(screen, { ...options, env: { LANG: 'C.UTF-8' } });
    view.progress(progress(0, { second: second(0, { errors: { TIMEOUT: 1 } }) }));
    for (const write of screen.writes) {
      // Only colours, up and clearing below; each write ends with the colours off and at the beginning of a line.
      expect(write.replaceAll(ALLOWED, '')).not.toContain(ESCAPE);
      expect(write.endsWith('\n')).toBe(true);
      const colours = [...write.matchAll(COLOUR)].map(([, code]) => code);
      expect(colours.at(-1) ?? '0').toBe('0');
    }
    view.end(false);
    expect(screen.lines).toEqual(['']);
  });

  test('a terminal that has become narrower is cleared all the same', () => {
    const screen = new Screen();
    screen.columns = 80;
    const view = openView(screen, options);
    view.progress(progress(0));
    screen.columns = 40;
    view.progress(progress(1));
    // Five lines, of which the longer ones now take two rows each.
    const [, up] = UP.exec(screen.writes.at(-1) ?? '') ?? [];
    expect(Number(up)).toBeGreaterThan(5);
    view.end(false);
  });

  test('a low terminal shows the beginning of a frame', () => {
    const screen = new Screen();
    screen.rows = 3;
    const view = openView(screen, options);
    view.progress(progress(0));
    expect(screen.writes.at(-1)?.split('\n')).toHaveLength(3);
    view.end(false);
  });

  test('elsewhere lines; on a dumb terminal lines; with --quiet nothing', () => {
    for (const [isTTY, TERM] of [
      [false, 'xterm'],
      [true, 'dumb'],
    ] as const) {
      const screen = Object.assign(new Screen(), { isTTY });
      const view = openView(screen, { ...options, env: { TERM } });
      view.progress(progress(0));
      view.say('said');
      view.end(false);
      expect(screen.writes).toHaveLength(2);
      expect(screen.writes.join('')).not.toContain(ESCAPE);
      expect(screen.writes[0]).toMatch(/^1 s of 10 s {3}1,200\/s {3}p50 1\.50 ms/);
    }
    const screen = new Screen();
    const view = openView(screen, { ...options, quiet: true });
    view.progress(progress(0));
    view.say('said');
    view.end(true);
    expect(screen.writes).toEqual([]);
  });
});

const hasScript = spawnSync('script', ['--version']).status === 0;

describe.skipIf(!hasScript).concurrent('in a real terminal (skipped where there is no script(1))', () => {
  /** `signalAfter`: SIGINT goes to the process group as from Ctrl-C, when this text was seen. */
  const inTerminal = (args: string, signalAfter?: RegExp) =>
    new Promise<{ code: number | null; text: string }>((resolve) => {
      const child = spawn(
        'script',
        ['-qefc', `stty cols 70 rows 24 -echo; exec ${process.execPath} ${COMMAND} ${args}`, '/dev/null'],
        { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, LANG: 'C.UTF-8', TERM: 'xterm', NO_COLOR: '' } },
      );
      let text = '';
      let signalled = false;
      child.stdout.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
        if (signalAfter === undefined || signalled || !signalAfter.test(text)) return;
        signalled = true;
        child.stdin.write('\x03');
      });
      child.once('close', (code) => resolve({ code, text }));
    });

  test('frames, then the summary alone on the screen; the cursor is never hidden', async () => {
    const { url } = await startServer((_request, response) => void setTimeout(() => response.end('x'), 5));
    const { code, text } = await inTerminal(`load -c 2 -d 2s ${url}`);
    expect(code).toBe(0);
    expect(text).toContain('█');
    expect(text.split(ERASURE).length).toBeGreaterThan(2);
    expect(text).not.toContain(`${ESCAPE}[?25l`);
    const screen = new Screen();
    screen.write(text.replaceAll('\r\n', '\n'));
    expect(screen.lines[0]).toMatch(/^(?:Done|The generator)/);
    expect(screen.lines.join('\n')).not.toContain('Checking');
  });

  test('Ctrl-C: the message, then the report of what was done', async () => {
    const { url } = await startServer((_request, response) => void setTimeout(() => response.end('x'), 5));
    const { code, text } = await inTerminal(`load -c 2 -d 60s ${url}`, /Rate/);
    expect(code).toBe(130);
    expect(text).toContain('Ending; once more ends at once.');
    const screen = new Screen();
    screen.write(text.replaceAll('\r\n', '\n').replaceAll('^C', ''));
    expect(screen.lines[0]).toBe('Ending; once more ends at once.');
    expect(screen.lines.join('\n')).toMatch(/Ended early by a signal, after \d/);
  });
});
