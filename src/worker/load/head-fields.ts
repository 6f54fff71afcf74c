/** The fields of a response's head, as text in latin-1: what cookies, redirects and scenarios read of it. The parser has checked it. */

/** All values of a field, in order. `name` in lower case. */
export function fieldValues(head: string, name: string): string[] {
  const values: string[] = [];
  for (const [field, value] of fieldsOf(head)) if (field === name) values.push(value);
  return values;
}

/** Names in lower case. */
export function fieldsOf(head: string): [name: string, value: string][] {
  const fields: [string, string][] = [];
  for (const line of head.split(/\r?\n/).slice(1)) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.push([line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]);
  }
  return fields;
}
