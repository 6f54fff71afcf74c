/**
 * The API reference: docs/api/*.md and docs/pool-options.md, made of the sources' own docstrings. It writes no file: `reference.test.ts`
 * compares the pages with what is committed, and `npm run docs:api` writes them. TypeScript is ts-morph's own.
 */

import { fileURLToPath } from 'node:url';
import {
  type ClassDeclaration,
  type ExportedDeclarations,
  type InterfaceDeclaration,
  type JSDoc,
  Node,
  Project,
  type Symbol as TsSymbol,
} from 'ts-morph';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SOURCES = `${ROOT}src/`;

export interface EntryPage {
  /** As it is imported. */
  readonly name: string;
  readonly source: string;
  /** Below docs/. */
  readonly page: string;
}

export const ENTRIES: readonly EntryPage[] = [
  { name: 'shardfetch', source: 'src/main/index.ts', page: 'api/shardfetch.md' },
  { name: 'shardfetch/multi', source: 'src/worker/multi/index.ts', page: 'api/multi.md' },
  { name: 'shardfetch/load', source: 'src/main/load/index.ts', page: 'api/load.md' },
];

const GENERATED = '<!-- Made by `npm run docs:api` of the docstrings in src/: change those. -->';

export interface Reference {
  /** Text by path below docs/. */
  readonly pages: ReadonlyMap<string, string>;
  /** `shardfetch: Pool` for each public export without a docstring. */
  readonly undocumented: readonly string[];
}

/** A row of a table of members. */
export interface MemberRow {
  readonly name: string;
  readonly type: string;
  /** '' where the docstring names none. */
  readonly fallback: string;
  readonly text: string;
}

let project: Project | null = null;

function openProject(): Project {
  project ??= new Project({ tsConfigFilePath: `${ROOT}tsconfig.json`, skipAddingFilesFromTsConfig: true });
  return project;
}

export function makeReference(): Reference {
  const pages = new Map<string, string>();
  const undocumented: string[] = [];
  for (const entry of ENTRIES) pages.set(entry.page, entryPage(entry, undocumented));
  pages.set('pool-options.md', poolOptionsPage());
  return { pages, undocumented };
}

/** Public members of an exported class or interface of which no docstring says anything. */
export function silentMembers(source: string, exportName: string): string[] {
  const file = openProject().addSourceFileAtPath(ROOT + source);
  openProject().resolveSourceFileDependencies();
  const declaration = file.getExportedDeclarations().get(exportName)?.[0];
  const members = declaration === undefined ? [] : membersOf(declaration);
  return members.filter((member) => docOf(member) === '').map((member) => `${exportName}.${nameOf(member)}`);
}

/** The names of all public members of an exported class or interface. */
export function memberNames(source: string, exportName: string): string[] {
  const file = openProject().addSourceFileAtPath(ROOT + source);
  openProject().resolveSourceFileDependencies();
  const declaration = file.getExportedDeclarations().get(exportName)?.[0];
  return declaration === undefined ? [] : membersOf(declaration).flatMap((member) => nameOf(member) ?? []);
}

/** Every pool option with its path: `connections.perOrigin`. Objects that have options of their own give a row for each of these. */
export function poolOptionRows(): MemberRow[] {
  const source = openProject().addSourceFileAtPath(`${ROOT}src/main/options.ts`);
  openProject().resolveSourceFileDependencies();
  const rows: MemberRow[] = [];
  addOptionRows(source.getInterfaceOrThrow('PoolOptions'), '', rows);
  return rows;
}

const GROUPS_MAX_DEPTH = 2;

function addOptionRows(owner: Node, prefix: string, rows: MemberRow[], depth = 0): void {
  for (const member of membersOf(owner)) {
    if (!Node.isPropertySignature(member)) continue;
    const row = rowOf(member);
    const group = depth < GROUPS_MAX_DEPTH ? groupOf(member) : null;
    const hasText = row.text !== '' || row.fallback !== '';
    if (group === null || hasText) rows.push({ ...row, name: prefix + row.name });
    if (group !== null) addOptionRows(group, `${prefix}${row.name}.`, rows, depth + 1);
  }
}

