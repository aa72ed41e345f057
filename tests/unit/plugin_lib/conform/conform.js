'use strict';
const fs = require('fs');
const rune = require(`${__dirname}/rune.js`);

function kind(value) {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value === 'bigint' ? 'number' : typeof value;
}

rune.run(async () => {
  const what = rune.param(['do']);
  if (what === 'walk') return { value: rune.param(['value']) };
  if (what === 'get') {
    const value = rune.param(rune.param(['path']));
    return { type: kind(value), value };
  }
  if (what === 'fail') {
    throw new rune.Failure(
      ...['code', 'message', 'details', 'retryable'].map((name) => rune.param([name])),
    );
  }
  if (what === 'events') {
    const message = rune.param(['message']);
    rune.progress(12.5, message);
    rune.log('warning', message);
    rune.metric('busbw', 412.5, 'GB/s', 'higher', { device: message, kind: 'a' }, [411, 414]);
    rune.metric('latency', 7, 'us', 'lower');
    return {};
  }
  if (what === 'left') return { left: rune.left(), target: rune.context('target') };
  if (what === 'bytes') return { text: fs.readFileSync('bytes') };
  throw new Error(what);
});
