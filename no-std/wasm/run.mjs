// Runs the module under Node.js: `node run.mjs module.wasm transcript.txt`. Ends with 1 unless the
// lines that it shows are those of the transcript.

import { readFileSync } from "node:fs";

const [module, transcript] = process.argv.slice(2);
const lines = [];
const text = new TextDecoder("utf-8", { fatal: true });
const host = {
  line: (start, count) =>
    lines.push(text.decode(new Uint8Array(instance.exports.memory.buffer, start, count))),
};
const { instance } = await WebAssembly.instantiate(readFileSync(module), { host });
let count = 0;
try {
  count = instance.exports.session();
} catch (error) {
  lines.push(String(error));
}
const expected = readFileSync(transcript, "utf8");
if (count !== lines.length || lines.join("\n") + "\n" !== expected) {
  console.log(lines.join("\n"));
  process.exit(1);
}
console.log(`${count} lines, peak heap ${instance.exports.peak_heap()} bytes`);