/** What declares the members of an option that is an object with options; null: it is a plain value. */
function groupOf(member: Node): Node | null {
  if (!Node.isPropertySignature(member)) return null;
  const typeNode = member.getTypeNode();
  if (typeNode === undefined) return null;
  if (Node.isTypeLiteral(typeNode)) return typeNode;
  for (const reference of [typeNode, ...typeNode.getDescendants()]) {
    if (!Node.isTypeReference(reference)) continue;
    const declaration = declarationOf(reference.getTypeName().getSymbol());
    if (declaration !== undefined && Node.isInterfaceDeclaration(declaration) && isOptionGroup(declaration)) {
      return declaration;
    }
  }
  return null;
}

/** An interface of plain values; a jar, which has functions, is a value by itself. */
function isOptionGroup(declaration: InterfaceDeclaration): boolean {
  return isOurs(declaration) && declaration.getMethods().length === 0 && declaration.getProperties().length > 0;
}

function poolOptionsPage(): string {
  const rows = poolOptionRows();
  const ofRequest = new Set(memberNames('src/main/index.ts', 'FetchInit'));
  const lines = [
    GENERATED,
    '# Pool options',
    '',
    '`new Pool(options)`: every option, from the sources. Times are milliseconds (`…Ms`), sizes bytes (`…Bytes`). "Request": may also stand in the init of',
    "a request, for that one; what it does not name is the pool's. What is wrong with an option throws at once: `INVALID_ARGUMENT`, with its name in `limit`.",
    '',
    'How to choose them: [guide.md](guide.md#tuning-a-pool). Why the clocks are what they are: [timeouts.md](timeouts.md).',
    '',
    '| option | type | default | request | meaning |',
    '|---|---|---|---|---|',
    ...rows.map(({ name, type, fallback, text }) => {
      const own = ofRequest.has(name.split('.')[0] as string) ? 'yes' : '';
      return `| \`${name}\` | ${code(type)} | ${cell(fallback)} | ${own} | ${cell(text)} |`;
    }),
  ];
  return `${lines.join('\n')}\n`;
}

function entryPage({ name, source }: EntryPage, undocumented: string[]): string {
  const file = openProject().addSourceFileAtPath(ROOT + source);
  openProject().resolveSourceFileDependencies();
  const exported = new Map<string, ExportedDeclarations>();
  for (const [exportName, declarations] of file.getExportedDeclarations()) {
    const declaration = declarations[0];
    if (declaration !== undefined) exported.set(exportName, declaration);
  }
  for (const [exportName, declaration] of exported) {
    if (docOf(declaration) === '') undocumented.push(`${name}: ${exportName}`);
  }
  const sections = new Map<string, string[]>(SECTIONS.map((section) => [section, []]));
  const sorted = [...exported].sort(([one], [other]) => compare(one, other));
  for (const [exportName, declaration] of sorted) {
    sections.get(sectionOf(declaration))?.push(declarationText(exportName, declaration));
  }
  const lines = [GENERATED, `# \`${name}\``, '', headOf(file), ''];
  lines.push(`\`import { … } from '${name}'\`. Types are for TypeScript; all others are values.`, '');
  lines.push(contents(sorted), '');
  for (const [section, texts] of sections) {
    if (texts.length > 0) lines.push(`## ${section}`, '', ...texts);
  }
  const named = namedBy(exported);
  if (named.length > 0) {
    const elsewhere = named.map(([typeName]) => linkElsewhere(typeName, source)).filter((link) => link !== null);
    lines.push('## Types that these name', '');
    if (elsewhere.length > 0) lines.push(`Of other pages: ${elsewhere.join(' · ')}.`, '');
    lines.push('Not exported by name; what they are is part of the interface all the same.', '');
    for (const [typeName, declaration] of named) {
      if (linkElsewhere(typeName, source) === null) lines.push(declarationText(typeName, declaration));
    }
  }
  return `${lines.join('\n').trimEnd()}\n`;
}

/** To the page of the first other entry that exports it; null: none does. */
function linkElsewhere(typeName: string, ownSource: string): string | null {
  for (const { source, page } of ENTRIES) {
    if (source === ownSource) continue;
    const file = openProject().addSourceFileAtPath(ROOT + source);
    if (!file.getExportedDeclarations().has(typeName)) continue;
    return `[${typeName}](${page.replace('api/', '')}#${typeName.toLowerCase()})`;
  }
  return null;
}

/** In code point order, the same everywhere. */
function compare(one: string, other: string): number {
  return one < other ? -1 : Number(one > other);
}

const SECTIONS = ['Functions', 'Classes', 'Constants', 'Types'] as const;

