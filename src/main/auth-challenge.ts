/**
 * What a WWW-Authenticate field asks for (RFC 9110 §11.6.1). Reading only; a field that cannot be read asks for nothing.
 *
 *     WWW-Authenticate = #challenge
 *     challenge        = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
 *     auth-param       = token BWS "=" BWS ( token / quoted-string )
 */

/** One challenge. */
export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** By name in lower case; of a name that comes twice, the first. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Challenges of one response that are looked at, so that a peer cannot keep us busy. */
const CHALLENGES_MAX = 16;
const PARAMETERS_MAX = 32;

const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const TOKEN68 = /[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))/y;
const EQUALS = /[ \t]*=[ \t]*/y;
const BLANKS = /[ \t]*/y;
const SEPARATORS = /[ \t]*(?:,[ \t]*)*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/y;

/** All challenges of the fields' values, in their order. */
export function parseChallenges(values: readonly string[]): Challenge[] {
  const challenges: Challenge[] = [];
  for (const value of values) {
    const scanner = new Scanner(value);
    while (challenges.length < CHALLENGES_MAX) {
      const challenge = scanner.challenge();
      if (challenge === null) break;
      challenges.push(challenge);
    }
  }
  return challenges;
}

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** The next challenge; null: the end, or what is not a challenge. */
  challenge(): Challenge | null {
    this.#take(SEPARATORS);
    const scheme = this.#take(TOKEN);
    if (scheme === null) return null;
    const parameters = new Map<string, string>();
    if (this.#take(BLANKS) !== '' && this.#take(TOKEN68) === null) this.#parameters(parameters);
    return { scheme: scheme.toLowerCase(), parameters };
  }

  #parameters(parameters: Map<string, string>): void {
    for (let count = 0; count < PARAMETERS_MAX; count++) {
      const before = this.#at;
      this.#take(SEPARATORS);
      const name = this.#take(TOKEN)?.toLowerCase();
      if (name === undefined || this.#take(EQUALS) === null) {
        // The name was the next challenge's scheme.
        this.#at = before;
        return;
      }
      const value = this.#value();
      if (value === null) return;
      if (!parameters.has(name)) parameters.set(name, value);
    }
  }

  #value(): string | null {
    const quoted = this.#take(QUOTED);
    return quoted === null ? this.#take(TOKEN) : quoted.slice(1, -1).replace(/\\(.)/g, '$1');
  }

  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match === null) return null;
    this.#at = pattern.lastIndex;
    return match[0];
  }
}
