/** One virtual user: runs the scenario's function, one iteration after the other, with what is its own. When, is its generator's to say. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Scenario, ScenarioContext } from '../../protocol/load/scenario.ts';
import type { LoadTable } from '../../protocol/load/template.ts';
import { ScenarioClient, type ScenarioHost } from './scenario-client.ts';
import type { ScenarioRecorder } from './scenario-recorder.ts';
import type { TemplateRow } from './template.ts';

export class VirtualUser {
  readonly index: number;
  /** When the present iteration should have begun, on the multi's clock. */
  dueMs = 0;
  readonly #client: ScenarioClient;
  readonly #scenario: Scenario;
  readonly #context: ScenarioContext;
  readonly #user: { readonly id: number; iteration: number };
  readonly #tables: readonly LoadTable[];
  readonly #recorder: ScenarioRecorder;
  #rows: ScenarioContext['rows'] = {};

  /** `id`: over all shards. `index`: in this one. */
  constructor(host: ScenarioHost, scenario: Scenario, recorder: ScenarioRecorder, id: number, index: number) {
    const client = new ScenarioClient(host, index, new URL(host.scenario.url));
    const user = { id, iteration: 0 };
    const rows = () => this.#rows;
    this.index = index;
    this.#client = client;
    this.#scenario = scenario;
    this.#user = user;
    this.#tables = host.plan.tables;
    this.#recorder = recorder;
    this.#context = Object.freeze({
      http: client,
      url: host.scenario.url,
      user,
      data: host.scenario.data,
      get rows() {
        return rows();
      },
      vars: {},
      check: <T>(value: T, checks: Readonly<Record<string, (value: T) => unknown>>) => this.#check(value, checks),
      think,
      tag: (name: string) => {
        client.tagName = `${name}`;
      },
    });
  }

  /** One iteration. Rejects with what the scenario throws. */
  async iterate(row: TemplateRow, dueMs: number): Promise<void> {
    this.#user.iteration++;
    this.#client.tagName = '';
    this.dueMs = dueMs;
    if (this.#tables.length > 0) this.#rows = rowsOf(this.#tables, row);
    await this.#scenario(this.#context);
  }

  #check<T>(value: T, checks: Readonly<Record<string, (value: T) => unknown>>): boolean {
    let all = true;
    for (const [name, says] of Object.entries(checks)) {
      let passed = false;
      try {
        passed = Boolean(says(value));
      } catch {
        // What cannot be looked at is not as it should be.
      }
      if (this.#client.host.counts(this.dueMs)) this.#recorder.check(name, passed);
      all &&= passed;
    }
    return all;
  }
}

async function think(leastMs: number, mostMs = leastMs): Promise<void> {
  await delay(leastMs + Math.random() * (mostMs - leastMs));
}

function rowsOf(tables: readonly LoadTable[], { rows }: TemplateRow): ScenarioContext['rows'] {
  return Object.fromEntries(
    tables.map(({ name, columns, values }, table) => {
      const row = rows[table] as number;
      return [
        name,
        Object.fromEntries(
          columns.map((column, index) => [column, (values[index] as readonly string[])[row] as string]),
        ),
      ];
    }),
  );
}
