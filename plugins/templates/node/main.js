// Counts the names in a directory.
"use strict";
const fs = require("fs");

function answer(document, code) {
  fs.writeSync(1, JSON.stringify(document) + "\n");
  process.exit(code);
}

const message = JSON.parse(fs.readFileSync(0, "utf8"));
const { path } = message.payload.input_parameters;
let names;
try {
  names = fs.readdirSync(path);
} catch (error) {
  answer({ error: { code: 3, message: `cannot read the directory: ${error.code}` } }, 3);
}
answer({ payload: { result: "success", output_data: { entries: names.length } } }, 0);
