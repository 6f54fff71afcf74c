/** Where a run took place, as far as it matters for its figures. Names no host and no person: results are passed around. */

import { availableParallelism, cpus, platform, release, totalmem } from 'node:os';
import type { LoadEnvironment } from '../../protocol/load/result.ts';

export function environment(): LoadEnvironment {
  return {
    node: process.version,
    platform: platform(),
    kernel: release(),
    arch: process.arch,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
  };
}
