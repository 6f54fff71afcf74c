/** A body as programs that read files give it. */

const PIECE_BYTES = 64 * 1024;

export async function* pieces(whole: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < whole.length; at += PIECE_BYTES) yield whole.subarray(at, at + PIECE_BYTES);
}
