// Tests of the package against a real faultctl, in a network namespace of their own.
import assert from "node:assert";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import * as faultctl from "../index.js";

let service, to;
before(async () => {
  service = createServer((c) => c.pipe(c).on("error", () => {})).listen(0, "127.0.0.1");
  await once(service, "listening");
  to = `127.0.0.1:${service.address().port}`;
});
after(() => service.close());

const struck = () =>
  new Promise((answer, fail) => {
    const c = connect(service.address().port, "127.0.0.1", () => c.write("hello"));
    c.on("data", () => (c.destroy(), answer(false)));
    c.on("error", (e) => (e.code === "ECONNRESET" ? answer(true) : fail(e)));
  });

async function until(holds) {
  for (const deadline = Date.now() + 20_000; !(await holds()); await sleep(10)) assert(Date.now() < deadline, "it does not come");
}

test("a block", async () => {
  assert(!(await struck()));
  const value = await faultctl.during("reset", { to }, async (fault) => {
    assert(await struck());
    await fault.waitFired(1);
    return fault;
  });
  assert(!(await struck()));
  assert.equal(value.result.end, "stopped");
  assert.equal(await value.fired(), 1);
});

test("what await using calls", async () => {
  const fault = await faultctl.inject("reset", { to });
  assert(await struck());
  await fault[Symbol.asyncDispose]();
  assert(!(await struck()));
  const idle = await faultctl.inject("reset", { to });
  await assert.rejects(idle[Symbol.asyncDispose](), faultctl.NeverFired);
});

test("never fired", async () => {
  await assert.rejects(
    faultctl.during("reset", { to }, () => {}),
    (e) => e instanceof faultctl.NeverFired && /reset never fired/.test(e.message) && /allowIdle/.test(e.advice),
  );
  await faultctl.during("reset", { to, allowIdle: true }, () => {});
});

test("a failure inside is kept", async () => {
  await assert.rejects(faultctl.during("reset", { to }, () => Promise.reject(new Error("mine"))), /mine/);
  assert(!(await struck()));
});

test("changes", async () => {
  await faultctl.during("reset", { to, newOnly: true }, async (fault) => {
    assert(await struck());
    await fault.pause();
    assert(!(await struck()));
    await fault.resume();
    assert(await struck());
    await fault.update({ percent: 0 });
    assert(!(await struck()));
  });
});

for (const [fault, words, field, says] of [
  ["rset", { to: ":1" }, "fault", /did you mean "reset"/],
  ["reset", { to: ":1", percent: 400 }, "percent", /from 0 to 100/],
  ["reset", { to: ":1", pcap: "/tmp/x" }, "pcap", /Leave it out/],
  ["reset", {}, "to", /Name the service/],
  ["reset", { to: ":1", lease: 0.1 }, "lease", /at least a second/],
]) {
  test(`an error about ${field}`, () => assert.rejects(faultctl.during(fault, words, () => {}), (e) => e.field === field && says.test(e.message)));
}

test("a lease is renewed", async () => {
  const client = await faultctl.defaultClient();
  await faultctl.during("reset", { to, lease: 6 }, async ({ name }) => {
    const ends = async () => (await client.call("GET", `/v1/experiments/${name}`)).lease;
    const first = await ends();
    await until(async () => (await ends()) > first);
    assert(await struck());
  });
});

test("a lease that is lost", async () => {
  const client = await faultctl.defaultClient();
  const deaf = Object.assign(Object.create(client), { call: (method, path, body) => (path.endsWith("/renew") ? Promise.resolve() : client.call(method, path, body)) });
  await assert.rejects(
    faultctl.during("reset", { to, lease: 1, client: deaf }, () => until(async () => !(await struck()))),
    (e) => e.field === "lease" && /did not renew/.test(e.message),
  );
});

const child = `
import * as faultctl from ${JSON.stringify(new URL("../index.js", import.meta.url).href)};
const fault = await faultctl.inject("reset", { to: process.argv[1], lease: 4 });
console.log((await faultctl.defaultClient()).address);
setTimeout(() => {}, 600_000);`;

for (const own of [true, false]) {
  test(`a process that is killed, ${own ? "with a faultctl of its own" : "of a faultctl that goes on"}`, async () => {
    const shared = await faultctl.Client.start();
    const env = { ...process.env, ...(!own && { FAULTCTL_SOCKET: shared.address }) };
    const killed = spawn(process.execPath, ["--input-type=module", "-e", child, to], { env, stdio: ["ignore", "pipe", "inherit"] });
    const address = String(await once(killed.stdout, "data")).trim();
    assert.equal(address === shared.address, !own);
    assert(await struck());
    killed.kill("SIGKILL");
    await once(killed, "exit");
    await until(async () => !(await struck()));
    if (own) await until(async () => !(await new faultctl.Client(address).reachable()));
    await until(async () => (await shared.call("GET", "/v1/experiments")).experiments.length === 0);
    await shared.close();
    assert(!(await shared.reachable()));
  });
}

test("a URL and a token", async () => {
  const directory = mkdtempSync(join(tmpdir(), "faultctl-"));
  const file = join(directory, "token");
  const p = spawn(process.env.FAULTCTL_BIN, ["serve", "--listen", "127.0.0.1:8676", "--token-file", file, "--until-eof"], { stdio: ["pipe", "pipe", "inherit"] });
  assert.match(String(await once(p.stdout, "data")), /http:\/\/127\.0\.0\.1:8676/);
  const client = new faultctl.Client("http://127.0.0.1:8676", readFileSync(file, "utf8").trim());
  await faultctl.during("reset", { to, client }, async () => assert(await struck()));
  await assert.rejects(new faultctl.Client("http://127.0.0.1:8676", "guess").call("GET", "/v1/process"), { status: 401 });
  p.stdin.end();
  await once(p, "exit");
  rmSync(directory, { recursive: true });
  assert.throws(() => new faultctl.Client("https://127.0.0.1:1"), /neither a path nor a URL/);
});

test("no faultctl", async () => {
  await assert.rejects(faultctl.Client.start("/nowhere/faultctl"), /cannot be started/);
  await assert.rejects(faultctl.Client.start("/bin/false"), /has ended/);
});
