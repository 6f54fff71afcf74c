/** What a test measures where only an algorithm counts: a busy machine takes longer, not more of its processor. */

/** Milliseconds of processor time that this process has used for its own code. */
export function cpuMs(): number {
  return process.cpuUsage().user / 1_000;
}
