// A command on a connection that was idle for 6 s.
'use strict';
const { host, settings, sleep, say } = require('./settings.js');
const { createClient } = require('redis');
(async () => {
  const client = createClient({ socket: { host }, ...settings });
  client.on('error', say);
  await client.connect();
  await client.set('key', 'value');
  await sleep(6000);
  console.log(await client.get('key'));
  client.destroy();
})();
