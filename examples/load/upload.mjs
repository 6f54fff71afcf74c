// Uploads a file and asks whether it arrived whole. Before the run the file is made, after it it is removed.
//
//     shardfetch load --scenario examples/load/upload.mjs -c 20 -d 1m http://127.0.0.1:8080/

import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const FILE_BYTES = 4 * 1024 * 1024;

/** Runs once. All users share what it answers. */
export async function setup() {
  const folder = await mkdtemp(path.join(tmpdir(), 'upload-'));
  const file = path.join(folder, 'file');
  const bytes = randomBytes(FILE_BYTES);
  await writeFile(file, bytes);
  return { folder, file, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** @param {{ folder: string }} data */
export async function teardown({ folder }) {
  await rm(folder, { recursive: true });
}

/** @type {import('shardfetch/load').Scenario<Awaited<ReturnType<typeof setup>>>} */
export default async function upload({ http, user, data, check }) {
  const name = `/files/${user.id}-${user.iteration}`;
  // Read from the file as it is sent: a thousand users hold a thousand small pieces of it, not a thousand files.
  const put = await http.put(name, { body: { file: data.file }, tag: 'PUT /files/:name', timeoutMs: 30_000 });
  check(put, { 'upload was taken': ({ status }) => status === 201 });

  const head = await http.head(name, { tag: 'HEAD /files/:name' });
  check(head, { 'it arrived whole': ({ headers }) => headers.get('x-sha256') === data.sha256 });
}
