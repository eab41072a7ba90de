// The settings of a client: NAME=VALUE arguments, numbers as numbers.
'use strict';
const [host, ...rest] = process.argv.slice(2);
const settings = Object.fromEntries(rest.map((a) => a.split('=')).map(([k, v]) => [k, v === 'true' ? true : isNaN(v) ? v : Number(v)]));
const sleep = (ms) => new Promise((f) => setTimeout(f, ms));
const say = (e) => console.log(e.message.includes(e.code) || !e.code ? e.message : `${e.message} (${e.code})`);
module.exports = { host, settings, sleep, say };
