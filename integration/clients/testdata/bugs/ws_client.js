// A WebSocket client that waits for a message, which its server sends 3 s after it connected.
'use strict';
const { host, settings, say } = require('./settings.js');
const WebSocket = require('ws');
function connect() {
  const ws = new WebSocket(`ws://${host}:8080`);
  let alive = true;
  ws.on('error', say);
  ws.on('pong', () => { alive = true; });
  ws.on('message', (m) => { console.log('got ' + m); process.exit(0); });
  ws.on('close', (code) => { console.log('closed, ' + code); setTimeout(connect, 200); });
  if (settings.ping) ws.on('open', () => {
    const timer = setInterval(() => {
      if (!alive) { clearInterval(timer); ws.terminate(); return; }
      alive = false;
      ws.ping();
    }, settings.ping);
  });
}
connect();
