// Reads a list to its end, page by page, as its `next` links lead.
//
//     shardfetch load --scenario examples/load/pagination.mjs --iterations 100 http://127.0.0.1:8080/

/** More pages than this are a list that leads in a circle. */
const PAGES_MAX = 1_000;

/** @type {import('shardfetch/load').Scenario} */
export default async function readAll({ http, check, tag }) {
  tag('page');
  let count = 0;
  /** @type {string | null} */
  let next = '/list?limit=20';
  for (let pages = 0; next !== null; pages++) {
    if (pages === PAGES_MAX) throw new Error(`the list has more than ${PAGES_MAX} pages`);
    const response = await http.get(next);
    if (!check(response, { 'page is there': ({ ok }) => ok })) return;
    /** @type {{ items: unknown[], total: number, next: string | null }} */
    const page = response.json();
    count += page.items.length;
    next = page.next;
    if (next === null) check(count, { 'all items came': (items) => items === page.total });
  }
}
