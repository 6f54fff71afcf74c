/**
 * How a URL that was given is shown in a sentence: quoted, short, and without the user name and password that it may carry. Also what
 * was meant to be one and is none, which is why sentences about it are written.
 */

import { isUrl } from './built-ins.ts';
import { describe } from './options.ts';
import { shown } from './origin.ts';

/** What is no text and no URL is described as any other value. */
export function shownUrl(given: unknown): string {
  const text = isUrl(given) ? given.href : given;
  return describe(typeof text === 'string' ? withoutUserinfo(text) : text);
}

/**
 * Text that is no URL may carry a password too, and because it is no URL nobody can say where that ends: everything up to the last "@"
 * is left out, unless the text is plainly a path.
 */
function withoutUserinfo(given: string): string {
  if (!given.includes('@')) return given;
  // As the URL standard does: `ht\ntp:` is `http:`.
  const text = given.replace(/[\t\n\r]/g, '').trim();
  if (/^https?:/i.test(text) && URL.canParse(text)) return shown(new URL(text));
  if (/^[?#.]|^[/\\](?![/\\])/.test(text)) return text;
  const [, scheme = ''] = /^((?:https?|wss?|ftp|socks5h?):|[a-z][a-z0-9+.-]*:(?=[/\\]{2}))/i.exec(text) ?? [];
  return `${scheme === '' ? '' : `${scheme}//`}…${text.slice(text.lastIndexOf('@'))}`;
}
