/** ArrayBuffers of their own, which can be moved to another thread. */

/** `bytes` of memory that is not zeroed (TRAPS 16: zeroing costs as much as a copy): whoever asks writes all that is ever read. */
export function unzeroedBuffer(bytes: number): ArrayBuffer {
  return Buffer.allocUnsafeSlow(bytes).buffer as ArrayBuffer;
}

/** The bytes in a buffer of their own. */
export function copyOf(bytes: Uint8Array): ArrayBuffer {
  const copy = unzeroedBuffer(bytes.length);
  new Uint8Array(copy).set(bytes);
  return copy;
}
