/** The processes of a hold: started together, told together, ended together. What they tell is `hold-merge.ts`'s. */

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { FromHoldProcess, HoldPlan, ToHoldProcess } from '../../protocol/load/hold.ts';
import { LoadError } from './load-error.ts';

const ENTRY = fileURLToPath(new URL('../../worker/load/hold-process.js', import.meta.url));
/** A process that was told to end and has not is killed after so long. */
const END_MS = 10_000;
const STDERR_MAX = 2_000;

export class HoldProcesses {
  readonly #children: readonly ChildProcess[];
  readonly #done: boolean[];
  /** Settles when all have told their last, or one has died. */
  readonly ended: Promise<void>;

  constructor(plan: HoldPlan, onMessage: (message: FromHoldProcess, process: number) => void) {
    const { shards } = plan.load;
    this.#done = new Array<boolean>(shards).fill(false);
    this.#children = Array.from({ length: shards }, () =>
      // `detached`: Ctrl-C in a terminal must reach us alone. A process ends when our end of the channel closes.
      fork(ENTRY, [], {
        detached: true,
        serialization: 'advanced',
        execArgv: ['--expose-gc'],
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      }),
    );
    this.ended = Promise.all(this.#children.map((child, index) => this.#watch(child, index, plan, onMessage))).then(
      () => {},
    );
    // Whoever waits for a step of the run hears of it there.
    this.ended.catch(() => {});
  }

  tell(message: ToHoldProcess): void {
    for (const [index, child] of this.#children.entries()) {
      if (!this.#done[index] && child.connected) child.send(message);
    }
  }

  /** All are gone when it resolves. */
  async terminate(): Promise<void> {
    await Promise.all(this.#children.map(endOf));
  }

  #watch(
    child: ChildProcess,
    process: number,
    plan: HoldPlan,
    onMessage: (message: FromHoldProcess, process: number) => void,
  ): Promise<void> {
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_MAX);
    });
    return new Promise((resolve, reject) => {
      child.on('message', (message: FromHoldProcess) => {
        if (message.kind === 'ready') child.send({ kind: 'plan', plan, process } satisfies ToHoldProcess);
        if (message.kind === 'done') this.#done[process] = true;
        onMessage(message, process);
        if (message.kind === 'done') resolve();
      });
      child.once('error', (error) => reject(died(process, error.message, error)));
      child.once('exit', (code, signal) => {
        if (!this.#done[process]) reject(died(process, reasonOf(code, signal, stderr)));
      });
    });
  }
}

function reasonOf(code: number | null, signal: string | null, stderr: string): string {
  const said = /^\w*Error.*$/m.exec(stderr)?.[0];
  if (said !== undefined) return said;
  return signal === null ? `exit code ${code}` : `${signal} (was there enough memory?)`;
}

function died(process: number, reason: string, cause?: unknown): LoadError {
  return new LoadError('generator', `Process ${process} of those that hold died: ${reason}.`, { cause });
}

function endOf(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    if (child.connected) child.disconnect();
  });
}
