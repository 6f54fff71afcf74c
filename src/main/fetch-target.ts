/**
 * Where a request goes: a URL taken apart once, and kept, because parsing costs more than everything else that a small request
 * does on the main thread. What is sent there is not here.
 */

import { invalidArgument, type TransferError } from '../protocol/errors.ts';
import { describe } from '../protocol/options.ts';
import { type Origin, originOf, shown, targetOf } from '../protocol/origin.ts';
import { shownUrl } from '../protocol/shown-url.ts';
import { type Credentials, userinfoOf } from './auth.ts';
import type { FetchRequest } from './fetch-request.ts';
import { isLocalScheme } from './local-content.ts';

/** URLs whose parsed form is kept. */
const TARGETS_MAX = 4096;
/** Longer URLs are not kept, so that what is kept stays small. */
const TARGET_TEXT_MAX = 2048;

/** Of a URL that is answered here: it is connected to nothing. */
const NOWHERE: Pick<Origin, 'text' | 'hostField'> = { text: '', hostField: '' };

/** A URL taken apart once. */
export class FetchTarget {
  /** Without credentials. */
  readonly url: URL;
  /** The user name and password that the URL had; null: none. They go into Authorization and nowhere else (HOSTILE 84). */
  readonly userinfo: Credentials | null;
  /** Without fragment and credentials: what `response.url` shows. */
  readonly href: string;
  readonly origin: string;
  readonly hostField: string;
  readonly path: string;
  /** Answered in this thread: `data:`, `blob:`. */
  readonly isLocal: boolean;
  /** A GET without options, once one was asked for. */
  plainGet: FetchRequest | null = null;

  /** Throws TransferError INVALID_ARGUMENT for what cannot be requested. */
  constructor(given: URL) {
    this.userinfo = userinfoOf(given);
    const url = this.userinfo === null ? given : new URL(shown(given));
    this.isLocal = isLocalScheme(url.protocol);
    const origin = this.isLocal ? NOWHERE : originOf(url);
    this.url = url;
    this.origin = origin.text;
    this.hostField = origin.hostField;
    this.path = this.isLocal ? '/' : targetOf(url);
    this.href = withoutFragment(url.href);
  }
}

/** The targets seen lately, by the text that was asked for. */
export class FetchTargets {
  #targets = new Map<string, FetchTarget>();

  /** `input`: a string or a URL. Throws TransferError INVALID_ARGUMENT. */
  of(input: unknown): FetchTarget {
    const text = typeof input === 'string' ? input : urlText(input);
    let target = this.#targets.get(text);
    if (target === undefined) {
      if (!URL.canParse(text)) throw badUrl(text);
      target = new FetchTarget(new URL(text));
      if (this.#targets.size >= TARGETS_MAX) this.#targets.clear();
      // One with credentials is not kept: secrets are not to lie about.
      if (text.length <= TARGET_TEXT_MAX && target.userinfo === null) this.#targets.set(text, target);
    }
    return target;
  }
}

function urlText(input: unknown): string {
  // By shape: URLs of other realms and of packages are as good.
  if (typeof input === 'object' && typeof (input as URL | null)?.href === 'string') return (input as URL).href;
  throw invalidArgument('input', `fetch takes a string, a URL or a Request, not ${describe(input)}.`);
}

function badUrl(text: string): TransferError {
  const relative = URL.canParse(text, 'http://relative.invalid/');
  const hint = relative ? '; there is no page here that a relative URL could be relative to' : '';
  return invalidArgument('input', `${shownUrl(text)} is not an absolute URL${hint}.`);
}

function withoutFragment(href: string): string {
  const at = href.indexOf('#');
  return at < 0 ? href : href.slice(0, at);
}
