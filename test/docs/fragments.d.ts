/** What `ts` blocks of the pages may use without saying where it comes from. Checked together with them, by `code-blocks.test.ts`. */

import type { AddressInfo } from 'node:net';
import type { FetchResponse, Pool } from 'shardfetch';
import type { Multi, Transfer } from 'shardfetch/multi';

declare global {
  const pool: Pool;
  const url: string;
  const urls: string[];
  const response: FetchResponse;
  const multi: Multi;
  const transfer: Transfer;
  /** The name of a file. */
  const file: string;
  /** A PEM. */
  const ca: string;
  const token: string;
  const signal: AbortSignal;
}

declare module 'node:net' {
  interface Server {
    /** Programs that have listened know that there is a port. */
    address(): AddressInfo;
  }
}
