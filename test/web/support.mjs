// What the dashboard's tests share: a browser, and the server under test, which is either the
// program or the stand-in of web/mock.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { startMock } from "../../web/mock/server.mjs";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
export const program = process.env.TIDEMILL_PROGRAM ?? join(root, "build", "tidemill");
export const hasProgram = existsSync(program);
export const require = createRequire(join(root, "web", "package.json"));
const { chromium } = require("playwright-core");

const START_MS_MAX = 20_000;
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
export const pictures = join(root, "build", "screenshots");

export async function openBrowser() {
  mkdirSync(pictures, { recursive: true });
  return chromium.launch({ executablePath: "/usr/bin/chromium", args: ARGUMENTS });
}

/** A page that remembers what went wrong in it: uncaught errors and refusals by the content
 * security policy. Failed requests are not among them, as tests provoke those. */
export async function openPage(browser, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, ...options });
  page.setDefaultTimeout(15_000);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(`uncaught: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
      page.problems.push(message.text());
    }
  });
  return page;
}

class Program {
  constructor() {
    this.data = mkdtempSync(join(tmpdir(), "tidemill-web-"));
    this.ports = { http: 0, kafka: 0, pg: 0 };
  }

  async start() {
    const address = (port) => `127.0.0.1:${port}`;
    this.child = spawn(program, ["serve", "--data", this.data, "--http", address(this.ports.http),
      "--kafka", address(this.ports.kafka), "--pg", address(this.ports.pg)],
    { stdio: ["ignore", "pipe", "pipe"] });
    process.once("exit", () => this.child.kill("SIGKILL"));
    let text = "";
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not ready in time:\n${text}`)),
        START_MS_MAX);
      const read = (chunk) => {
        text += chunk;
        if (!/^ready\b/m.test(text)) return;
        clearTimeout(timer);
        resolve();
      };
      this.child.stdout.on("data", read);
      this.child.stderr.on("data", read);
      this.child.on("exit", (status) => {
        clearTimeout(timer);
        reject(new Error(`the server ended with status ${status}:\n${text}`));
      });
    });
    for (const [, name, port] of text.matchAll(/^listening (\w+) \S*:(\d+)$/gm)) {
      this.ports[name] = Number(port);
    }
  }

  get url() {
    return `http://127.0.0.1:${this.ports.http}`;
  }

  async kill() {
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await gone;
  }

  /** A row that does not fit its table: only Kafka takes such. */
  async addDead(table, raw) {
    const kcat = spawn("kcat", ["-P", "-b", `127.0.0.1:${this.ports.kafka}`, "-t", table],
      { stdio: ["pipe", "ignore", "pipe"] });
    kcat.stdin.end(`${raw}\n`);
    const status = await new Promise((resolve) => kcat.on("exit", resolve));
    if (status !== 0) throw new Error(`kcat ended with status ${status}`);
  }

  async close() {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.kill();
    rmSync(this.data, { recursive: true, force: true });
  }
}

class StandIn {
  port = 0;

  async start() {
    this.mock = await startMock({ port: this.port, demo: false, engine: this.mock?.engine });
    this.port = this.mock.port;
  }

  get url() {
    return this.mock.url;
  }

  async kill() {
    await this.mock.close();
  }

  async addDead(table, raw) {
    this.mock.engine.addDead(table, 7, 'column "temp": expected a number', raw);
  }

  async close() {
    await this.mock.close();
  }
}

export async function startServer(kind) {
  const server = kind === "program" ? new Program() : new StandIn();
  await server.start();
  return server;
}

/** A call of the API that must succeed. */
export async function api(server, path, body) {
  const response = await fetch(server.url + path, {
    method: body === undefined ? "GET" : "POST",
    body: typeof body === "string" || body === undefined ? body : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
  return JSON.parse(text);
}
