/** Links between pages lead somewhere: the file exists, and so does the heading. Links to other hosts are not followed. */

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT, readPages } from './pages.ts';

const pages = readPages();

test.each(pages.map(({ path, text }) => [path, text] as const))('links of %s', (path, text) => {
  const broken: string[] = [];
  for (const [, target] of withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)) {
    if (target === undefined || /^[a-z]+:/.test(target)) continue;
    if (!leadsSomewhere(path, target)) broken.push(target);
  }
  expect(broken).toEqual([]);
});

test('every page of docs/ can be reached from docs/README.md', () => {
  const reached = new Set(['docs/README.md']);
  // A Set is walked in the order of insertion, what is added meanwhile included.
  for (const path of reached) {
    const text = pages.find((page) => page.path === path)?.text ?? '';
    for (const [, target] of text.matchAll(/\]\(([^)\s#]+)/g)) {
      const to = normalize(join(dirname(path), target as string));
      if (path.startsWith('docs/')) reached.add(to);
    }
  }
  const unreached = pages.map(({ path }) => path).filter((path) => path.startsWith('docs/') && !reached.has(path));
  expect(unreached).toEqual([]);
});

function leadsSomewhere(path: string, target: string): boolean {
  const [file = '', anchor] = target.split('#');
  const to = file === '' ? path : normalize(join(dirname(path), file));
  if (!existsSync(join(ROOT, to))) return false;
  return anchor === undefined || anchorsOf(readFileSync(join(ROOT, to), 'utf8')).has(anchor);
}

/** As the sites that show Markdown make them: lower case, without marks, blanks as hyphens; a second one alike gets a number. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading] of withoutCode(text).matchAll(/^#+ (.*)$/gm)) {
    const plain = (heading as string).replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const anchor = plain.replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-');
    let unique = anchor;
    for (let count = 1; anchors.has(unique); count++) unique = `${anchor}-${count}`;
    anchors.add(unique);
  }
  return anchors;
}

function withoutCode(text: string): string {
  return text.replace(/^```.*?^```$/gms, '');
}
