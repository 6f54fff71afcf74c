/**
 * Checks many URLs, sixteen at a time: node examples/fetch-all.mjs URL… or, for a file of a million, one per line:
 * node examples/fetch-all.mjs < urls.txt
 */
import { createInterface } from 'node:readline';
import { Pool } from 'shardfetch';

const given = process.argv.slice(2);
// Lines are read as they are needed; the file is never in memory.
const urls = given.length > 0 ? given : createInterface({ input: process.stdin });

const pool = new Pool({ shards: 2 });
const onProgress = ({ fulfilled, rejected, elapsedMs, done }) => {
  if (process.stderr.isTTY || done)
    console.error(`${fulfilled} answered, ${rejected} failed, ${Math.round(elapsedMs)} ms`);
};

for await (const result of pool.fetchAll(urls, { concurrency: 16, onProgress })) {
  if (result.status === 'fulfilled') {
    const bytes = await result.value.bytes();
    console.log(`${result.input} ${result.value.status}, ${bytes.length} bytes`);
  } else {
    console.log(`${result.input} ${result.reason.code}`);
  }
}

await pool.close();
