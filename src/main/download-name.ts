/**
 * Under which name a download is kept. A name that a server or a URL gives is only ever one name in the folder that the user chose:
 * no path, no hidden file, no device, nothing that a terminal would obey.
 */

/** Where the URL names nothing. */
const NAMELESS = 'index.html';
/** Most file systems end at 255 bytes; `.part.json` is put behind. */
const NAME_BYTES_MAX = 240;
/** What stands behind the last dot of a longer name is no extension. The dot counts. */
const EXTENSION_LENGTH_MAX = 16;

/** The last part of the URL's path. */
export function nameFromUrl(url: URL): string {
  const last = url.pathname.split('/').at(-1) ?? '';
  return safeName(percentDecoded(last)) ?? NAMELESS;
}

/** What a Content-Disposition header suggests (RFC 6266); null: nothing that can be used. `filename*` goes before `filename`. */
export function nameFromDisposition(field: string | null): string | null {
  if (field === null) return null;
  const extended = /(?:^|;)\s*filename\*\s*=\s*([\w-]+)'[^']*'([^\s;]+)/i.exec(field);
  if (extended !== null && /^(?:utf-8|us-ascii)$/i.test(extended[1] ?? '')) {
    const name = safeName(lastPart(percentDecoded(extended[2] ?? '')));
    if (name !== null) return name;
  }
  const plain = /(?:^|;)\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))/i.exec(field);
  if (plain === null) return null;
  const text = plain[1] === undefined ? (plain[2] ?? '') : plain[1].replace(/\\(.)/g, '$1');
  return safeName(lastPart(utf8Of(text)));
}

/** One name, or null when nothing of it is left. */
export function safeName(given: string): string | null {
  const name = given
    // Control and format characters (a name can be written from right to left), and what divides a path here or elsewhere.
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, '')
    .replace(/[/\\]/g, '_')
    .trim()
    // Hidden files are configuration on this system; `.` and `..` are folders; a dash in front is an option to most tools.
    .replace(/^[.-]+/, (dots) => '_'.repeat(dots.length));
  if (name === '' || /^_+$/.test(name)) return null;
  return shortened(name);
}

/** Keeps the extension. */
function shortened(name: string): string {
  const bytes = Buffer.from(name);
  if (bytes.length <= NAME_BYTES_MAX) return name;
  const dot = name.lastIndexOf('.');
  const extension = dot > 0 && name.length - dot <= EXTENSION_LENGTH_MAX ? name.slice(dot) : '';
  let end = NAME_BYTES_MAX - Buffer.byteLength(extension);
  // Not in the middle of a code point: back over the bytes that go on with one.
  while (((bytes[end] as number) & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end) + extension;
}

function lastPart(text: string): string {
  return text.split(/[/\\]/).at(-1) ?? '';
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Header fields are latin-1 text; servers put UTF-8 there all the same. */
function utf8Of(text: string): string {
  const bytes = Buffer.from(text, 'latin1');
  const decoded = bytes.toString('utf8');
  return decoded.includes('\uFFFD') ? text : decoded;
}
