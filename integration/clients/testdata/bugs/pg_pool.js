// node-postgres: a pooled connection that is idle for 4 s.
'use strict';
const { host, settings, sleep, say } = require('./settings.js');
const { Pool } = require('pg');
(async () => {
  const pool = new Pool({ host, user: 'postgres', database: 'postgres', max: 1, ...settings });
  pool.on('error', say);
  await pool.query('select 1');
  await sleep(4000);
  try {
    await pool.query('select 1');
    console.log('fine');
  } catch (e) {
    say(e);
    process.exitCode = 1;
  }
  await pool.end();
})();
