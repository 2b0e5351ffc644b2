// The rows of a relation as its changes make them: a bounded Z-set, keyed by the view's key
// columns.
//
// Rows with a key: a change replaces or removes the row of its key. A removal counts only while it
// names the row that is there, so that changes may be applied again over a newer reading of the
// rows and still end at the same state; that is what joins a bounded first reading to a stream
// without a gap. Rows without a key are counted: +1 adds one like it, -1 takes one away.
import type { Column, RowObject } from "./api";

export interface Row {
  id: string;
  values: unknown[];
  /** When this row last changed here (milliseconds), and which cells; 0 for rows of the first
   * reading. */
  changedAt: number;
  changed: boolean[] | null;
}

function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object") return false;
  return JSON.stringify(a) === JSON.stringify(b);
}

export class RowSet {
  /** Counts changes of the content, so that readers know when to look again. */
  version = 0;
  /** Rows left out because there are more than `max`. */
  dropped = 0;
  private rows = new Map<string, Row>();
  private copies = new Map<string, number>();
  private gone = new Map<string, Row>();
  private readonly keyed: number[];

  constructor(
    readonly columns: Column[],
    key: string[],
    readonly max: number,
  ) {
    this.keyed = key.map((name) => columns.findIndex((column) => column.name === name))
      .filter((index) => index >= 0);
  }

  get size(): number {
    return this.rows.size;
  }

  get hasKey(): boolean {
    return this.keyed.length > 0;
  }

  all(): Row[] {
    return [...this.rows.values()];
  }

  clear(): void {
    this.rows.clear();
    this.copies.clear();
    this.gone.clear();
    this.dropped = 0;
    this.version++;
  }

  /** Takes the place of everything so far; rows that stay the same keep their identity. */
  replace(objects: RowObject[]): void {
    const before = this.rows;
    this.rows = new Map();
    this.copies.clear();
    this.gone.clear();
    this.dropped = 0;
    for (const object of objects) {
      const values = this.valuesOf(object);
      const id = this.add(this.idOf(values), values, 0);
      const old = before.get(id);
      if (old && this.matches(old, values)) this.rows.set(id, old);
    }
    this.version++;
  }

  /** One change of a committed epoch. */
  apply(weight: number, object: RowObject, now: number): void {
    const values = this.valuesOf(object);
    const id = this.idOf(values);
    if (weight > 0) this.add(id, values, now);
    else this.remove(id, values);
    this.version++;
  }

  private valuesOf(object: RowObject): unknown[] {
    return this.columns.map((column) => object[column.name] ?? null);
  }

  private idOf(values: unknown[]): string {
    return JSON.stringify(this.hasKey ? this.keyed.map((index) => values[index]) : values);
  }

  private matches(row: Row, values: unknown[]): boolean {
    return row.values.every((value, i) => same(value, values[i]));
  }

  private add(key: string, values: unknown[], now: number): string {
    let id = key;
    if (!this.hasKey) {
      const copy = (this.copies.get(key) ?? 0) + 1;
      this.copies.set(key, copy);
      id = `${key}#${copy}`;
    }
    const old = this.rows.get(id) ?? this.gone.get(id);
    this.gone.delete(id);
    const changed = old && now > 0 ? values.map((value, i) => !same(value, old.values[i])) : null;
    if (!old || now === 0 || changed?.some(Boolean) || !this.rows.has(id)) {
      this.rows.set(id, { id, values, changedAt: now, changed });
    }
    this.evict();
    return id;
  }

  private remove(key: string, values: unknown[]): void {
    let id = key;
    if (!this.hasKey) {
      const copy = this.copies.get(key);
      if (copy === undefined) return;
      if (copy > 1) this.copies.set(key, copy - 1);
      else this.copies.delete(key);
      id = `${key}#${copy}`;
    }
    const row = this.rows.get(id);
    if (!row || !this.matches(row, values)) return;
    this.rows.delete(id);
    this.gone.set(id, row);
    if (this.gone.size > this.max) this.gone.clear();
  }

  /** The oldest entry goes first: rows of the first reading come in ascending order. */
  private evict(): void {
    while (this.rows.size > this.max) {
      const oldest = this.rows.keys().next().value as string;
      this.rows.delete(oldest);
      if (!this.hasKey) this.copies.delete(oldest.slice(0, oldest.lastIndexOf("#")));
      this.dropped++;
    }
  }
}
