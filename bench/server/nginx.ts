/**
 * nginx as the target: two workers, each with its own accept queue, and room for more than 10,000 connections in either. It
 * runs from a folder of its own below the system's temporary folder and touches no other nginx.
 */

import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cleanEnvironment, probe } from '../child-processes.ts';
import { hardFileLimit } from '../environment.ts';
import { BODY_SIZES, freePort, get, HELLO, type Target, waitUntilItAnswers } from './target.ts';

const WORKERS = 2;
/** Relative to this file once it is compiled. */
const CERTIFICATE = fileURLToPath(new URL('../../../test/tls/certificates/good.pem', import.meta.url));

/** Enough for 10,000 connections in one worker, should the kernel share them out unfairly. */
const FILES_MAX = 20_000;
/** Descriptors that nginx needs besides its connections: logs, listeners, channels. */
const FILES_APART = 100;
const START_MS_MAX = 5_000;
const START_ATTEMPTS = 3;

export function probeNginx(): Promise<string | null> {
  return probe('nginx', ['-v']);
}

/**
 * A shell stands between, for one purpose: when our end of its standard input closes, for whatever reason, even SIGKILL, it
 * ends nginx by its id and removes the folder. Signals for our terminal's group do not reach it.
 */
const KEEPER = `
trap '' INT TERM HUP
nginx -e stderr -p "$1" -c nginx.conf &
pid=$!
while read -r line; do :; done
kill "$pid"
wait "$pid"
rm -rf "$1"
`;

export async function startNginx(): Promise<Target> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      // Another process may have taken the port between our look and nginx's.
      if (attempt === START_ATTEMPTS) throw error;
    }
  }
}

async function start(): Promise<Target> {
  const version = (await probeNginx()) ?? '';
  const port = await freePort();
  const securePort = await freePort();
  const folder = mkdtempSync(path.join(os.tmpdir(), 'shardfetch-nginx-'));
  writeFileSync(path.join(folder, 'nginx.conf'), configuration(port, securePort));
  // Started by root, nginx reads files as another user.
  chmodSync(folder, 0o711);
  mkdirSync(path.join(folder, 'files'));
  for (const bytes of BODY_SIZES) {
    const file = path.join(folder, 'files', String(bytes));
    writeFileSync(file, '');
    truncateSync(file, bytes);
  }
  const keeper = spawn('sh', ['-c', KEEPER, 'keeper', folder], {
    stdio: ['pipe', 'ignore', 'pipe'],
    detached: true,
    cwd: os.tmpdir(),
    env: cleanEnvironment(),
  });
  let said = '';
  keeper.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const ended = new Promise<void>((resolve) => keeper.once('exit', () => resolve()));
  const stop = async () => {
    keeper.stdin?.end();
    await ended;
  };
  const origin = `http://127.0.0.1:${port}`;
  try {
    await waitUntilItAnswers(`${origin}/hello`, START_MS_MAX);
  } catch (error) {
    await stop();
    throw new Error(`nginx did not start: ${said.trim() || (error as Error).message}`);
  }
  return {
    name: `${version.replace(/^nginx version: /, '')}, ${WORKERS} workers`,
    url: `${origin}/hello`,
    secureUrl: `https://127.0.0.1:${securePort}/hello`,
    filesUrl: `${origin}/files/`,
    secureFilesUrl: `https://127.0.0.1:${securePort}/files/`,
    requestCount: async () => requestCountIn(await get(`${origin}/status`)),
    stop,
  };
}

/** The third number of the line below "server accepts handled requests". */
function requestCountIn(status: string): number {
  const match = /requests\s+\d+ \d+ (\d+)/.exec(status);
  if (match === null) throw new Error('nginx answers no stub_status page; was it built without that module?');
  return Number(match[1]);
}

function configuration(port: number, securePort: number): string {
  const files = Math.min(FILES_MAX, hardFileLimit());
  return `
worker_processes ${WORKERS};
worker_rlimit_nofile ${files};
daemon off;
pid nginx.pid;
error_log stderr;
events { worker_connections ${files - FILES_APART}; multi_accept on; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  tcp_nodelay on;
  server {
    listen 127.0.0.1:${port} backlog=4096 reuseport;
    listen 127.0.0.1:${securePort} ssl backlog=4096 reuseport;
    ssl_certificate ${CERTIFICATE};
    ssl_certificate_key ${CERTIFICATE};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:sessions:10m;
    location = /hello { default_type text/plain; return 200 "${HELLO.replace('\n', '\\n')}"; }
    location = /status { stub_status; }
    location /files/ { root .; sendfile on; tcp_nopush on; }
  }
}
`;
}
