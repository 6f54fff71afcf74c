/** Reads what a client writes on one connection: heads and bodies of HTTP/1.1 requests. Trusts the client to write correct ones. */

export interface RequestSink {
  onHead(method: string, target: string, head: string): void;
  onBody(bytes: Uint8Array): void;
  onEnd(): void;
}

type Part = 'head' | 'length' | 'chunk-size' | 'chunk-data' | 'chunk-end' | 'trailers';

export class RequestReader {
  readonly #sink: RequestSink;
  #part: Part = 'head';
  #line = '';
  #left = 0;

  constructor(sink: RequestSink) {
    this.#sink = sink;
  }

  /** Nothing of a request has come since the last one ended. */
  get atBoundary(): boolean {
    return this.#part === 'head' && this.#line === '';
  }

  feed(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#part === 'length' || this.#part === 'chunk-data') {
        const end = Math.min(bytes.length, at + this.#left);
        this.#sink.onBody(bytes.subarray(at, end));
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#bodyPartEnded();
      } else {
        this.#line += String.fromCharCode(bytes[at++] as number);
        this.#lineGrew();
      }
    }
  }

  #bodyPartEnded(): void {
    if (this.#part === 'length') this.#ended();
    else this.#part = 'chunk-end';
  }

  #lineGrew(): void {
    if (!this.#line.endsWith(this.#part === 'head' ? '\r\n\r\n' : '\r\n')) return;
    const line = this.#line;
    this.#line = '';
    switch (this.#part) {
      case 'head':
        this.#headEnded(line);
        return;
      case 'chunk-size':
        this.#left = Number.parseInt(line, 16);
        this.#part = this.#left === 0 ? 'trailers' : 'chunk-data';
        return;
      case 'chunk-end':
        if (line !== '\r\n') throw new Error(`a chunk is followed by ${JSON.stringify(line)}`);
        this.#part = 'chunk-size';
        return;
      case 'trailers':
        if (line === '\r\n') this.#ended();
    }
  }

  #headEnded(head: string): void {
    const [, method, target] = /^([A-Z]+) (\S+) HTTP\/1\.1\r\n/.exec(head) ?? [];
    if (method === undefined || target === undefined) throw new Error(`no request head: ${JSON.stringify(head)}`);
    const length = /\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1];
    if (/\r\ntransfer-encoding: chunked\r\n/i.test(head)) this.#part = 'chunk-size';
    else if (length !== undefined && length !== '0') {
      this.#part = 'length';
      this.#left = Number(length);
    }
    const hasBody = this.#part !== 'head';
    this.#sink.onHead(method, target, head);
    if (!hasBody) this.#ended();
  }

  #ended(): void {
    this.#part = 'head';
    this.#sink.onEnd();
  }
}
