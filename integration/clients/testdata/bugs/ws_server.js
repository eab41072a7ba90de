'use strict';
const { WebSocketServer } = require('ws');
new WebSocketServer({ host: process.argv[2], port: 8080 }).on('connection', (ws) => {
  ws.on('error', () => {});
  setTimeout(() => ws.send('news'), 3000);
});
