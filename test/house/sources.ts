/**
 * What the house rules look at: the files of the checkout, and the facts that a syntax tree tells about one.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

export const rootDir = path.resolve(import.meta.dirname, '..', '..');

export interface Source {
  /** Relative to the checkout, with `/`. */
  path: string;
  text: string;
}

export function sourcesBelow(folder: string, endings: readonly string[] = ['.ts']): Source[] {
  return readdirSync(path.join(rootDir, folder), { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile() && endings.some((end) => e.name.endsWith(end)))
    .map((e) => path.relative(rootDir, path.join(e.parentPath, e.name)))
    .filter((p) => !p.includes('node_modules/') && !p.includes('/build/'))
    .sort()
    .map((p) => ({ path: p, text: readFileSync(path.join(rootDir, p), 'utf8') }));
}

export interface ImportFact {
  module: string;
  /** Names bound by it; `*` for a namespace or default import. */
  names: string[];
  typeOnly: boolean;
  line: number;
}

export interface GlobalFact {
  /** `Date`, or with one member `Math.random`. */
  name: string;
  line: number;
}

export interface SourceFacts {
  imports: ImportFact[];
  /** Identifiers that the file uses and nothing in it declares; types are left out. */
  globals: GlobalFact[];
  /** Lines where a type is given up. */
  anyLines: number[];
}

/** What a file imports, and which names of the runtime it reaches for without importing them. */
export function factsOf(source: Source): SourceFacts {
  const file = ts.createSourceFile(source.path, source.text, ts.ScriptTarget.ES2023, true);
  const lineOf = (n: ts.Node) => file.getLineAndCharacterOfPosition(n.getStart(file)).line + 1;
  const imports: ImportFact[] = [];
  const used: GlobalFact[] = [];
  const declared = new Set<string>();
  const anyLines: number[] = [];
  let typeDepth = 0;

  const visit = (n: ts.Node): void => {
    if (ts.isImportDeclaration(n) && ts.isStringLiteral(n.moduleSpecifier)) {
      imports.push({ module: n.moduleSpecifier.text, ...bindings(n.importClause), line: lineOf(n) });
      for (const name of localNames(n.importClause)) declared.add(name);
      return;
    }
    if (ts.isExportDeclaration(n) && n.moduleSpecifier !== undefined && ts.isStringLiteral(n.moduleSpecifier)) {
      imports.push({ module: n.moduleSpecifier.text, names: ['*'], typeOnly: n.isTypeOnly, line: lineOf(n) });
      return;
    }
    if (ts.isCallExpression(n) && n.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [what] = n.arguments;
      imports.push({
        module: what !== undefined && ts.isStringLiteral(what) ? what.text : '(computed)',
        names: ['*'],
        typeOnly: false,
        line: lineOf(n),
      });
    }
    if (n.kind === ts.SyntaxKind.AnyKeyword) anyLines.push(lineOf(n));
    if (ts.isTypeNode(n) || ts.isInterfaceDeclaration(n) || ts.isTypeAliasDeclaration(n)) {
      typeDepth += 1;
      ts.forEachChild(n, visit);
      typeDepth -= 1;
      return;
    }
    const name = declaredName(n);
    if (name !== undefined) declared.add(name);
    if (ts.isPropertyAccessExpression(n)) {
      if (ts.isIdentifier(n.expression) && typeDepth === 0) used.push({ name: `${n.expression.text}.${n.name.text}`, line: lineOf(n) });
      else visit(n.expression);
      return;
    }
    if (ts.isClassElement(n) || ts.isPropertyAssignment(n)) {
      // The name of a member is no use of the global of that name.
      n.forEachChild((child) => {
        if (child !== n.name || ts.isComputedPropertyName(child)) visit(child);
      });
      return;
    }
    if (ts.isIdentifier(n) && typeDepth === 0) used.push({ name: n.text, line: lineOf(n) });
    ts.forEachChild(n, visit);
  };
  visit(file);
  return { imports, anyLines, globals: used.filter((g) => !declared.has(g.name.split('.')[0] ?? '')) };
}

function declaredName(n: ts.Node): string | undefined {
  const declares =
    ts.isVariableDeclaration(n) || ts.isParameter(n) || ts.isBindingElement(n) || ts.isFunctionDeclaration(n) || ts.isClassDeclaration(n);
  return declares && n.name !== undefined && ts.isIdentifier(n.name) ? n.name.text : undefined;
}

function bindings(clause: ts.ImportClause | undefined): { names: string[]; typeOnly: boolean } {
  if (clause === undefined) return { names: [], typeOnly: false };
  const typeOnly = clause.phaseModifier === ts.SyntaxKind.TypeKeyword;
  const named = clause.namedBindings;
  const names = clause.name === undefined ? [] : ['*'];
  if (named === undefined) return { names, typeOnly };
  if (ts.isNamespaceImport(named)) return { names: [...names, '*'], typeOnly };
  return {
    names: [...names, ...named.elements.map((e) => (e.propertyName ?? e.name).text)],
    typeOnly: typeOnly || (names.length === 0 && named.elements.length > 0 && named.elements.every((e) => e.isTypeOnly)),
  };
}

function localNames(clause: ts.ImportClause | undefined): string[] {
  const named = clause?.namedBindings;
  const elements = named === undefined ? [] : ts.isNamespaceImport(named) ? [named.name.text] : named.elements.map((e) => e.name.text);
  return clause?.name === undefined ? elements : [clause.name.text, ...elements];
}
