/**
 * A scenario's module, as the main thread sees it: loaded before anything else, so that what is wrong with it is a sentence; its options,
 * its `setup` before the run and its `teardown` after it. What it does in between is the shards'.
 */

import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isUrl } from '../../protocol/built-ins.ts';
import { invalidArgument } from '../../protocol/errors.ts';
import { headerPairs } from '../../protocol/http1/header-pairs.ts';
import type { LoadTarget } from '../../protocol/load/plan.ts';
import type { Scenario, ScenarioPlan } from '../../protocol/load/scenario.ts';
import { describe } from '../../protocol/options.ts';
import { originOf } from '../../protocol/origin.ts';
import { thrownText } from '../../protocol/thrown-text.ts';
import { LoadError } from './load-error.ts';
import type { LoadOptions } from './load-options.ts';
import { authorizationOf, parseUrl } from './targets.ts';

/** What `setup` and `teardown` are called with. */
export interface ScenarioSetupContext {
  /** Of the run. */
  readonly url: string;
}

/** What a scenario's module exports. */
export interface ScenarioModule<Data = unknown> {
  readonly default: Scenario<Data>;
  /** Where the caller of the run says nothing else. */
  readonly options?: ScenarioOptions;
  /** Runs once, in the main thread, before anything is sent. All users share what it answers, as a copy that is frozen. */
  readonly setup?: (context: ScenarioSetupContext) => Data | Promise<Data>;
  /** Runs once, in the main thread, when the run is over, however it ended. */
  readonly teardown?: (data: Data, context: ScenarioSetupContext) => unknown;
}

/** What a scenario may say of its run; see `LoadOptions`. */
export type ScenarioOptions = Omit<
  LoadOptions,
  'scenario' | 'targets' | 'method' | 'body' | 'requests' | 'templates' | 'signal' | 'onProgress'
>;

/** What decides the shape of a run: a caller who says one of them does not want the scenario's. */
const SHAPES = ['rate', 'rateStages', 'connectionStages'] as const;
/** Of a run without a scenario. */
const NOT_WITH_SCENARIO = ['targets', 'method', 'body', 'requests', 'templates'] as const;
/** What is decoded for a scenario: no zstd, which Node 20 does not know. */
const CODINGS = 'gzip, deflate, br';

export class LoadedScenario {
  readonly file: string;
  readonly #module: ScenarioModule;

  constructor(file: string, module: ScenarioModule) {
    this.file = file;
    this.#module = module;
  }

  /** The caller's options, and where they say nothing the scenario's. */
  complete(given: LoadOptions): LoadOptions {
    const own: LoadOptions = { ...this.#module.options };
    if (SHAPES.some((name) => given[name] !== undefined)) for (const name of SHAPES) delete own[name];
    const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
    const thresholds = [...(own.thresholds ?? []), ...(given.thresholds ?? [])];
    return { ...own, ...said, scenario: this.file, ...(thresholds.length === 0 ? {} : { thresholds }) };
  }

  /** What all users share. Throws LoadError. */
  async setup(url: string): Promise<unknown> {
    let data: unknown;
    try {
      data = await this.#module.setup?.({ url });
    } catch (cause) {
      throw new LoadError('arguments', `setup() of ${this.#name} failed: ${thrownText(cause)}`, { cause });
    }
    try {
      return structuredClone(data);
    } catch (cause) {
      throw new LoadError(
        'arguments',
        `setup() of ${this.#name} answered what cannot be copied into other threads: ${thrownText(cause)}`,
        { cause },
      );
    }
  }

  /** A sentence where it failed; null else. */
  async teardown(data: unknown, url: string): Promise<string | null> {
    try {
      await this.#module.teardown?.(data, { url });
      return null;
    } catch (error) {
      return `teardown() of ${this.#name} failed: ${thrownText(error)}`;
    }
  }

  get #name(): string {
    return path.basename(this.file);
  }
}

/** Throws LoadError. */
export async function loadScenario(given: unknown): Promise<LoadedScenario> {
  const file = scenarioFile(given);
  const name = path.basename(file);
  try {
    accessSync(file, constants.R_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new LoadError('arguments', `The scenario ${file} cannot be read (${code ?? 'unknown reason'}).`);
  }
  if (/\.[cm]?tsx?$/.test(name) && !runsTypeScript()) {
    throw new LoadError(
      'arguments',
      `${name} is TypeScript, which Node ${process.version} does not run; use Node 22.18 or newer, or write it as .mjs.`,
    );
  }
  let module: Partial<ScenarioModule>;
  try {
    module = (await import(pathToFileURL(file).href)) as Partial<ScenarioModule>;
  } catch (cause) {
    throw new LoadError('arguments', `The scenario ${name} cannot be loaded: ${thrownText(cause)}`, { cause });
  }
  const { default: run, options, setup, teardown } = module;
  const bad = (what: string, must: string, value: unknown) =>
    new LoadError('arguments', `${what} of the scenario ${name} must be ${must}, not ${describe(value)}.`);
  if (typeof run !== 'function') throw bad('The default export', 'an async function', run);
  if (options !== undefined && (typeof options !== 'object' || options === null)) {
    throw bad('options', 'an object', options);
  }
  if (setup !== undefined && typeof setup !== 'function') throw bad('setup', 'a function', setup);
  if (teardown !== undefined && typeof teardown !== 'function') throw bad('teardown', 'a function', teardown);
  return new LoadedScenario(file, module as ScenarioModule);
}

/** What of a run's options becomes a scenario's plan. Throws TransferError INVALID_ARGUMENT. */
export function planScenario(given: LoadOptions): { scenario: ScenarioPlan; target: LoadTarget } {
  for (const option of NOT_WITH_SCENARIO) {
    if (given[option] === undefined) continue;
    const instead = option === 'requests' ? 'give iterations' : 'the scenario says what is sent';
    throw invalidArgument(option, `${option} cannot be given with a scenario; ${instead}.`);
  }
  if (given.url === undefined) {
    throw invalidArgument('url', 'Say where the scenario takes place: url, to which its requests may be relative.');
  }
  const url = parseUrl('url', given.url, null);
  const authorization = authorizationOf(given.auth, url, null) ?? '';
  url.username = '';
  url.password = '';
  originOf(url);
  const headers = headerPairs(given.headers);
  if (given.compressed === true && !headers.some(([name]) => name.toLowerCase() === 'accept-encoding')) {
    headers.push(['accept-encoding', CODINGS]);
  }
  const file = scenarioFile(given.scenario);
  return {
    scenario: { file, url: url.href, headers, authorization, data: undefined },
    target: {
      url: url.href,
      method: 'SCENARIO',
      headers: [],
      body: null,
      bodyFile: null,
      template: null,
      weight: 1,
      tag: path.basename(file),
    },
  };
}

function scenarioFile(given: unknown): string {
  if (isUrl(given) || (typeof given === 'string' && given.startsWith('file:'))) return fileURLToPath(given);
  if (typeof given === 'string' && given !== '') return path.resolve(given);
  throw new LoadError('arguments', `scenario must be the path of a module, not ${describe(given)}.`);
}

/** Node strips types by itself since 22.18; what loads TypeScript otherwise (a loader) says so too. */
function runsTypeScript(): boolean {
  const { typescript } = process.features as { typescript?: string | false };
  return typeof typescript === 'string';
}
