// TCP faults in Node tests: see README.md.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { defaultClient, FaultctlError, NeverFired } from "./client.js";

export { Client, defaultClient, FaultctlError, NeverFired } from "./client.js";

// Words of a run that are about which connections; the others stand beside them.
const names = ["to", "from", "netns", "container", "cgroup", "uid"];
const target = new Set([...names, "pid", "percent", "every", "first", "skip", "max-connections", "new-only"]);

// Before Node 20 these are symbols of nobody.
Symbol.asyncDispose ??= Symbol("Symbol.asyncDispose");

/** words, with those of the target below it. */
function specOf(words) {
  const spec = {};
  for (const [word, value] of Object.entries(words)) {
    if (value === undefined) continue;
    const key = word.replace(/[A-Z]/g, (c) => "-" + c.toLowerCase());
    if (target.has(key)) (spec.target ??= {})[key] = value;
    else spec[key] = value;
  }
  return spec;
}

/** A fault that is in force. inject makes it. */
export class Fault {
  #client;
  #path;
  #allowIdle;
  #renewer;
  #stopping;

  constructor(client, name, allowIdle, lease) {
    this.name = name;
    this.result = undefined; // how it ended, as the API says
    this.#client = client;
    this.#path = "/v1/experiments/" + encodeURIComponent(name);
    this.#allowIdle = allowIdle;
    this.#renewer = setInterval(() => client.call("POST", this.#path + "/renew").catch((e) => e.status && clearInterval(this.#renewer)), (lease * 1000) / 3);
    this.#renewer.unref();
  }

  /** Ends the fault. Everything is as it was before when the promise is fulfilled. */
  stop() {
    clearInterval(this.#renewer);
    this.#stopping ??= this.#client.call("DELETE", this.#path + "?wait=true").then((result) => (this.result = result));
    return this.#stopping;
  }

  /** Throws if the fault, once stopped, turns out to have shown nothing. */
  judge() {
    const { end, error, judged } = this.result;
    if (end === "lease" || end === "error") {
      throw new FaultctlError(`${this.name} ended before the block did: ${error ?? "this process did not renew its lease in time"}`, { field: end === "lease" ? "lease" : "" });
    }
    const idle = (judged ?? []).filter((j) => j.idle).map((j) => j.why ?? `${j.fault}: ${j.verdict}`);
    if (idle.length && !this.#allowIdle) throw new NeverFired(idle.join("\n"), "If the fault need not fire, pass allowIdle: true.");
  }

  async [Symbol.asyncDispose]() {
    await this.stop();
    this.judge();
  }

  /** On how many connections the fault has acted so far. */
  async fired() {
    return (this.result ?? (await this.#client.call("GET", this.#path))).counts.fired;
  }

  /** Waits until the fault has acted on so many connections. */
  async waitFired(count = 1, seconds = 10) {
    for (const deadline = Date.now() + seconds * 1000; (await this.fired()) < count; await sleep(10)) {
      if (Date.now() > deadline) throw new NeverFired(`${this.name} did not act on ${count} connections within ${seconds} s`);
    }
  }

  /** Changes the fault while it is in force, such as {percent: 20}. */
  update(words) {
    return this.#client.call("PATCH", this.#path, specOf(words));
  }

  /** Lets packets pass until resume. */
  pause() {
    return this.#client.call("POST", this.#path + "/pause");
  }

  /** Ends a pause: the next matching packet is judged. */
  resume() {
    return this.#client.call("POST", this.#path + "/resume");
  }
}

/** Begins a fault: it is in force when the promise is fulfilled, until the end of the block. */
export async function inject(fault, { allowIdle = false, lease = 15, client, ...words }) {
  const spec = { fault, ...specOf(words) };
  if (!names.some((word) => spec.target?.[word] !== undefined)) {
    throw new FaultctlError("no connections are named", { field: "to", advice: 'Name the service: to: "localhost:5432".' });
  }
  if (!(lease >= 1)) throw new FaultctlError("a lease is at least a second", { field: "lease" });
  client ??= await defaultClient();
  const base = [fault].flat().join("+").replace(/[^A-Za-z0-9._-].*/, "").slice(0, 40);
  const name = `${base}-${randomBytes(6).toString("hex")}`;
  await client.call("PUT", `/v1/experiments/${encodeURIComponent(name)}?lease=${Math.round(lease * 1000)}ms`, spec);
  return new Fault(client, name, allowIdle, lease);
}

/** Has a fault in force while body runs, and returns what body does. */
export async function during(fault, words, body) {
  const one = await inject(fault, words);
  let value;
  try {
    value = await body(one);
  } catch (e) {
    await one.stop(); // the test has failed already
    throw e;
  }
  await one.stop();
  one.judge();
  return value;
}
