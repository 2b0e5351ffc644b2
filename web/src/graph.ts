// The pipeline's layout: layers from source to view, by dagre. Only where things are; how they look
// is the page's.
import { Graph, layout } from "@dagrejs/dagre";
import type { Pipeline } from "./api";

export const NODE_WIDTH = 208;
export const NODE_HEIGHT = 92;

export interface Point {
  x: number;
  y: number;
}

export interface Layout {
  width: number;
  height: number;
  /** Centres, by node id. */
  nodes: Map<string, Point>;
  edges: { from: string; to: string; points: Point[] }[];
}

export function layoutPipeline(pipeline: Pipeline, vertical: boolean): Layout {
  const graph = new Graph();
  graph.setGraph({
    rankdir: vertical ? "TB" : "LR", nodesep: 28, ranksep: vertical ? 40 : 44, marginx: 12,
    marginy: 12,
  });
  graph.setDefaultEdgeLabel(() => ({}));
  const known = new Set(pipeline.nodes.map((node) => node.id));
  for (const id of known) graph.setNode(id, { width: NODE_WIDTH, height: NODE_HEIGHT });
  const edges = pipeline.edges.filter((edge) => known.has(edge.from) && known.has(edge.to));
  for (const { from, to } of edges) graph.setEdge(from, to);
  layout(graph);
  const size = graph.graph() as { width?: number; height?: number };
  const nodes = new Map<string, Point>();
  for (const id of known) {
    const { x, y } = graph.node(id) as unknown as Point;
    nodes.set(id, { x, y });
  }
  return {
    width: size.width ?? 0,
    height: size.height ?? 0,
    nodes,
    edges: edges.map(({ from, to }) => {
      const { points } = graph.edge(from, to) as unknown as { points: Point[] };
      const inner = points.slice(1, -1);
      const ends = [side(nodes.get(from)!, vertical, 1), side(nodes.get(to)!, vertical, -1)];
      return { from, to, points: [ends[0]!, ...inner, ends[1]!] };
    }),
  };
}

/** The middle of the side where edges leave (1) or arrive (-1). */
function side(centre: Point, vertical: boolean, way: number): Point {
  return vertical ? { x: centre.x, y: centre.y + (way * NODE_HEIGHT) / 2 }
    : { x: centre.x + (way * NODE_WIDTH) / 2, y: centre.y };
}

/** A smooth line through the points of an edge. */
export function edgePath(points: Point[], vertical: boolean): string {
  const [first, ...rest] = points;
  if (!first) return "";
  let from = first;
  let path = `M${first.x.toFixed(1)} ${first.y.toFixed(1)}`;
  for (const to of rest) {
    const middle = { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 };
    const a = vertical ? { x: from.x, y: middle.y } : { x: middle.x, y: from.y };
    const b = vertical ? { x: to.x, y: middle.y } : { x: middle.x, y: to.y };
    path += `C${[a.x, a.y, b.x, b.y, to.x, to.y].map((n) => n.toFixed(1)).join(" ")}`;
    from = to;
  }
  return path;
}

/** Width by the order of magnitude of the rate. */
export const edgeWidth = (rate: number | null): number =>
  rate === null || rate <= 0 ? 1.5 : Math.min(1.5 + Math.log10(1 + rate), 8);
