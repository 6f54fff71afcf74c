/**
 * A target with templates, compiled: the request's head is composed once, with a mark in each place, and cut at the marks. So a
 * templated request passes the same checks as any other, and what is filled in later is checked here as well: a value of a table that
 * cannot stand in a header is told before the run.
 */

import { invalidArgument } from '../../protocol/errors.ts';
import { isFieldValue } from '../../protocol/http1/tokens.ts';
import {
  hasTemplate,
  type LoadTable,
  parseTemplate,
  placesIn,
  type RequestPiece,
  type RequestTemplate,
  type TemplatePlace,
} from '../../protocol/load/template.ts';

/** Letters and digits: neither a URL nor a header changes them. */
const MARK = 'shardfetchplace';
const MARKED = new RegExp(`${MARK}(\\d+)end`, 'g');

/** The places of one target. */
export class Places {
  readonly #tables: readonly LoadTable[];
  readonly #pieces: Exclude<RequestPiece, string>[] = [];
  /** As they were written. */
  readonly #texts: string[] = [];

  constructor(tables: readonly LoadTable[]) {
    this.#tables = tables;
  }

  get count(): number {
    return this.#pieces.length;
  }

  /** `text` with marks for its places. Throws TransferError INVALID_ARGUMENT. */
  mark(option: string, text: string, place: TemplatePlace): string {
    if (!hasTemplate(text)) return text;
    if (text.includes(MARK)) throw invalidArgument(option, `${option} has a template and the word ${MARK}.`);
    const written = [...placesIn(text)].map(([start, end]) => text.slice(start, end));
    let at = 0;
    return parseTemplate(option, text, this.#tables)
      .map((piece) => {
        if (typeof piece === 'string') return piece;
        if (place === 'header' && piece.kind === 'column') this.#checkColumn(option, piece.table, piece.column);
        if (place === 'header' && piece.kind === 'pick') checkWords(option, piece.words);
        return this.#add({ kind: 'value', value: piece, place }, written[at++] as string);
      })
      .join('');
  }

  /** A mark for `text`, which is `name:password`, as basic authentication has it. */
  markBasic(text: string): string {
    return this.#add({ kind: 'basic', pieces: parseTemplate('auth', text, this.#tables) }, '');
  }

  markLength(): string {
    return this.#add({ kind: 'length' }, '');
  }

  isMarked(text: string): boolean {
    return text.includes(MARK);
  }

  /** The marks as they were written. */
  shown(text: string): string {
    return text.replace(MARKED, (_mark, index) => this.#texts[Number(index)] as string);
  }

  /** Cuts at the marks. */
  cut(text: string): RequestPiece[] {
    // Every other part is the number of a mark.
    const parts = text.split(MARKED);
    return parts.map((part, index) => (index % 2 === 0 ? part : (this.#pieces[Number(part)] as RequestPiece)));
  }

  #add(piece: Exclude<RequestPiece, string>, text: string): string {
    this.#texts.push(text);
    return `${MARK}${this.#pieces.push(piece) - 1}end`;
  }

  #checkColumn(option: string, table: number, column: number): void {
    const { name, columns, values } = this.#tables[table] as LoadTable;
    const bad = (values[column] as readonly string[]).findIndex((value) => !isFieldValue(value));
    if (bad < 0) return;
    throw invalidArgument(
      option,
      `${option}: row ${bad + 1} of ${name} has in ${columns[column]} a character that a header cannot have.`,
    );
  }
}

function checkWords(option: string, words: readonly string[]): void {
  const bad = words.find((word) => !isFieldValue(word));
  if (bad !== undefined) throw invalidArgument(option, `${option}: a header cannot have all characters of ${bad}.`);
}

/** `head`: with marks. `body`: with marks, in UTF-16. */
export function requestTemplateOf(places: Places, head: string, body: string | null): RequestTemplate {
  return {
    head: places.cut(head).filter((piece) => piece !== ''),
    body: places.cut(body === null ? '' : Buffer.from(body, 'utf8').toString('latin1')).filter((piece) => piece !== ''),
  };
}
