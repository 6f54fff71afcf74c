/** Headers of a response from the network: they can be read and not changed (Fetch §5.1, the guard "immutable"). A copy, `new Headers(response.headers)`, can be. */

export class ResponseHeaders extends Headers {}

for (const name of ['append', 'delete', 'set']) {
  Object.defineProperty(ResponseHeaders.prototype, name, {
    value(): never {
      throw new TypeError(
        'immutable: the headers of a response cannot be changed; make a copy with new Headers(response.headers).',
      );
    },
    configurable: true,
    enumerable: true,
    writable: true,
  });
}
