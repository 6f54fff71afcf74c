/** undici as it is installed here, in the versions that the dispatcher serves. Their types differ in what does not matter here. */

// biome-ignore lint/suspicious/noExplicitAny: see above.
export type Undici = any;

export interface UndiciVersion {
  readonly name: string;
  readonly major: number;
  load(): Promise<Undici>;
}

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
/** What undici 8 asks for. */
const hasUndici8 = major > 22 || (major === 22 && minor >= 19);

async function loaded(module: Promise<Undici>): Promise<Undici> {
  const { default: undici } = await module;
  return undici;
}

export const UNDICIS: readonly UndiciVersion[] = [
  { name: 'undici 6', major: 6, load: () => loaded(import('undici6')) },
  { name: 'undici 7', major: 7, load: () => loaded(import('undici')) },
  ...(hasUndici8 ? [{ name: 'undici 8', major: 8, load: () => loaded(import('undici8')) }] : []),
];
