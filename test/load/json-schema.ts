/**
 * Checks a value against a JSON Schema with the few keywords that docs/load-result.schema.json uses; throws for a keyword that it does
 * not know, so that nothing is passed over. Stricter than the schema in one way: members that it does not name are reported.
 */

type Schema = Readonly<Record<string, unknown>>;

const ANNOTATIONS = new Set(['$schema', '$defs', 'title', 'description']);

/** What is wrong, as `path: sentence`; empty when nothing is. */
export function schemaErrors(root: Schema, value: unknown): string[] {
  const errors: string[] = [];
  check(root, root, value, '', errors);
  return errors;
}

function check(root: Schema, schema: Schema, value: unknown, path: string, errors: string[]): void {
  for (const [keyword, rule] of Object.entries(schema)) {
    if (ANNOTATIONS.has(keyword)) continue;
    switch (keyword) {
      case '$ref':
        check(root, definition(root, rule as string), value, path, errors);
        break;
      case 'type':
        if (typeOf(value) !== rule) errors.push(`${path}: is ${typeOf(value)}, not ${rule}`);
        break;
      case 'const':
        if (value !== rule) errors.push(`${path}: is not ${JSON.stringify(rule)}`);
        break;
      case 'enum':
        if (!(rule as unknown[]).includes(value)) errors.push(`${path}: ${JSON.stringify(value)} is none of them`);
        break;
      case 'anyOf':
        if (!(rule as Schema[]).some((one) => matches(root, one, value))) errors.push(`${path}: matches nothing`);
        break;
      case 'required':
        for (const name of rule as string[]) if (!has(value, name)) errors.push(`${path}/${name}: is missing`);
        break;
      case 'properties':
        checkProperties(root, rule as Readonly<Record<string, Schema>>, value, path, errors);
        break;
      case 'additionalProperties':
        for (const [name, member] of entriesOf(value)) check(root, rule as Schema, member, `${path}/${name}`, errors);
        break;
      case 'items':
        if (!Array.isArray(value)) break;
        for (const [at, item] of value.entries()) check(root, rule as Schema, item, `${path}/${at}`, errors);
        break;
      default:
        throw new Error(`The keyword ${keyword} is not known here.`);
    }
  }
}

function checkProperties(
  root: Schema,
  properties: Readonly<Record<string, Schema>>,
  value: unknown,
  path: string,
  errors: string[],
): void {
  for (const [name, member] of entriesOf(value)) {
    const rule = properties[name];
    if (rule === undefined) errors.push(`${path}/${name}: is not in the schema`);
    else check(root, rule, member, `${path}/${name}`, errors);
  }
}

function matches(root: Schema, schema: Schema, value: unknown): boolean {
  const errors: string[] = [];
  check(root, schema, value, '', errors);
  return errors.length === 0;
}

function definition(root: Schema, reference: string): Schema {
  const name = reference.replace('#/$defs/', '');
  const found = (root.$defs as Readonly<Record<string, Schema>>)[name];
  if (found === undefined) throw new Error(`${reference} leads nowhere.`);
  return found;
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeOf(value) === 'object' ? Object.entries(value as object) : [];
}

function has(value: unknown, name: string): boolean {
  return typeOf(value) === 'object' && Object.hasOwn(value as object, name);
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}