function sectionOf(declaration: Node): (typeof SECTIONS)[number] {
  if (Node.isFunctionDeclaration(declaration)) return 'Functions';
  if (Node.isClassDeclaration(declaration)) return 'Classes';
  if (Node.isVariableDeclaration(declaration)) return isFunctionValue(declaration) ? 'Functions' : 'Constants';
  return 'Types';
}

function isFunctionValue(declaration: Node): boolean {
  return declaration.getType().getCallSignatures().length > 0;
}

function contents(exported: readonly [string, Node][]): string {
  return exported.map(([name]) => `[${name}](#${name.toLowerCase()})`).join(' · ');
}

/** The first comment of the file: what the entry is for. */
function headOf(file: { getFullText(): string }): string {
  const [, text = ''] = /^\/\*\*(.*?)\*\//s.exec(file.getFullText()) ?? [];
  return text.replace(/\s*\n\s*\*?\s*/g, ' ').trim();
}

function declarationText(name: string, declaration: Node): string {
  const lines = [`### ${name}`, ''];
  const doc = docOf(declaration);
  if (doc !== '') lines.push(doc, '');
  if (Node.isInterfaceDeclaration(declaration)) lines.push(...interfaceLines(name, declaration));
  else if (Node.isClassDeclaration(declaration)) lines.push(...classLines(name, declaration));
  else lines.push('```typescript', signatureOf(name, declaration), '```', '');
  return lines.join('\n');
}

function interfaceLines(name: string, declaration: InterfaceDeclaration): string[] {
  const bases = declaration.getExtends().map((base) => base.getText());
  const extended = bases.length === 0 ? '' : ` extends ${bases.join(', ')}`;
  const lines = ['```typescript', `interface ${name}${extended}`, '```', ''];
  const rows = membersOf(declaration).map(rowOf);
  if (rows.length > 0) lines.push(...memberTable(rows), '');
  return lines;
}

function memberTable(rows: readonly MemberRow[]): string[] {
  const hasDefaults = rows.some(({ fallback }) => fallback !== '');
  const lines = hasDefaults
    ? ['| member | type | default | |', '|---|---|---|---|']
    : ['| member | type | |', '|---|---|---|'];
  for (const { name, type, fallback, text } of rows) {
    const middle = hasDefaults ? ` ${cell(fallback)} |` : '';
    lines.push(`| \`${name}\` | ${code(type)} |${middle} ${cell(text)} |`);
  }
  return lines;
}

function classLines(name: string, declaration: ClassDeclaration): string[] {
  const base = declaration.getExtends()?.getText();
  const lines = ['```typescript', `class ${name}${base === undefined ? '' : ` extends ${base}`}`, '```', ''];
  const members = [...declaration.getConstructors().filter(isPublic), ...membersOf(declaration)];
  const values: MemberRow[] = [];
  for (const member of members) {
    if (isCallable(member)) lines.push(...methodLines(member));
    else values.push(rowOf(member));
  }
  if (values.length > 0) lines.push(...memberTable(values), '');
  return lines;
}

function isCallable(member: Node): boolean {
  if (Node.isConstructorDeclaration(member) || Node.isMethodDeclaration(member)) return true;
  return Node.isPropertyDeclaration(member) && Node.isArrowFunction(member.getInitializer());
}

function methodLines(member: Node): string[] {
  const doc = docOf(member);
  const overloads =
    Node.isMethodDeclaration(member) || Node.isConstructorDeclaration(member) ? member.getOverloads() : [];
  const calls = (overloads.length > 0 ? overloads : [member]).map(callOf);
  const lines = ['```typescript', ...calls, '```', ''];
  if (doc !== '') lines.push(doc, '');
  return lines;
}

/** `warm(origin: string | URL, count = 1): Promise<number>`. */
function callOf(member: Node): string {
  const isStatic = Node.isMethodDeclaration(member) && member.isStatic();
  const callable = Node.isPropertyDeclaration(member) ? member.getInitializerOrThrow() : member;
  if (!Node.isParametered(callable)) return '';
  const parameters = callable.getParameters().map((parameter) => flat(parameter.getText().replace(/^readonly /, '')));
  const given = parameters.join(', ');
  if (Node.isConstructorDeclaration(member)) return `new (${given})`;
  const name = Node.hasName(member) ? member.getName() : '';
  const generics = Node.isTypeParametered(callable) ? callable.getTypeParameters().map((one) => one.getText()) : [];
  const generic = generics.length === 0 ? '' : `<${generics.join(', ')}>`;
  const answer = Node.isReturnTyped(callable) ? flat(callable.getReturnTypeNode()?.getText() ?? 'void') : 'void';
  return `${isStatic ? 'static ' : ''}${name}${generic}(${given}): ${answer}`;
}

