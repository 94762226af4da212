/**
 * YAML as values, each with the line where it stands. What YAML allows and no scenario needs is refused with its line:
 * fields that are lists, fields given twice, aliases that stand for nothing, for themselves, or for more than fits.
 */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Alias, type YAMLMap } from 'yaml';
import { shown } from '../control/config-error.ts';
import { ScenarioSyntaxError } from './errors.ts';
import { faultOf } from './yaml-fault.ts';

/** What aliases may stand for in one file: many times a long scenario, and still nothing for a computer. */
const ALIASED_MAX_VALUES = 100_000;

export type Path = readonly PropertyKey[];

export interface YamlText {
  /** Undefined: there is nothing in it. */
  value: unknown;
  /** Of the field itself; of the nearest one around it when it is missing. */
  lineAt(path: Path): number;
  /** Names of fields as the file orders them: an object has names of digits first. */
  namesAt(path: Path): string[];
}

/** Throws ScenarioSyntaxError. */
export function readYaml(source: string, file: string): YamlText {
  const lines = new LineCounter();
  const doc = parseDocument(source, { lineCounter: lines, prettyErrors: false, uniqueKeys: false });
  const [fault] = [...doc.errors, ...doc.warnings];
  if (fault !== undefined) {
    const { field, what } = faultOf(source, fault);
    throw new ScenarioSyntaxError(file, lines.linePos(fault.pos[0]).line, field, what);
  }
  const lineOf = (at: number): number => lines.linePos(at).line;
  const { contents } = doc;
  const empty = contents === null || (isScalar(contents) && contents.value === null && contents.source === '');
  return {
    value: empty ? undefined : new Reader(file, lineOf).read(contents, []),
    lineAt: (path) => lineOf(placeOf(contents, path)),
    namesAt(path) {
      const node: unknown = doc.getIn(path, true);
      return isMap(node) ? node.items.map((p) => (isScalar(p.key) ? String(p.key.value) : '')) : [];
    },
  };
}

/** What an anchor names; undefined while it is still being read. */
type Anchored = { value: unknown; values: number } | undefined;

class Reader {
  readonly #file: string;
  readonly #lineOf: (at: number) => number;
  /** An alias stands for the last anchor of its name before it. */
  readonly #anchors = new Map<string, Anchored>();
  /** Values read so far, those that aliases stand for included. */
  #values = 0;
  #aliased = 0;

  constructor(file: string, lineOf: (at: number) => number) {
    this.#file = file;
    this.#lineOf = lineOf;
  }

  read(node: unknown, path: Path): unknown {
    if (isAlias(node)) return this.#alias(node, path);
    const anchor = isMap(node) || isSeq(node) || isScalar(node) ? node.anchor : undefined;
    const before = this.#values;
    this.#values += 1;
    if (anchor !== undefined) this.#anchors.set(anchor, undefined);
    const value = this.#plain(node, path);
    if (anchor !== undefined) this.#anchors.set(anchor, { value, values: this.#values - before });
    return value;
  }

  #plain(node: unknown, path: Path): unknown {
    if (isMap(node)) return this.#map(node, path);
    if (isSeq(node)) return node.items.map((item, i) => this.read(item, [...path, i]));
    return isScalar(node) ? node.value : null;
  }

  #map(node: YAMLMap, path: Path): Record<string, unknown> {
    const found = new Map<string, unknown>();
    for (const { key, value } of node.items) {
      const name = this.read(key, path);
      const text = textOf(name);
      if (text === undefined) this.#fail(key, path, `${shown(name)} is no name of a field; allowed: text before the colon`);
      const at = [...path, text];
      if (found.has(text)) this.#fail(key, at, 'is given twice; allowed: once');
      found.set(text, this.read(value, at));
    }
    // Unlike an assignment, this makes a field also of a name such as __proto__.
    return Object.fromEntries(found);
  }

  #alias(node: Alias, path: Path): unknown {
    const { source } = node;
    if (!this.#anchors.has(source)) {
      const known = [...this.#anchors.keys()].map((a) => `*${a}`).join(', ');
      this.#fail(node, path, `*${source} stands for nothing: there is no &${source} before it; allowed: ${known === '' ? 'no alias' : known}`);
    }
    const anchored = this.#anchors.get(source);
    if (anchored === undefined) this.#fail(node, path, `*${source} stands for what it is a part of; allowed: an alias after its anchor's value`);
    this.#aliased += anchored.values;
    this.#values += anchored.values;
    if (this.#aliased > ALIASED_MAX_VALUES) {
      this.#fail(node, path, `with *${source} aliases stand for too much; allowed: ${String(ALIASED_MAX_VALUES)} values in all`);
    }
    return anchored.value;
  }

  #fail(node: unknown, path: Path, what: string): never {
    throw new ScenarioSyntaxError(this.#file, this.#lineOf(startOf(node) ?? 0), fieldName(path), what);
  }
}

/** A name as it is written; undefined for a list or fields. */
function textOf(name: unknown): string | undefined {
  if (name === null) return '';
  return typeof name === 'string' || typeof name === 'number' || typeof name === 'boolean' ? String(name) : undefined;
}

/** `steps[3].write.at`, the steps counted from 1. */
export function fieldName(path: Path): string {
  return path.reduce<string>((name, key) => {
    if (typeof key === 'number') return `${name}[${String(key + 1)}]`;
    return name === '' ? String(key) : `${name}.${String(key)}`;
  }, '');
}

function placeOf(root: unknown, path: Path): number {
  let node: unknown = root;
  let at = 0;
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find((p) => isScalar(p.key) && String(p.key.value) === String(key));
      if (pair === undefined) break;
      if (isScalar(pair.key) && pair.key.range) at = pair.key.range[0];
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(key)];
      at = startOf(node) ?? at;
    } else {
      break;
    }
  }
  return at;
}

function startOf(node: unknown): number | undefined {
  return (isMap(node) || isSeq(node) || isScalar(node) || isAlias(node)) && node.range ? node.range[0] : undefined;
}
