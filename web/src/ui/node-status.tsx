// A pipeline node's state in a word, with its icon.
import type { PipelineNode } from "../api";
import { Status, type Tone } from "./parts";

export function nodeTone(node: PipelineNode): [Tone, string] {
  if (node.status === "failed" || node.error) return ["bad", "failed"];
  if (node.status === "backfilling") return ["busy", "backfilling"];
  if (node.status === "idle") return ["idle", "idle"];
  return ["ok", node.status ?? "live"];
}

export function nodeStatus(node: PipelineNode) {
  const [tone, word] = nodeTone(node);
  return <Status tone={tone}>{word}</Status>;
}
