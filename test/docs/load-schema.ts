/**
 * docs/load-result.schema.json, made of the interface `LoadResult` and its docstrings: JSON Schema 2020-12. Knows the kinds of types
 * that a result has and throws for others. `reference-load-schema.test.ts` compares it with what is committed.
 */

import { fileURLToPath } from 'node:url';
import { Node, Project, type Symbol as TsSymbol, type Type } from 'ts-morph';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export type JsonSchema = { [keyword: string]: unknown };

export function makeLoadSchema(): JsonSchema {
  const project = new Project({ tsConfigFilePath: `${ROOT}tsconfig.json`, skipAddingFilesFromTsConfig: true });
  const source = project.addSourceFileAtPath(`${ROOT}src/protocol/load/result.ts`);
  project.resolveSourceFileDependencies();
  const definitions: Record<string, JsonSchema> = {};
  const whole = schemaOf(source.getInterfaceOrThrow('LoadResult').getType(), definitions);
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'shardfetch-load/1',
    description:
      'What `shardfetch load --json` writes. Within version 1 members are added, never removed or changed in meaning, so readers pass over what they do not know.',
    ...whole,
    $defs: Object.fromEntries(Object.entries(definitions).sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

function schemaOf(type: Type, definitions: Record<string, JsonSchema>): JsonSchema {
  if (type.isLiteral() && !type.isBoolean()) return { const: type.getLiteralValue() };
  if (type.isString()) return { type: 'string' };
  if (type.isNumber()) return { type: 'number' };
  if (type.isBoolean()) return { type: 'boolean' };
  if (type.isNull()) return { type: 'null' };
  if (type.isUnion()) return unionOf(type.getUnionTypes(), definitions);
  if (type.isArray() || type.isReadonlyArray()) {
    return { type: 'array', items: schemaOf(type.getArrayElementTypeOrThrow(), definitions) };
  }
  const values = type.getStringIndexType();
  if (values !== undefined) return { type: 'object', additionalProperties: schemaOf(values, definitions) };
  if (!type.isObject()) throw new Error(`No JSON Schema is known for ${type.getText()}.`);
  const name = type.isInterface() ? type.getSymbolOrThrow().getName() : '';
  if (name === '') return objectOf(type, definitions);
  if (definitions[name] === undefined) {
    definitions[name] = {};
    definitions[name] = { ...textOf(type.getSymbolOrThrow()), ...objectOf(type, definitions) };
  }
  return { $ref: `#/$defs/${name}` };
}

function unionOf(types: readonly Type[], definitions: Record<string, JsonSchema>): JsonSchema {
  if (types.every((type) => type.isStringLiteral())) return { enum: types.map((type) => type.getLiteralValue()) };
  return { anyOf: types.map((type) => schemaOf(type, definitions)) };
}

function objectOf(type: Type, definitions: Record<string, JsonSchema>): JsonSchema {
  const properties: Record<string, JsonSchema> = {};
  const required: string[] = [];
  for (const property of type.getProperties()) {
    const [declaration] = property.getDeclarations();
    const isOptional = property.isOptional();
    // A mapped type's members have no declaration of their own.
    const at = declaration ?? type.getSymbolOrThrow().getDeclarations()[0];
    if (at === undefined) throw new Error(`${property.getName()} is declared nowhere.`);
    const whole = property.getTypeAtLocation(at);
    properties[property.getName()] = {
      ...textOf(property),
      ...schemaOf(isOptional ? whole.getNonNullableType() : whole, definitions),
    };
    if (!isOptional) required.push(property.getName());
  }
  return { type: 'object', required, properties };
}

function textOf(symbol: TsSymbol): JsonSchema {
  const [declaration] = symbol.getDeclarations();
  if (declaration === undefined || !Node.isJSDocable(declaration)) return {};
  const text = declaration
    .getJsDocs()
    .map((doc) => doc.getDescription().trim().replaceAll(/\s+/g, ' '))
    .join(' ');
  return text === '' ? {} : { description: text };
}
