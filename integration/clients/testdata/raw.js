// A plain net.Socket: raw.js HOST PORT PLAY PATH PAUSE LIMIT
'use strict';
const net = require('net');
const [host, port, play, path, pause, limit] = process.argv.slice(2);
const head = `${play === 'upload' ? 'POST' : 'GET'} ${path} HTTP/1.1\r\nHost: server\r\n`;

let answers = 0;
const s = net.connect({ host, port });
s.setTimeout(1000 * limit, () => {
  console.log(s.connecting ? 'timeout event while connecting' : 'timeout event');
  s.destroy();
});
s.on('error', (e) => console.log('error event: ' + e.message));
s.on('end', () => {
  console.log(play === 'end' ? 'fine' : 'end event');
});
s.on('connect', () => {
  if (play === 'wait') s.setKeepAlive(true, 1000);
  if (play === 'upload') {
    const body = Buffer.alloc(8 << 20, 'x');
    s.write(`${head}Content-Length: ${body.length}\r\n\r\n`);
    s.write(body);
  } else {
    s.write(head + '\r\n');
  }
});
s.on('data', (data) => {
  answers++;
  if (play === 'end') return;
  if (play === 'call' && answers === 1) {
    s.setTimeout(0); // it counts for calls, not for the pause
    setTimeout(() => {
      s.setTimeout(1000 * limit);
      if (s.writable) s.write(head + '\r\n');
    }, 1000 * pause);
    return;
  }
  console.log(data.includes(' 200 ') ? 'fine' : 'data event: ' + data.toString().split('\r\n')[0]);
  s.destroy();
});
