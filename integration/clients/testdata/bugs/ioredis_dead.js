// A command on a connection whose server died.
'use strict';
const { host, settings, sleep, say } = require('./settings.js');
const Redis = require('ioredis');
(async () => {
  const redis = new Redis({ host, ...settings });
  redis.on('error', say);
  await redis.set('key', 'value');
  await sleep(2000);
  console.log(await redis.get('key'));
  redis.disconnect();
})();
