// Requests with an agent that keeps connections.
'use strict';
const { host, settings, sleep, say } = require('./settings.js');
const http = require('http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const request = () => new Promise((resolve, reject) => {
  const req = http.get({ host, agent }, (res) => res.resume().on('end', resolve));
  req.on('error', (e) => {
    if (settings.retry && req.reusedSocket) request().then(resolve, reject);
    else reject(e);
  });
});
(async () => {
  try {
    for (let n = 0; n < 2; n++) {
      await request();
      await sleep(100);
    }
    console.log('fine');
  } catch (e) {
    say(e);
    process.exitCode = 1;
  }
  agent.destroy();
})();