/** The text of a declaration without its body, value or comments. */
function signatureOf(name: string, declaration: Node): string {
  if (Node.isFunctionDeclaration(declaration)) return `function ${callOf(declaration)}`;
  if (Node.isTypeAliasDeclaration(declaration)) return withoutComments(declaration.getText().replace(/^export /, ''));
  if (Node.isVariableDeclaration(declaration)) {
    const typeNode = declaration.getTypeNode();
    const type = typeNode === undefined ? null : flat(typeNode.getText());
    if (type !== null) return `const ${name}: ${type}`;
    return withoutComments(`const ${flatSource(declaration.getText())}`);
  }
  return flat(declaration.getText());
}

function flatSource(text: string): string {
  return text.replace(/ as const satisfies [^)]*/, '');
}

/** Public members with those of bases that are ours, each name once. */
function membersOf(owner: Node): Node[] {
  const found = new Map<string, Node>();
  const visit = (node: Node): void => {
    const members =
      Node.isInterfaceDeclaration(node) || Node.isTypeLiteral(node) || Node.isClassDeclaration(node)
        ? node.getMembers()
        : [];
    for (const member of members) {
      if (!isPublic(member) || Node.isConstructorDeclaration(member)) continue;
      const name = nameOf(member);
      if (name !== null && !found.has(name)) found.set(name, member);
    }
    const baseClass = Node.isClassDeclaration(node) ? node.getBaseClass() : undefined;
    if (baseClass !== undefined && isOurs(baseClass)) visit(baseClass);
    if (!Node.isInterfaceDeclaration(node)) return;
    for (const base of node.getBaseDeclarations()) if (isOurs(base)) visit(base);
  };
  visit(owner);
  return [...found.values()];
}

function nameOf(member: Node): string | null {
  if (Node.isSetAccessorDeclaration(member)) return null;
  if (Node.isCallSignatureDeclaration(member)) return '(call)';
  if (!Node.hasName(member)) return null;
  const name = member.getName();
  return name.startsWith('#') || name.startsWith('[') ? null : name;
}

function isPublic(member: Node): boolean {
  if (Node.isModifierable(member) && (member.hasModifier('private') || member.hasModifier('protected'))) return false;
  return !jsDocsOf(member).some((doc) => doc.getTags().some((tag) => tag.getTagName() === 'internal'));
}

function rowOf(member: Node): MemberRow {
  const doc = docOf(member);
  const sentence = /(?:^|(?<=[.:;)] ))Default:? (.*?)\.(?= |$)/.exec(doc);
  const text = sentence === null ? doc : doc.replace(sentence[0], '').replaceAll('  ', ' ').trim();
  const isOptional = Node.isQuestionTokenable(member) && member.hasQuestionToken();
  const isStatic = Node.isStaticable(member) && member.isStatic();
  const name = nameOf(member) ?? '';
  return {
    name: `${isStatic ? 'static ' : ''}${name}${isOptional && !Node.isPropertySignature(member) ? '?' : ''}`,
    type: typeOf(member),
    fallback: sentence?.[1] ?? '',
    text,
  };
}

function typeOf(member: Node): string {
  if (Node.isMethodSignature(member) || Node.isCallSignatureDeclaration(member)) {
    const given = member.getParameters().map((parameter) => flat(parameter.getText()));
    return `(${given.join(', ')}) => ${flat(member.getReturnTypeNode()?.getText() ?? 'void')}`;
  }
  const typeNode =
    Node.isPropertySignature(member) || Node.isPropertyDeclaration(member)
      ? member.getTypeNode()
      : Node.isGetAccessorDeclaration(member)
        ? member.getReturnTypeNode()
        : undefined;
  if (typeNode === undefined) return flat(member.getType().getBaseTypeOfLiteralType().getText(member));
  if (Node.isTypeLiteral(typeNode)) return 'object';
  return flat(withoutComments(typeNode.getText())).replace(/ \| undefined$/, '');
}

