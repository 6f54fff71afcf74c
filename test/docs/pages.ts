/** The pages that people read: README.md and docs/, and the code blocks in them. */

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/**
 * What the word behind the three backticks says of a block:
 *
 *   js          a program: run as it is, what it says behind console.log must be printed, and type-checked
 *   ts          a fragment: type-checked, and run to see that it asks for nothing that is refused. It may use what `fragments.d.ts` declares: `pool`, `url`, `response`, `file` …
 *   javascript  code for another package that is not installed here: not looked at
 *   typescript  a signature, of the reference: not looked at
 */
export type BlockKind = 'js' | 'ts';

export interface Block {
  /** `docs/guide.md, 3`. */
  readonly name: string;
  readonly kind: BlockKind;
  /** Of its first line in the page, from 1. */
  readonly line: number;
  readonly text: string;
}

export interface Page {
  /** From the root: `docs/guide.md`. */
  readonly path: string;
  readonly text: string;
}

export function readPages(): Page[] {
  const docs = readdirSync(`${ROOT}docs`, { recursive: true, encoding: 'utf8' }).sort();
  const paths = docs.filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`);
  const top = ['README.md', 'ARCHITECTURE.md', 'HACKING.md', 'SECURITY.md', 'CHANGELOG.md'];
  return [...top, ...paths].map((path) => ({ path, text: readFileSync(ROOT + path, 'utf8') }));
}

export function blocksOf({ path, text }: Page): Block[] {
  const blocks: Block[] = [];
  for (const match of text.matchAll(/^```(js|ts)\n(.*?)^```$/gms)) {
    const [, kind, block] = match;
    const line = text.slice(0, match.index).split('\n').length + 1;
    blocks.push({ name: `${path}, ${blocks.length + 1}`, kind: kind as BlockKind, line, text: block as string });
  }
  return blocks;
}
