/**
 * Says one thing to a WebSocket server and shows what comes back: node examples/websocket.mjs http://host:port/path text. What a package
 * for WebSockets would do with the stream is done by hand here, for one short frame each way.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { openDuplex, Pool } from 'shardfetch';

const [url, text = 'hello'] = process.argv.slice(2);
const pool = new Pool({ shards: 1 });

const { response, duplex } = await openDuplex(pool.fetch, url, {
  upgrade: 'websocket',
  headers: { 'sec-websocket-version': '13', 'sec-websocket-key': randomBytes(16).toString('base64') },
});

if (duplex === null) {
  console.log(`no WebSocket here: ${response.status}`);
  await response.body?.cancel();
} else {
  duplex.write(frame(text));
  const [bytes] = await once(duplex, 'data');
  console.log(bytes.subarray(2).toString());
  duplex.end();
  duplex.resume();
  await once(duplex, 'close');
}

await pool.close();

/** A text frame of a client's, which are masked (RFC 6455 §5). */
function frame(payload) {
  const mask = randomBytes(4);
  const masked = Buffer.from(payload).map((byte, index) => byte ^ mask[index % 4]);
  return Buffer.concat([Buffer.from([0x81, 0x80 | masked.length]), mask, masked]);
}
