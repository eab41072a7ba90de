// The HTTP API of `faultctl serve`.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { accessSync, constants, readFileSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const defaultSocket = "/run/faultctl.sock";

/** What faultctl, or the way to it, refused. */
export class FaultctlError extends Error {
  constructor(message, { field = "", advice = "", status = 0, code = 0 } = {}) {
    super(advice ? `${message}\n  ${advice}` : message);
    this.name = "FaultctlError";
    Object.assign(this, { field, advice, status, code });
  }
}

/** Nothing was learnt of a fault: the test has shown nothing about it. */
export class NeverFired extends FaultctlError {
  constructor(message, advice) {
    super(message, { advice });
    this.name = "NeverFired";
  }
}

/** A faultctl that runs: the path of its unix socket, or its URL and token. */
export class Client {
  #token;
  #target;
  #process;

  constructor(address, token = "") {
    this.address = address;
    this.#token = token;
    this.#target = { socketPath: address };
    if (address.includes("://")) {
      const url = new URL(address);
      if (url.protocol !== "http:" || !url.port) throw new FaultctlError(`${address} is neither a path nor a URL such as http://127.0.0.1:8675`);
      this.#target = { host: url.hostname.replace(/[[\]]/g, ""), port: Number(url.port) };
    }
  }

  /** Starts a faultctl of its own. It ends with this process, however that ends. */
  static async start(program = process.env.FAULTCTL_BIN || onPath("faultctl")) {
    if (!program) {
      throw new FaultctlError("there is no faultctl", {
        advice: `Install it, name its program in FAULTCTL_BIN, or start faultctl serve --socket ${defaultSocket}.`,
      });
    }
    const client = new Client(join(tmpdir(), `faultctl-${randomBytes(8).toString("hex")}.sock`)); // faultctl removes it
    const { FAULTCTL_LISTEN, FAULTCTL_TOKEN_FILE, FAULTCTL_IDLE_EXIT, ...env } = process.env;
    // Its input is a pipe that nobody writes to: it ends when this process does.
    const child = spawn(program, ["serve", "--socket", client.address, "--until-eof"], { stdio: ["pipe", "pipe", "pipe"], env });
    let said = "";
    let ended = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (said = (said + text).slice(-4096)));
    child.on("error", (e) => (ended = `${program} cannot be started: ${e.message}`));
    child.on("exit", () => (ended ||= `${program} serve has ended: ${said.trim()}`));
    client.#process = child;
    const deadline = Date.now() + 30_000;
    while (!(await client.reachable())) {
      if (ended || Date.now() > deadline) {
        await client.close();
        throw new FaultctlError(ended || `${program} serve does not answer: ${said.trim()}`);
      }
      await sleep(10);
    }
    for (const handle of [child, child.stdin, child.stdout, child.stderr]) handle.unref(); // it does not keep this process
    return client;
  }

  /** Whether somebody listens there whom this process may talk to. */
  reachable() {
    const { socketPath: path, ...rest } = this.#target;
    return new Promise((answer) => {
      const socket = connect({ path, ...rest });
      socket.on("connect", () => (socket.destroy(), answer(true)));
      socket.on("error", () => answer(false));
    });
  }

  /** Ends the faultctl that start started; nothing for another. */
  async close() {
    const child = this.#process;
    if (!child) return;
    this.#process = undefined;
    if (child.pid && child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((done) => child.on("exit", done));
      child.ref();
      child.stdin.end();
      await gone;
    }
  }

  /** Makes a request and returns what the JSON of the answer says. */
  call(method, path, body) {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = { ...(text && { "content-type": "application/json", "content-length": Buffer.byteLength(text) }), ...(this.#token && { authorization: `Bearer ${this.#token}` }) };
    return new Promise((answer, fail) => {
      const sent = request({ ...this.#target, method, path, headers, agent: false, timeout: 30_000 }, (response) => {
        let said = "";
        response.setEncoding("utf8");
        response.on("data", (more) => (said += more));
        response.on("error", fail);
        response.on("end", () => {
          let value;
          try {
            value = JSON.parse(said);
          } catch {}
          if (response.statusCode < 300) return answer(value);
          const { errors = [], detail, field, advice, code } = value ?? {};
          const message = errors.map((e) => e.detail).join("\n") || detail || `${response.statusCode} ${response.statusMessage}`;
          fail(new FaultctlError(message, { field, advice, code, status: response.statusCode }));
        });
      });
      sent.on("timeout", () => sent.destroy(new Error("no answer in 30 s")));
      sent.on("error", (e) => fail(new FaultctlError(`faultctl at ${this.address} does not answer: ${e.message}`)));
      sent.end(text);
    });
  }
}

function onPath(program) {
  for (const directory of (process.env.PATH ?? "").split(delimiter)) {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return join(directory, program);
    } catch {}
  }
}

let chosen;

/** The faultctl that the environment names, or one that is started once. */
export function defaultClient() {
  chosen ??= choose();
  chosen.catch(() => (chosen = undefined));
  return chosen;
}

async function choose() {
  const { FAULTCTL_URL: url, FAULTCTL_TOKEN: token, FAULTCTL_TOKEN_FILE: file, FAULTCTL_SOCKET: socket, FAULTCTL_BIN: program } = process.env;
  if (url) return new Client(url, token || (file && readFileSync(file, "utf8").trim()));
  if (socket) return new Client(socket);
  const client = new Client(defaultSocket);
  if (!program && (await client.reachable())) return client;
  return Client.start();
}
