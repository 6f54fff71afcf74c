/** Sockets that give and take a byte at a time, and mostly nothing: everything still arrives, and nothing else. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectOrder, fixture, missing, run, serve } from './rig.ts';

const reason = missing(['cc', '--version']);

describe.skipIf(reason !== null)(
  `sockets give and take little${reason === null ? '' : ` (skipped: ${reason})`}`,
  () => {
    let folder = '';
    let shim = '';
    beforeAll(async () => {
      folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-shim-'));
      shim = path.join(folder, 'shim.so');
      const built = await run(['cc', '-shared', '-fPIC', '-O2', '-o', shim, fixture('shim.c'), '-ldl']);
      expect(built).toMatchObject({ code: 0 });
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test.each([
      { bytes: '1', storm: '1', shards: 1 },
      { bytes: '1', storm: '3', shards: 2 },
      { bytes: '7', storm: '50', shards: 0 },
      { bytes: '100000', storm: '1000', shards: 1 },
    ])('at most $bytes bytes, one call of $storm answered, $shards shards', async ({ bytes, storm, shards }) => {
      const url = await serve();
      const ended = await run([process.execPath, fixture('fetches.mjs'), url, '8', JSON.stringify({ shards })], {
        LD_PRELOAD: shim,
        SHIM_BYTES: bytes,
        SHIM_STORM: storm,
      });
      const report = expectOrder(ended, `${bytes} bytes, storm ${storm}`);
      expect([...report.outcomes, ...report.again]).toEqual(Array(16).fill('ok'));
    });
  },
);