/** The docstring as one paragraph: that of the member itself, or of the same one in what its class implements or extends. */
function docOf(node: Node): string {
  const overloads = Node.isMethodDeclaration(node) || Node.isConstructorDeclaration(node) ? node.getOverloads() : [];
  // The first declaration of a file has the file's comment before its own.
  const own = [node, ...overloads].map((declaration) => jsDocsOf(declaration).at(-1)).find((doc) => doc !== undefined);
  if (own !== undefined) return flat(own.getDescription());
  const owner = node.getParent();
  const name = Node.hasName(node) ? node.getName() : null;
  if (owner === undefined || !Node.isClassDeclaration(owner) || name === null) return '';
  const implemented = owner.getImplements().map((one) => declarationOf(one.getExpression().getSymbol()));
  for (const declaration of [...implemented, owner.getBaseClass()]) {
    if (declaration === undefined || !isOurs(declaration)) continue;
    const same = membersOf(declaration).find((member) => nameOf(member) === name);
    if (same !== undefined) return docOf(same);
  }
  return '';
}

function jsDocsOf(node: Node): JSDoc[] {
  const documented = Node.isVariableDeclaration(node) ? node.getVariableStatement() : node;
  return Node.isJSDocable(documented) ? documented.getJsDocs() : [];
}

/** The engine's own, which its classes name: nobody outside makes one. */
const HIDDEN: ReadonlySet<string> = new Set(['DispatchPool', 'Io', 'PreparedRequest', 'Route']);

/** Types of ours that exported declarations name and that are not exported themselves, and those that these name. */
function namedBy(exported: ReadonlyMap<string, Node>): [string, Node][] {
  const seen = new Set<Node>(exported.values());
  const named = new Map<string, Node>();
  const pending: Node[] = [...exported.values()];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    for (const declaration of typesNamedIn(node)) {
      if (seen.has(declaration) || !Node.hasName(declaration) || HIDDEN.has(declaration.getName())) continue;
      seen.add(declaration);
      named.set(declaration.getName(), declaration);
      pending.push(declaration);
    }
  }
  return [...named].sort(([one], [other]) => compare(one, other));
}

function typesNamedIn(node: Node): Node[] {
  const shown = shownNodes(node);
  const found: Node[] = [];
  for (const part of shown) {
    for (const reference of [part, ...part.getDescendants()]) {
      if (!Node.isTypeReference(reference)) continue;
      const declaration = declarationOf(reference.getTypeName().getSymbol());
      if (declaration !== undefined && isOurs(declaration) && !Node.isTypeParameterDeclaration(declaration)) {
        found.push(declaration);
      }
    }
  }
  return found;
}

/** The parts of a declaration that a page shows: types, not bodies. */
function shownNodes(node: Node): Node[] {
  const members = Node.isClassDeclaration(node) || Node.isInterfaceDeclaration(node) ? membersOf(node) : [node];
  if (Node.isClassDeclaration(node)) members.push(...node.getConstructors().filter(isPublic));
  return members.flatMap((member) => {
    const callable = Node.isPropertyDeclaration(member) ? (member.getInitializer() ?? member) : member;
    if (Node.isTypeAliasDeclaration(callable)) return [callable.getTypeNodeOrThrow()];
    const typeNode = Node.isTyped(member) ? member.getTypeNode() : undefined;
    const parameters = Node.isParametered(callable) ? callable.getParameters() : [];
    const types = [...parameters.map((parameter) => parameter.getTypeNode())];
    types.push(Node.isReturnTyped(callable) ? callable.getReturnTypeNode() : undefined, typeNode);
    return types.filter((type) => type !== undefined);
  });
}

function declarationOf(symbol: TsSymbol | undefined): Node | undefined {
  const real = symbol?.getAliasedSymbol() ?? symbol;
  return real?.getDeclarations()[0];
}

function isOurs(declaration: Node): boolean {
  return declaration.getSourceFile().getFilePath().startsWith(SOURCES);
}

function withoutComments(text: string): string {
  return text
    .replace(/\/\*.*?\*\//gs, '')
    .replace(/^\s*\/\/.*$/gm, '')
    .replace(/\n\s*\n/g, '\n');
}

/** On one line. */
function flat(text: string): string {
  return text
    .replace(/\s*\n\s*/g, ' ')
    .replace(/^\| /, '')
    .trim();
}

function code(type: string): string {
  return `\`${type.replaceAll('|', '\\|')}\``;
}

/** As the cell of a table. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
