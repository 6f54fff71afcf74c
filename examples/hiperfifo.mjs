/**
 * Reads URLs from a named pipe, one a line, whenever they come, and transfers them all at once: libcurl's hiperfifo.c in JavaScript.
 * Ends at Ctrl-C.
 */
import { execFileSync } from 'node:child_process';
import { constants, openSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Multi, Transfer, UvDriver } from 'shardfetch/multi';

const HELP = `usage: node hiperfifo.mjs [--fifo PATH] [--per-host N]

Makes a named pipe and transfers every URL that is written to it:

  node hiperfifo.mjs &
  echo http://127.0.0.1:8080/ > hiper.fifo

  --fifo PATH     the pipe; it must not exist yet, and is removed at the end (default hiper.fifo)
  --per-host N    connections per host; more URLs wait (default 0: no limit)
  --help          this`;

const { values } = parseArgs({
  options: {
    fifo: { type: 'string', default: 'hiper.fifo' },
    'per-host': { type: 'string', default: '0' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit();
}

const multi = new Multi({ maxHostConnections: Number(values['per-host']) });
const driver = new UvDriver(multi);
driver.onTurn = printCompletions;
driver.run();

execFileSync('mkfifo', [values.fifo]);
// Open for writing too: else the pipe would end with its first writer. Not blocking: else the open would wait for one.
const pipe = new Socket({ fd: openSync(values.fifo, constants.O_RDWR | constants.O_NONBLOCK), writable: false });
createInterface({ input: pipe }).on('line', addUrl);
// Before it says that it reads: who has read that may end it.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, end);
}
console.log(`reading URLs from ${values.fifo}`);

function addUrl(line) {
  const url = line.trim();
  if (url === '') return;
  try {
    multi.add(new Transfer({ url, private: url, timeouts: { totalMs: 60_000 } }));
    console.log(`added ${url} (${multi.running} running)`);
  } catch (error) {
    console.log(`refused ${url}: ${error.message}`);
  }
}

function printCompletions() {
  for (const { transfer, error } of multi.messages()) {
    const { status, bytesReceived } = transfer.info;
    const result = error === null ? `${status}, ${bytesReceived} bytes` : `${error.code}: ${error.message}`;
    console.log(`done ${transfer.private}: ${result} (${multi.running} running)`);
    multi.remove(transfer);
  }
}

/** Twice is fine: Ctrl-C may be pressed again before the program has ended. */
function end() {
  pipe.destroy();
  rmSync(values.fifo, { force: true });
  driver.stop();
  multi.close();
}
