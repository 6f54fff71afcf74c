/** Bugs put in by hand, one line each, that the simulation must find (see prove.mjs): the kinds that have been in engines before. */

export const BUGS = [
  {
    name: 'a connection is used again though stray bytes followed its response',
    file: 'src/worker/multi/connection.ts',
    from: '    if (this.#stray) return false;\n',
    to: '',
  },
  {
    name: 'an event that is not true ends a connect under way',
    file: 'src/worker/multi/dial.ts',
    from: 'if (result === -EINPROGRESS || this.#ended) return;',
    to: 'if (result === -EINPROGRESS - 1 || this.#ended) return;',
  },
  {
    name: 'the clocks of a completed transfer run on',
    file: 'src/worker/multi/multi.ts',
    from: '    transfer.stopClocks(this);\n    transfer.connection = null;\n    transfer.dial = null;\n    transfer.handshake',
    to: '    transfer.connection = null;\n    transfer.dial = null;\n    transfer.handshake',
  },
  {
    name: 'what is held back during a pause is a view of the buffer that everyone reads into',
    file: 'src/worker/multi/connection.ts',
    from: 'else if (consumed < end) this.#leftover = bytes.slice(consumed, end);',
    to: 'else if (consumed < end) this.#leftover = bytes.subarray(consumed, end);',
  },
  {
    name: 'the socket of a paused transfer stays watched for reading',
    file: 'src/worker/multi/connection.ts',
    from: 'const incoming = paused || pace?.receive?.waiting',
    to: 'const incoming = pace?.receive?.waiting',
  },
];
