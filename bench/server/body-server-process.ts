/**
 * The process of the server for bodies: `GET …/N` answers N bytes, `GET …/json/N` JSON of N bytes and `GET …/gzip/N` the same in gzip; a
 * POST is answered with the number of body bytes that came. It reads just enough of HTTP for the clients of the benchmark: no chunks, no pipelining.
 */

import net from 'node:net';
import zlib from 'node:zlib';

const HEAD_END = '\r\n\r\n';
/** What bodies are cut from; longer ones repeat it. */
const PART = Buffer.alloc(1024 * 1024);

process.on('disconnect', () => process.exit(0));

const server = net.createServer({ noDelay: true }, (socket) => {
  let head = '';
  /** Of the upload under way: its length, and what of it has not come. */
  let length = 0;
  let left = 0;

  socket.on('data', (bytes) => {
    if (left > 0) {
      take(bytes.length);
      return;
    }
    const before = head.length;
    head += bytes.toString('latin1');
    const end = head.indexOf(HEAD_END);
    if (end < 0) return;
    const get = /^GET \S*\/(\d+) /.exec(head);
    const json = /^GET \S*\/(json|gzip)\/\d+ /.exec(head);
    const field = /\r\ncontent-length: *(\d+)/i.exec(head);
    head = '';
    if (get !== null && json !== null) {
      socket.write(jsonAnswer(Number(get[1]), json[1] === 'gzip'));
      return;
    }
    if (get !== null) {
      send(socket, Number(get[1]));
      return;
    }
    length = Number(field?.[1] ?? 0);
    left = length;
    take(before + bytes.length - (end + HEAD_END.length));
  });
  socket.on('error', () => socket.destroy());

  function take(bytes: number): void {
    left -= bytes;
    if (left > 0) return;
    const text = String(length);
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}${HEAD_END}${text}`);
  }
});

/** Whole answers, made once. */
const answers = new Map<string, Buffer>();

function jsonAnswer(bytes: number, coded: boolean): Buffer {
  const key = `${bytes} ${coded}`;
  let answer = answers.get(key);
  if (answer === undefined) {
    const text = json(bytes);
    const body = coded ? zlib.gzipSync(text) : Buffer.from(text);
    const field = coded ? 'Content-Encoding: gzip\r\n' : '';
    answer = Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\n${field}Content-Length: ${body.length}${HEAD_END}`), body]);
    answers.set(key, answer);
  }
  return answer;
}

/** Rows as an API gives them, padded to `bytes`. */
function json(bytes: number): string {
  let text = '[';
  for (let id = 0; ; id++) {
    const row = JSON.stringify({
      id,
      name: `item ${id}`,
      price: Math.round(Math.abs(Math.sin(id)) * 1e6) / 100,
      tags: ['new', 'sale'],
    });
    if (text.length + row.length + 2 > bytes) break;
    text += id === 0 ? row : `,${row}`;
  }
  return `${text.padEnd(bytes - 1)}]`;
}

function send(socket: net.Socket, bytes: number): void {
  socket.cork();
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}${HEAD_END}`);
  for (let left = bytes; left > 0; left -= PART.length)
    socket.write(left < PART.length ? PART.subarray(0, left) : PART);
  socket.uncork();
}

server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  process.send?.((server.address() as net.AddressInfo).port);
});
