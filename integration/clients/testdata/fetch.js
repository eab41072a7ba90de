// fetch: fetch.js HOST PORT PLAY PATH PAUSE LIMIT
'use strict';
const [host, port, play, path, pause, limit] = process.argv.slice(2);

async function main() {
  for (let tries = play === 'call' ? 2 : 1; tries > 0; tries--) {
    const upload = play === 'upload' ? { method: 'POST', body: Buffer.alloc(8 << 20, 'x') } : {};
    const res = await fetch(`http://${host.includes(':') ? `[${host}]` : host}:${port}${path}`, { signal: AbortSignal.timeout(1000 * limit), ...upload });
    if (!res.ok) console.log('HTTP ' + res.status);
    await res.text();
    if (tries > 1) await new Promise((next) => setTimeout(next, 1000 * pause));
  }
  console.log('fine');
}

main()
  .catch((e) => console.log(String(e) + (e.cause ? `, cause: ${e.cause}` : '')))
  .then(() => process.exit());
