/**
 * Wire cases as literate Markdown: prose, then an `http` block with the bytes that the peer sends and an `outcome` block with
 * what must come of them. The notation is explained in README.md; here it is read. Nothing is played here.
 */

import { readFileSync } from 'node:fs';

/** What the peer does, in order. */
export type Act =
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  | { readonly kind: 'fin' }
  | { readonly kind: 'rst' }
  | { readonly kind: 'wait'; readonly ms: number };

export interface Outcome {
  /** 'OK', or a code of TransferError. */
  readonly code: string;
  /** The option that is named, of LIMIT_EXCEEDED. */
  readonly limit: string | undefined;
  /** Status of the final response; 0: none came. */
  readonly status: number;
  /** All of the body that the caller gets; null: there was no response. */
  readonly body: string | null;
  readonly keep: boolean;
  /** Fields that the response must have (null: must not have). */
  readonly headers: readonly (readonly [name: string, value: string | null])[];
  readonly trailers: readonly (readonly [name: string, value: string | null])[];
  /** Status codes of interim responses; null: whatever came. */
  readonly interim: readonly number[] | null;
  readonly reason: string | undefined;
  readonly httpVersion: string | undefined;
}

export interface Script {
  /** `file.md:line 5. Heading, "variant"`. */
  readonly name: string;
  /** The number of its case in HOSTILE.md. */
  readonly number: number;
  readonly method: string;
  /** Played under the tight limits. */
  readonly tight: boolean;
  readonly acts: readonly Act[];
  readonly outcome: Outcome;
}

interface Block {
  readonly kind: string;
  readonly words: readonly string[];
  readonly lines: readonly string[];
  readonly at: number;
}

const HEADING = /^#{2,3} ((\d+)\. .*)$/;
const FENCE = /^```(\w*) ?(.*)$/;

export function readScripts(file: URL, shown: string): Script[] {
  const scripts: Script[] = [];
  let heading = '';
  let number = 0;
  let variants: string[] = [];
  let http: Block | null = null;
  for (const item of items(readFileSync(file, 'utf8').split('\n'))) {
    if (typeof item === 'string') {
      const found = HEADING.exec(item);
      if (found === null) continue;
      heading = found[1] as string;
      number = Number(found[2]);
      continue;
    }
    if (item.kind === 'each') variants = item.lines.map((line) => line.trim().replace(/^"(.*)"$/, '$1'));
    else if (item.kind === 'http') http = item;
    else if (item.kind === 'outcome') {
      if (http === null || number === 0) throw new Error(`${shown}:${item.at} has an outcome without http or heading`);
      for (const variant of variants.length === 0 ? [null] : variants) {
        const label = `${shown}:${http.at} ${heading}${variant === null ? '' : `: "${variant.slice(0, 40)}"`}`;
        scripts.push(makeScript(label, number, http, item, variant));
      }
      variants = [];
      http = null;
    } else throw new Error(`${shown}:${item.at} has a block of kind ${item.kind}`);
  }
  if (http !== null) throw new Error(`${shown}:${http.at} has no outcome`);
  return scripts;
}

/** Lines of prose as they are; blocks as one item each. */
function* items(lines: readonly string[]): Generator<string | Block> {
  for (let at = 0; at < lines.length; at++) {
    const fence = FENCE.exec(lines[at] as string);
    if (fence === null) {
      yield lines[at] as string;
      continue;
    }
    const end = lines.indexOf('```', at + 1);
    if (end < 0) throw new Error(`the block of line ${at + 1} has no end`);
    const words = (fence[2] as string).split(' ').filter((word) => word !== '');
    yield { kind: fence[1] as string, words, lines: lines.slice(at + 1, end), at: at + 1 };
    at = end;
  }
}

function makeScript(name: string, number: number, http: Block, outcome: Block, variant: string | null): Script {
  const fill = (line: string): string => (variant === null ? line : line.replaceAll('{each}', variant));
  const tight = http.words.includes('tight');
  return {
    name,
    number,
    method: http.words.find((word) => word !== 'tight') ?? 'GET',
    tight,
    acts: readActs(http.lines.map(fill)),
    outcome: readOutcome(outcome.lines.map(fill)),
  };
}

