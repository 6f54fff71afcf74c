/**
 * What Piscina loads in a fresh thread. CommonJS on purpose: Piscina calls `require` first, and a thread that is ended while it
 * requires an ES module takes the whole process with it (Node 20: "IsGraphAsync must be used on an instantiated module").
 * A thread that is ended during `import()` just ends.
 */

module.exports = (task: never): Promise<number> => import('./shard.ts').then(({ default: startShard }) => startShard(task));
