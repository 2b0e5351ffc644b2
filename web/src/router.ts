// Pages by the address' hash, so that any server that gives out index.html will do.
import { Store } from "./store";

export interface Route {
  page: string;
  name: string;
}

function parse(hash: string): Route {
  const [page = "", ...rest] = hash.replace(/^#\/?/, "").split("/");
  let name = rest.join("/");
  try {
    name = decodeURIComponent(name);
  } catch { /* not percent-encoded: the text as it is */ }
  return { page: page || "overview", name };
}

export const route = new Store<Route>(parse(location.hash));

export const link = (page: string, name = ""): string =>
  `#/${page}${name ? `/${encodeURIComponent(name)}` : ""}`;

export function startRouting(): void {
  window.addEventListener("hashchange", () => {
    route.set(parse(location.hash));
    window.scrollTo(0, 0);
  });
}
