// What a Node plugin needs to talk to RUNE, with Node 12 or newer and none of its packages.
//
// Put "lib": ["rune.js"] into plugin.json and write:
//
//   const rune = require(__dirname + '/rune.js');
//   rune.run(() => ({ path: rune.param(['path'], '/') })); // the function may be async
//
// An integer that a number of JavaScript cannot hold exactly is a BigInt.
'use strict';
const crypto = require('crypto');
const fs = require('fs');

const started = process.hrtime.bigint();
const metrics = [];
let whole;

/** Ends the plugin with an error; code (1 to 255) is its exit status. */
class Failure extends Error {
  constructor(code, message, details, retryable) {
    super(message);
    this.answer = { code, message: String(message), details, retryable };
  }
}

/** Returns the whole request, read from stdin once. */
function request() {
  if (whole === undefined) {
    let read;
    try {
      read = parse(fs.readFileSync(0, 'utf8'));
    } catch (error) {
      read = null;
    }
    const parameters = read && read.payload && read.payload.input_parameters;
    if (parameters === null || typeof parameters !== 'object' || Array.isArray(parameters)) {
      throw new Failure(1, 'stdin has no object payload.input_parameters');
    }
    whole = read;
  }
  return whole;
}

/** Returns the parameter that keys and indices lead to, otherwise if it is missing. */
function param(path, otherwise) {
  let value = request().payload.input_parameters;
  for (const step of path) {
    const inside = Array.isArray(value)
      ? Number.isInteger(step) && step in value
      : value !== null && typeof value === 'object' && Object.keys(value).includes(step);
    if (!inside) return otherwise;
    value = value[step];
  }
  return value;
}

/** Returns target, action, run_id, attempt, deadline or timeout_s. */
function context(name) {
  return (request().payload.context || {})[name];
}

/**
 * Returns the seconds until the host ends the plugin, undefined if nobody said. Counted from the
 * start, so that a wrong clock of the host does no harm.
 */
function left() {
  const timeout = context('timeout_s');
  if (timeout === undefined) return undefined;
  return Math.max(0, timeout - Number(process.hrtime.bigint() - started) / 1e9);
}

/** Adds to output_data.metrics and tells RUNE at once; better is 'higher' or 'lower'. */
function metric(name, value, unit, better, labels, samples) {
  const one = { name, value, unit, better, labels };
  event('metric', one);
  metrics.push({ ...one, samples });
}

/** Tells how far the plugin is, 0 to 100; either may be undefined. */
function progress(percent, message) {
  event('progress', { percent, message });
}

/** Writes a line of log text; level is debug, info, warning or error. */
function log(level, message) {
  event('log', { level, message: String(message) });
}

/** Answers with the object that work returns, or with the error it threw, and exits. */
async function run(work) {
  let text;
  let status = 0;
  try {
    const output_data = metricsOf(await work());
    text = stringify({ payload: { result: 'success', output_data } });
  } catch (error) {
    if (!(error instanceof Failure)) console.error(error);
    const answer = error instanceof Failure ? error.answer : { code: 100, message: String(error) };
    status = answer.code;
    text = stringify({ error: answer });
  }
  const bytes = Buffer.from(`${text}\n`);
  for (let at = 0; at < bytes.length; ) { // process.exit would drop what a pipe did not take yet
    try {
      at += fs.writeSync(1, bytes, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
  process.exit(status);
}

function metricsOf(output_data) {
  return metrics.length ? { metrics, ...output_data } : { ...output_data };
}

function event(kind, fields) {
  fs.writeSync(2, `##rune ${stringify({ ...fields, kind })}\n`);
}

/** Returns JSON's value. Long integers go through a mark, because JSON.parse would round them. */
function parse(text) {
  if (!/[0-9]{16}/.test(text)) return JSON.parse(text);
  const mark = `${crypto.randomBytes(16).toString('hex')}:`; // no text of the request begins so
  const word = /"[^"\\]*(?:\\[^][^"\\]*)*"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/g;
  const marked = text.replace(word, (found) =>
    /^-?[0-9]{16,}$/.test(found) && !Number.isSafeInteger(Number(found))
      ? `"${mark}${found}"`
      : found,
  );
  return JSON.parse(marked, (key, value) =>
    typeof value === 'string' && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value,
  );
}

/** Returns JSON without what is undefined; half a pair of surrogates becomes U+FFFD. */
function stringify(value) {
  if (typeof value === 'bigint') return String(value);
  if (Buffer.isBuffer(value)) return JSON.stringify(value.toString('utf8'));
  if (typeof value === 'string') return JSON.stringify(value.replace(HALVES, '\ufffd'));
  if (typeof value === 'number' && !Number.isFinite(value)) throw new Error(`${value} is not JSON`);
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) return value.toExponential();
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((one) => stringify(one === undefined ? null : one))}]`;
  const members = Object.entries(value).filter(([, one]) => one !== undefined);
  return `{${members.map(([key, one]) => `${stringify(key)}:${stringify(one)}`)}}`;
}

const HALVES = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

module.exports = { Failure, request, param, context, left, metric, progress, log, run };
