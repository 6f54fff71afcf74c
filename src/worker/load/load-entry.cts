/**
 * What the thread of a load shard begins with. CommonJS on purpose, as `shard-entry.cts`: a thread that is ended while it requires
 * an ES module takes the whole process with it on Node 20.
 */

void import('./load-shard.ts');
