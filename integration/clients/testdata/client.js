// http with an agent that keeps connections: client.js HOST PORT PLAY PATH PAUSE LIMIT
'use strict';
const http = require('http');
const [host, port, play, path, pause, limit] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
let tries = play === 'call' ? 2 : 1;

function request() {
  tries--;
  const req = http.request({ host, port, path, agent, timeout: 1000 * limit, method: play === 'upload' ? 'POST' : 'GET' });
  let late = false;
  req.on('timeout', () => {
    late = true;
    console.log('timeout event');
    req.destroy();
  });
  req.on('error', (e) => {
    if (!late) console.log(`error event: ${e.message}` + (e.message.includes(e.code) ? '' : ` (${e.code})`));
    agent.destroy();
  });
  req.on('socket', (s) => {
    if (play === 'wait') s.setKeepAlive(true, 1000);
  });
  req.on('response', (res) => {
    if (res.statusCode !== 200) console.log('HTTP ' + res.statusCode);
    res.on('error', (e) => console.log('error event of the response: ' + e.message));
    res.on('end', () => {
      if (tries > 0) {
        setTimeout(request, 1000 * pause);
      } else {
        console.log('fine');
        agent.destroy();
      }
    });
    res.resume();
  });
  req.end(play === 'upload' ? Buffer.alloc(8 << 20, 'x') : undefined);
}
request();
