/**
 * Certificates that peers have shown, by numbers, so that who is told of a connection can ask for its certificate later. Connections of
 * one peer have one number.
 */

/** Those met last are kept: usually some 1.5 MiB. */
const CERTIFICATES_MAX = 1_000;

/** Of all together, as DER: a peer may show one of 100 KiB. */
const BYTES_MAX = 4 * 1024 * 1024;

export class PeerCertificates {
  readonly #numbers = new Map<string, number>();
  readonly #certificates = new Map<number, string>();
  #lastNumber = 0;
  #bytes = 0;

  /** `certificate`: DER; null: the peer showed none, which is 0. */
  numberOf(certificate: Buffer | null): number {
    if (certificate === null) return 0;
    const text = certificate.toString('latin1');
    const known = this.#numbers.get(text);
    const number = known ?? ++this.#lastNumber;
    if (known !== undefined) this.#certificates.delete(number);
    else {
      this.#numbers.set(text, number);
      this.#bytes += text.length;
    }
    this.#certificates.set(number, text);
    while (this.#certificates.size > CERTIFICATES_MAX || this.#bytes > BYTES_MAX) this.#forgetOldest();
    return number;
  }

  /** null: it was forgotten, or never was. */
  get(number: number): Buffer | null {
    const text = this.#certificates.get(number);
    return text === undefined ? null : Buffer.from(text, 'latin1');
  }

  clear(): void {
    this.#numbers.clear();
    this.#certificates.clear();
    this.#bytes = 0;
  }

  #forgetOldest(): void {
    const [number, text] = this.#certificates.entries().next().value as [number, string];
    this.#bytes -= text.length;
    this.#certificates.delete(number);
    this.#numbers.delete(text);
  }
}
