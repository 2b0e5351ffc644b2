// Bundles src/ into dist/: index.html, one script and one style sheet named by their content's
// hash, the icon, and the licences of what is bundled. Everything the page loads is in dist/;
// nothing comes from elsewhere.
import { build } from "esbuild";
import { gzipSync } from "node:zlib";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, dirname } from "node:path";
import { fileURLToPath } from "node:url";

const GZIP_BYTES_MAX = 150 * 1024;
const BUNDLED = ["preact", "uplot", "@dagrejs/dagre", "@dagrejs/graphlib"];
const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");

function licences() {
  return BUNDLED.map((name) => {
    const folder = join(here, "node_modules", name);
    const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name}: no licence file in the package`);
    return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  }).join("\n----\n\n");
}

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
const result = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome100", "firefox100", "safari15"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  outdir: dist,
  entryNames: "[name]-[hash]",
  metafile: true,
  logLevel: "warning",
});

const outputs = Object.keys(result.metafile.outputs).map((path) => basename(path));
const named = (extension) => {
  const file = outputs.find((path) => path.endsWith(extension));
  if (!file) throw new Error(`the build made no ${extension} file`);
  return file;
};
const page = readFileSync(join(here, "src/index.html"), "utf8")
  .replace("{{script}}", `/${named(".js")}`)
  .replace("{{style}}", `/${named(".css")}`);
writeFileSync(join(dist, "index.html"), page);
copyFileSync(join(here, "src/icon.svg"), join(dist, "icon.svg"));
writeFileSync(join(dist, "licenses.txt"), licences());

const sizes = readdirSync(dist).sort().map((file) => {
  const bytes = readFileSync(join(dist, file));
  return { file, plain: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length };
});
const total = sizes.reduce((sum, size) => sum + size.gzip, 0);
for (const { file, plain, gzip } of sizes) {
  const [all, packed] = [String(plain).padStart(7), String(gzip).padStart(6)];
  console.log(`${file.padEnd(20)} ${all} bytes ${packed} gzip`);
}
console.log(`${"total".padEnd(20)} ${String(total).padStart(20)} gzip`);
if (total > GZIP_BYTES_MAX) {
  throw new Error(`dist is ${total} bytes gzip, more than ${GZIP_BYTES_MAX}`);
}
