/** Whether our parser and Node's client made the same of a response; null, or in one line what they differ in. */

import { parseHeaderSection, parseTrailerSection } from '../../src/protocol/http1/header-section.ts';
import type { NodeView } from './node-client.ts';
import type { Response } from './recorder.ts';

export function compare(ours: Response, theirs: NodeView): string | null {
  const outcomes = `${kindOf(ours.outcome)}/${kindOf(theirs.outcome)}`;
  if (kindOf(ours.outcome) !== kindOf(theirs.outcome)) return `outcome: ${ours.outcome}/${theirs.outcome}`;
  if (outcomes === 'failed/failed') return null;
  if ((ours.head !== null) !== theirs.answered) return 'head';
  const interim = ours.interim.map(({ status }) => status);
  if (!same(interim, theirs.interim)) return 'interim responses';
  if (!theirs.answered || ours.head === null) return null;
  if (ours.status !== theirs.status) return 'status';
  if (`1.${ours.minorVersion}` !== theirs.httpVersion) return 'version';
  if (!same(parseHeaderSection(ours.head), theirs.fields)) return 'fields';
  if (ours.body !== theirs.body) return 'body';
  if (outcomes !== 'complete/complete') return null;
  if (!same(parseTrailerSection(ours.trailers), theirs.trailers)) return 'trailers';
  return ours.keepAlive === theirs.keepAlive ? null : `keep-alive: ${ours.keepAlive}/${theirs.keepAlive}`;
}

function kindOf(outcome: string): 'complete' | 'more' | 'failed' {
  return outcome === 'complete' || outcome === 'more' ? outcome : 'failed';
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
