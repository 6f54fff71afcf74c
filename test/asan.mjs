/**
 * `npm run test:native-asan [-- arguments of vitest]`: builds the addon with AddressSanitizer, and with what
 * UndefinedBehaviorSanitizer checks, into out/asan, beside the one that everybody uses, and runs the tests of native/, of TLS and
 * of threads that die with it, each process of theirs included. Fails when a test fails or there is anything to report. Leaks are
 * not looked for: Node itself leaves memory to the end of its process, and what OpenSSL holds for us is counted by the tests of TLS.
 *
 * `--prove` puts bugs into the copy, one at a time, and fails unless each is reported.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const TESTS = ['test/native', 'test/tls', 'test/faults/shard-death.test.ts'];
/** Tests about the ordinary build: what a connection takes of memory; what is said where there is no addon to load. */
const ORDINARY_ONLY = ['TRAPS 22', 'cannot load its addon'];
/** Everything takes two to four times as long. */
const TEST_MS_MAX = 120_000;
/**
 * Undefined behaviour is an illegal instruction, which AddressSanitizer reports with its line: libubsan would not write into the
 * same reports. `vptr` wants RTTI, which this code is built without.
 */
const COMPILER_FLAGS = [
  '-fsanitize=address,undefined',
  '-fno-sanitize=vptr',
  '-fsanitize-undefined-trap-on-error',
  '-fno-omit-frame-pointer',
  '-g',
];

const root = fileURLToPath(new URL('..', import.meta.url));
const copy = path.join(root, 'out/asan');
const logs = path.join(copy, 'reports');

/** The library that must be in a process first, or why there is none. */
function findLibrary() {
  if (process.platform !== 'linux') return { reason: 'only tried on Linux' };
  const { stdout, error } = spawnSync('cc', ['-print-file-name=libasan.so'], { encoding: 'utf8' });
  if (error) return { reason: 'there is no C compiler, cc' };
  const library = stdout.trim();
  // A compiler that has none says the name back.
  if (!path.isAbsolute(library) || !existsSync(library)) return { reason: `the compiler has no libasan.so` };
  return { library };
}

/** node-gyp knows one folder per binding.gyp: so the sources are copied, and native/build.mjs builds where it lies. */
function build(change = (_file, text) => text) {
  rmSync(copy, { recursive: true, force: true });
  mkdirSync(logs, { recursive: true });
  cpSync(path.join(root, 'binding.gyp'), path.join(copy, 'binding.gyp'));
  cpSync(path.join(root, 'native'), path.join(copy, 'native'), { recursive: true });
  for (const name of readdirSync(path.join(copy, 'native'))) {
    const file = path.join(copy, 'native', name);
    const text = readFileSync(file, 'utf8');
    const changed = change(name, text);
    if (changed !== text) writeFileSync(file, changed);
  }
  const { status } = spawnSync(process.execPath, [path.join(copy, 'native/build.mjs'), '--always'], {
    stdio: 'inherit',
    env: { ...process.env, CXXFLAGS: COMPILER_FLAGS.join(' '), LDFLAGS: '-fsanitize=address' },
  });
  if (status !== 0) throw new Error('the addon cannot be built with sanitizers');
}

/** What vitest ended with, and the reports of all processes. */
function run(library, args, stdio = 'inherit') {
  const skipped = ['--testNamePattern', `^(?!.*(${ORDINARY_ONLY.join('|')}))`, '--testTimeout', String(TEST_MS_MAX)];
  const command = [path.join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...skipped, ...args];
  const { status } = spawnSync(process.execPath, command, {
    cwd: root,
    stdio,
    env: {
      ...process.env,
      LD_PRELOAD: library,
      ASAN_OPTIONS: `detect_leaks=0:handle_sigill=1:log_path=${path.join(logs, 'report')}`,
      // node-gyp-build looks for the addon of this package there.
      SHARDFETCH_PREBUILD: copy,
    },
  });
  const reports = readdirSync(logs).map((name) => readFileSync(path.join(logs, name), 'utf8'));
  return { status, reports };
}

/** A line of tls_connection.cpp, what is put behind it, and what must be said of that. */
const BUGS = [
  {
    name: 'a byte behind the end of an array on the heap is written',
    behind: 'int32_t TlsConnection::handshake() {\n',
    bug: '  auto* bytes = static_cast<volatile char*>(OPENSSL_malloc(8)); bytes[8] = 1; OPENSSL_free(const_cast<char*>(bytes));\n',
    report: /AddressSanitizer: heap-buffer-overflow/,
  },
  {
    name: 'a connection is used after its end',
    behind: 'TlsConnection::~TlsConnection() {\n',
    bug: '  volatile int* gone = new int(1); delete gone; (void)*gone;\n',
    report: /AddressSanitizer: heap-use-after-free/,
  },
  {
    name: 'a sum of integers overflows',
    behind: 'int32_t TlsConnection::handshake() {\n',
    bug: '  volatile int most = 2147483647; volatile int stray = most + 1; (void)stray;\n',
    report: /AddressSanitizer: ILL /,
  },
];

function prove(library) {
  for (const { name, behind, bug, report } of BUGS) {
    build((file, text) => (file === 'tls_connection.cpp' ? text.replace(behind, behind + bug) : text));
    const { status, reports } = run(library, ['test/tls/basic.test.ts'], 'ignore');
    const found = status !== 0 && reports.some((text) => report.test(text));
    console.log(`${found ? 'found' : 'NOT FOUND'}: ${name}`);
    if (!found) process.exitCode = 1;
  }
}

const { library, reason } = findLibrary();
const given = process.argv.slice(2);
if (library === undefined) {
  console.log(`AddressSanitizer: skipped, ${reason}`);
} else if (given.includes('--prove')) {
  prove(library);
} else {
  build();
  const { status, reports } = run(library, given.length === 0 ? TESTS : given);
  for (const report of reports) console.error(report);
  console.log(
    reports.length === 0 ? 'AddressSanitizer: nothing to report' : `AddressSanitizer: ${reports.length} reports`,
  );
  if (status !== 0 || reports.length > 0) process.exitCode = 1;
}
