/** Body bytes that tell whose they are: each depends on its body's number and its own place. */

export function patternByte(body: number, offset: number): number {
  return (body * 131 + offset * 7 + (offset >> 8) * 13 + 33) & 0xff;
}

export function patternBytes(body: number, from: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) bytes[index] = patternByte(body, from + index);
  return bytes;
}

/** The first place in bytes[start, end) that is not the body's from `offset` on; -1: all are. */
export function firstDifference(body: number, offset: number, bytes: Uint8Array, start: number, end: number): number {
  for (let index = start; index < end; index++) {
    if (bytes[index] !== patternByte(body, offset + index - start)) return index - start;
  }
  return -1;
}
