// A value that components watch. Small on purpose: no dependency tracking, no batching beyond
// Preact's own.
import { useEffect, useState } from "preact/hooks";

export class Store<T> {
  private readonly listeners = new Set<() => void>();

  constructor(private current: T) {}

  get value(): T {
    return this.current;
  }

  set(next: T): void {
    this.current = next;
    for (const listener of this.listeners) listener();
  }

  update(change: Partial<T>): void {
    this.set({ ...this.current, ...change });
  }

  watch(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

export function useStore<T>(store: Store<T>): T {
  const [, redraw] = useState(0);
  useEffect(() => store.watch(() => redraw((n) => n + 1)), [store]);
  return store.value;
}

/** A setting kept in the browser; works without storage too (private windows). */
export function remembered(key: string, fallback: string): Store<string> {
  let first = fallback;
  try {
    first = localStorage.getItem(key) ?? fallback;
  } catch { /* no storage: the setting lasts as long as the page */ }
  const store = new Store(first);
  store.watch(() => {
    try {
      localStorage.setItem(key, store.value);
    } catch { /* as above */ }
  });
  return store;
}

/** "utc" or "local": how times are shown. */
export const zone = remembered("tidemill.zone", "utc");
export const useLocal = (): boolean => useStore(zone) === "local";
