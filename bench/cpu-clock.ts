/**
 * CPU time of this process: how much did it burn, in user mode, in the kernel, and on its main thread apart? Node tells the
 * thread's own time from 23.9 on only (`process.threadCpuUsage`), so it is read from Linux. Knows nothing of requests.
 */

import { readFileSync } from 'node:fs';

export interface CpuTime {
  readonly userUs: number;
  readonly systemUs: number;
  /** null: this kernel keeps no such figure (CONFIG_SCHED_INFO is off). */
  readonly mainThreadUs: number | null;
}

const NS_PER_US = 1000;

export function readCpuTime(): CpuTime {
  const { user, system } = process.cpuUsage();
  return { userUs: user, systemUs: system, mainThreadUs: readMainThreadUs() };
}

export function cpuTimeBetween(before: CpuTime, after: CpuTime): CpuTime {
  const known = before.mainThreadUs !== null && after.mainThreadUs !== null;
  return {
    userUs: after.userUs - before.userUs,
    systemUs: after.systemUs - before.systemUs,
    mainThreadUs: known ? (after.mainThreadUs as number) - (before.mainThreadUs as number) : null,
  };
}

/** The main thread's id is the process's. The first field is the time spent on a CPU, in nanoseconds. */
function readMainThreadUs(): number | null {
  try {
    const text = readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1');
    return Number(text.slice(0, text.indexOf(' '))) / NS_PER_US;
  } catch {
    return null;
  }
}

/** Linux counts the times of /proc/PID/stat in USER_HZ, which is 100 on every platform that Node runs on. */
const US_PER_TICK = 10_000;

/** CPU time of another process, from its start to now; null when it is gone. */
export function readCpuTimeOf(pid: number): Omit<CpuTime, 'mainThreadUs'> | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command's name, in parentheses, may hold blanks: fields are counted from behind it. utime is the 14th, stime the 15th.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { userUs: Number(fields[11]) * US_PER_TICK, systemUs: Number(fields[12]) * US_PER_TICK };
  } catch {
    return null;
  }
}
