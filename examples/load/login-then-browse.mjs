// Users log in once, with a name of their own, and browse then: list, one item of it, think, again.
//
//     shardfetch load --scenario examples/load/login-then-browse.mjs -c 50 -d 30s https://shop.example/

import { fileURLToPath } from 'node:url';

/** @type {import('shardfetch/load').ScenarioOptions} */
export const options = {
  data: { users: fileURLToPath(new URL('users.csv', import.meta.url)) },
  thresholds: ['checks<99%', 'p99>500ms'],
};

/** @type {import('shardfetch/load').Scenario<unknown, { name?: string }>} */
export default async function loginThenBrowse({ http, rows, vars, check, think }) {
  // What is in `vars` stays with this user; the cookie of its session does so by itself.
  if (vars.name === undefined) {
    const { name, password } = rows.users;
    const login = await http.post('/login', { form: { name, password } });
    if (!check(login, { 'logged in': ({ status }) => status === 200 }))
      throw new Error(`login answered ${login.status}`);
    vars.name = name;
  }

  const list = await http.get('/items');
  check(list, { 'list is not empty': (response) => response.json().length > 0 });
  await think(50, 200);

  const [first] = list.json();
  // One name for all items: else each would be a line of the report.
  const item = await http.get(`/items/${first.id}`, { tag: 'GET /items/:id' });
  check(item, {
    'item is there': ({ status }) => status === 200,
    'item is for this user': (response) => response.json().seenBy === vars.name,
  });
}
