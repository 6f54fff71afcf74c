/** To the types of undici and of the runtime's fetch a pool's dispatcher is a Dispatcher. Checked by the compiler: what runs proves nothing. */

import { Pool } from 'shardfetch';
import type { Dispatcher as Dispatcher7 } from 'undici';
import type { Dispatcher as Dispatcher6 } from 'undici6';
import type { Dispatcher as Dispatcher8 } from 'undici8';
import { expect, test } from 'vitest';

test('types', async () => {
  await using pool = new Pool({ shards: 0 });
  const dispatcher = pool.dispatcher();
  const all: [Dispatcher6, Dispatcher7, Dispatcher8] = [dispatcher, dispatcher, dispatcher];
  const init: RequestInit = { dispatcher };
  expect([...all, init.dispatcher]).toEqual([dispatcher, dispatcher, dispatcher, dispatcher]);
});