function readActs(lines: readonly string[]): Act[] {
  const acts: Act[] = [];
  let bytes = '';
  const flush = (): void => {
    if (bytes !== '') acts.push({ kind: 'bytes', bytes: Buffer.from(bytes, 'latin1') });
    bytes = '';
  };
  for (const line of lines) {
    const wait = /^WAIT (\d+)$/.exec(line);
    if (line !== 'FIN' && line !== 'RST' && wait === null) {
      bytes += literal(line);
      continue;
    }
    flush();
    if (wait !== null) acts.push({ kind: 'wait', ms: Number(wait[1]) });
    else acts.push({ kind: line === 'FIN' ? 'fin' : 'rst' });
  }
  flush();
  return acts;
}

/** `\r`, `\n`, `\t`, `\xNN`, `\\`, and `repeat(N){…}`; anything else is itself, and printable ASCII. */
export function literal(text: string): string {
  if (!/^[ -~]*$/.test(text)) throw new Error(`${JSON.stringify(text)} has bytes that must be escaped`);
  const repeated = text.replace(/repeat\((\d+)\)\{([^}]*)\}/g, (_, count: string, what: string) =>
    what.repeat(Number(count)),
  );
  return repeated.replace(/\\(x[0-9a-fA-F]{2}|.)/g, (_, escaped: string) => {
    if (escaped === 'r') return '\r';
    if (escaped === 'n') return '\n';
    if (escaped === 't') return '\t';
    if (escaped === '\\' || escaped === '"') return escaped;
    if (escaped.length === 3) return String.fromCharCode(Number.parseInt(escaped.slice(1), 16));
    throw new Error(`there is no escape \\${escaped}`);
  });
}

const QUOTED = '"((?:[^"\\\\]|\\\\.)*)"';
const OK_LINE = new RegExp(`^OK (\\d{3}) (?:body ${QUOTED}|empty) (KEEP|CLOSE)$`);
const FAILURE_LINE = new RegExp(`^([A-Z_]+)(?: (limits\\.\\w+))?(?: after (\\d{3} )?${QUOTED})?$`);
const FIELD_LINE = new RegExp(`^(header|trailer) ([^:]+): (?:${QUOTED}|none)$`);
const REASON_LINE = new RegExp(`^reason ${QUOTED}$`);

function readOutcome(lines: readonly string[]): Outcome {
  const [first = '', ...rest] = lines;
  const headers: [string, string | null][] = [];
  const trailers: [string, string | null][] = [];
  let interim: number[] | null = null;
  let reason: string | undefined;
  let httpVersion: string | undefined;
  for (const line of rest) {
    const field = FIELD_LINE.exec(line);
    const phrase = REASON_LINE.exec(line);
    if (field !== null) {
      const list = field[1] === 'header' ? headers : trailers;
      list.push([field[2] as string, field[3] === undefined ? null : literal(field[3])]);
    } else if (phrase !== null) reason = literal(phrase[1] as string);
    else if (line.startsWith('interim ')) interim = line.split(' ').slice(1).map(Number);
    else if (line.startsWith('version ')) httpVersion = line.slice('version '.length);
    else throw new Error(`an outcome has no line like ${line}`);
  }
  const extra = { headers, trailers, interim, reason, httpVersion };
  const ok = OK_LINE.exec(first);
  if (ok !== null) {
    const body = literal(ok[2] ?? '');
    return { code: 'OK', limit: undefined, status: Number(ok[1]), body, keep: ok[3] === 'KEEP', ...extra };
  }
  const failure = FAILURE_LINE.exec(first);
  if (failure === null) throw new Error(`an outcome does not begin with ${first}`);
  const [, code, limit, status, body] = failure;
  const responded = body !== undefined;
  return {
    code: code as string,
    limit,
    status: responded ? Number(status ?? 200) : 0,
    body: responded ? literal(body) : null,
    keep: false,
    ...extra,
  };
}
