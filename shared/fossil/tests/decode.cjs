// Reads lines of {"origin": document, "delta": text} and writes what centrifuge-js makes of them, a JSON string a line.
// Its codec is not exported, but every client has one: this is the way that a publication with a delta takes.
const { Centrifuge } = require(process.argv[2]);
const codec = new Centrifuge("ws://localhost")._codec;

const decoded = require("node:fs").readFileSync(0, "utf8").trimEnd().split("\n").map((line) => {
  const { origin, delta } = JSON.parse(line);
  const first = codec.applyDeltaIfNeeded({ data: origin });
  const second = codec.applyDeltaIfNeeded({ data: delta, delta: true }, first.newPrevValue);
  return JSON.stringify(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(second.newPrevValue));
});
process.stdout.write(decoded.join("\n"));
