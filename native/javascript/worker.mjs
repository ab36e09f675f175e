// worker.mjs: the worker protocol: commands from stdin, replies to stdout, the files of WORKDIR, the clock. The network
// is in mlp.mjs.

import { Buffer } from "node:buffer";
import { Console } from "node:console";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";

import { Mlp, activations, findActivation, losses } from "./mlp.mjs";

globalThis.console = new Console(process.stderr); // so that a stray print is not taken for a reply

const workdir = process.argv[2];
let setup = null; // the contents of network.txt
let model = null; // null until an init succeeds

// The error reply to a command that cannot be carried out.
class Refusal extends Error {
  constructor(message, kind = "invalid") {
    super(message);
    this.kind = kind;
  }
}

// ---- The files of WORKDIR. ------------------------------------------------------------------------------------------

function readFile(name, rule) {
  try {
    return fs.readFileSync(path.join(workdir, name));
  } catch (error) {
    if (error.code === "ENOENT") throw new Refusal(`${name} is missing${rule}`);
    throw error;
  }
}

// Read a file that holds exactly `items` numbers.
function readArray(name, items, Kind) {
  const expected = items * Kind.BYTES_PER_ELEMENT;
  const file = readFile(name, `: must have ${expected} bytes`);
  if (file.length !== expected) throw new Refusal(`${name} has ${file.length} bytes: must be ${expected}`);
  const array = new Kind(items); // copied, because a small file's buffer is an unaligned part of Node's shared pool
  new Uint8Array(array.buffer).set(file);
  return array;
}

function writeArray(name, array) {
  fs.writeFileSync(path.join(workdir, name), new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
}

// Read the numbers of entries, counted from 0, of something that has `end` entries.
function readEntries(name, length, end) {
  const wide = readArray(name, length, BigInt64Array);
  const bad = wide.findIndex((entry) => entry < 0n || entry >= end);
  if (bad >= 0) throw new Refusal(`${name}: entry ${bad} is ${wide[bad]}: must lie in [0, ${end})`);
  return Int32Array.from(wide, Number);
}

// Read and check network.txt. sizes: m_0 .. m_L; activations: f_1 .. f_L; order: the number of its entries.
function readSetup() {
  const lines = readFile("network.txt", "").toString("utf8").split("\n").map((line) => line.trim().split(/\s+/));
  const byKey = new Map(lines.map(([key, ...words]) => [key, words]));
  const bad = (key, rule) => new Refusal(`network.txt: ${key} = ${byKey.get(key).join(" ")}: ${rule}`);
  const words = (key) => {
    if (!byKey.has(key)) throw new Refusal(`network.txt has no line ${key}`);
    return byKey.get(key);
  };
  const word = (key) => {
    if (words(key).length !== 1) throw bad(key, "must be one word");
    return words(key)[0];
  };
  const positive = (key, text) => {
    const value = whole(text);
    if (!(value >= 1 && value < 2 ** 31)) throw bad(key, "must be an integer from 1 to 2147483647");
    return value;
  };

  const sizes = words("sizes").map((text) => positive("sizes", text));
  if (sizes.length < 2) throw bad("sizes", "must be at least 2 numbers");
  if (words("activations").length !== sizes.length - 2)
    throw bad("activations", `must be ${sizes.length - 2} names, one a hidden layer`);
  const l2 = number(word("l2"));
  if (!(l2 >= 0 && l2 < Infinity)) throw bad("l2", "must be finite, at least 0");
  const Real = new Map([["float32", Float32Array], ["float64", Float64Array]]).get(word("dtype"));
  if (Real === undefined) throw new Refusal(`no dtype '${word("dtype")}'`, "unsupported");
  positive("threads", word("threads")); // checked, then ignored: the network uses one thread
  const [rows, order] = ["rows", "order"].map((key) => positive(key, word(key)));
  const names = [...words("activations"), word("output_activation")];
  checkFunctions(names, word("loss"));
  return { sizes, activations: names, loss: word("loss"), l2, Real, rows, order };
}

function checkFunctions(names, loss) {
  if (!losses.has(loss)) throw new Refusal(`no loss '${loss}'`, "unsupported");
  const { fuses } = losses.get(loss);
  names.forEach((name, l) => {
    const fused = fuses !== null && l === names.length - 1;
    if (fused && name !== fuses) throw new Refusal(`network.txt: output_activation = ${name}: ${loss} fuses ${fuses}`);
    const row = findActivation(name);
    if (row === undefined || (!fused && row.derivative === null))
      throw new Refusal(`no activation '${name}' for layer ${l + 1}`, "unsupported");
  });
}

// ---- Numbers from words; NaN for a word that is not a number. -------------------------------------------------------

function whole(word) {
  return /^[-+]?\d+$/.test(word) ? Number(word) : NaN;
}

function number(word) {
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(word) ? Number(word) : NaN;
}

function atLeastOne(what, word) {
  const value = whole(word);
  if (!(value >= 1)) throw new Refusal(`${what} = ${word}: must be an integer, at least 1`);
  return value;
}

// Return FIRST and COUNT, after a check that [FIRST, FIRST+COUNT) lies within the rows or entries of order.
function range(first, count, what) {
  needModel();
  const length = what === "rows" ? setup.rows : setup.order;
  const from = whole(first), size = atLeastOne("COUNT", count);
  if (!(from >= 0 && from + size <= length))
    throw new Refusal(`FIRST = ${first}, COUNT = ${count}: must be integers within the ${length} ${what}`);
  return [from, size];
}

function needModel() {
  if (model === null) throw new Refusal("no network yet: init comes first");
}

// ---- The commands; each returns the fields of its reply. ------------------------------------------------------------

// The wall clock, and the CPU time of the process, all threads.
function readClocks() {
  const cpu = process.cpuUsage();
  return { wall: process.hrtime.bigint(), cpu };
}

// The seconds since the reading, as fields of a reply.
function elapsed(start) {
  const seconds = Number(process.hrtime.bigint() - start.wall) * 1e-9, { user, system } = process.cpuUsage(start.cpu);
  return { seconds, cpu_seconds: (user + system) * 1e-6 };
}

function hello() {
  return {
    protocol: 1,
    name: "javascript",
    language: "JavaScript",
    compiler: `Node.js ${process.version}, V8 ${process.versions.v8}`,
    flags: process.execArgv.join(" "),
    activations: [...activations.keys()].filter((name) => activations.get(name).derivative !== null),
    losses: [...losses.keys()],
    arithmetic: "float64", // the arithmetic is in double for both dtypes
    deterministic: "yes",
    clock: "process.hrtime.bigint",
  };
}

function init() {
  const next = readSetup(), { sizes, rows, Real } = next;
  let parameters = 0;
  for (let l = 1; l < sizes.length; l++) parameters += (sizes[l - 1] + 1) * sizes[l];
  const theta = readArray("theta.bin", parameters, Real);
  const x = readArray("x.bin", rows * sizes[0], Real);
  const y = readArray("y.bin", rows * sizes.at(-1), Real);
  model = new Mlp(next, theta, x, y, readEntries("order.bin", next.order, rows));
  setup = next;
  return { threads: 1 };
}

function forward(first, count) {
  const [from, size] = range(first, count, "rows");
  model.reserve(size);
  model.outputs(from, size);
  writeArray("outputs.bin", model.last.A.subarray(0, size * model.last.outputs));
}

function gradient(first, count) {
  const [from, size] = range(first, count, "rows");
  model.reserve(size);
  const loss = model.lossAndGradient(from, size);
  writeArray("gradient.bin", model.gradient);
  return { loss };
}

function train(first, count, batch, rate) {
  const [from, size] = range(first, count, "entries of order");
  const batchSize = Math.min(atLeastOne("BATCH", batch), size), learningRate = number(rate);
  if (!(learningRate > 0 && learningRate < Infinity))
    throw new Refusal(`RATE = ${rate}: must be finite and above 0`);
  model.reserve(batchSize);
  const start = readClocks();
  model.train(from, size, batchSize, learningRate);
  return elapsed(start);
}

function time(operation, first, count, repeats, length) {
  const [from, size] = range(first, count, "rows");
  if (operation !== "forward" && operation !== "gradient")
    throw new Refusal(`'${operation}': must be forward or gradient`);
  const times = atLeastOne("REPEATS", repeats), places = setup.rows - size + 1;
  const entries = operation === "forward" ? size * model.last.outputs : model.gradient.length;
  const probes = readEntries("probes.bin", atLeastOne("PROBES", length), entries);
  model.reserve(size);
  let checksum = 0;
  const start = readClocks();
  for (let r = 0, s = from % places, p = 0; r < times; r++, s = (s + size) % places) {
    checksum += model.timedPass(operation, s, size, probes[p]);
    p = p + 1 < probes.length ? p + 1 : 0;
  }
  return { ...elapsed(start), checksum };
}

function theta() {
  needModel();
  writeArray("theta_out.bin", model.theta);
}

function reset() {
  needModel();
  model.reset();
}

const commands = new Map([
  ["hello", { words: [], answer: hello }],
  ["init", { words: [], answer: init }],
  ["forward", { words: ["FIRST", "COUNT"], answer: forward }],
  ["gradient", { words: ["FIRST", "COUNT"], answer: gradient }],
  ["train", { words: ["FIRST", "COUNT", "BATCH", "RATE"], answer: train }],
  ["time", { words: ["forward|gradient", "FIRST", "COUNT", "REPEATS", "PROBES"], answer: time }],
  ["theta", { words: [], answer: theta }],
  ["reset", { words: [], answer: reset }],
  ["quit", { words: [], answer: () => {} }],
]);

// ---- Lines in, lines out. -------------------------------------------------------------------------------------------

function reply(status, fields = {}) {
  const quoted = (value) => String(value).replace(/[%\t\n\r]/g, (c) => encodeURIComponent(c));
  const words = Object.entries(fields).map(([key, value]) => `${key}=${quoted(value)}`);
  fs.writeSync(1, [status, ...words].join("\t") + "\n");
}

function answer(name, words) {
  try {
    if (!commands.has(name)) throw new Refusal(`unknown command '${name}'`);
    const command = commands.get(name);
    if (words.length !== command.words.length)
      throw new Refusal(`${words.length} words after ${name}: the command is '${[name, ...command.words].join(" ")}'`);
    reply("ok", command.answer(...words));
  } catch (error) {
    reply("error", { message: error.message, ...(error instanceof Refusal && { kind: error.kind }) });
  }
}

if (workdir === undefined) {
  console.error("usage: node worker.mjs WORKDIR");
  process.exit(2);
}
// Yield the lines of a stream. node:readline would end them at a carriage return and at Unicode's separators too.
async function* linesOf(stream) {
  let rest = Buffer.alloc(0);
  for await (const chunk of stream) {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      yield rest.toString("utf8", 0, end);
      rest = rest.subarray(end + 1);
    }
  }
  if (rest.length > 0) yield rest.toString();
}

for await (const line of linesOf(process.stdin)) {
  const [name, ...words] = line.trim().split(/\s+/);
  if (name === "") continue;
  answer(name, words);
  if (name === "quit" && words.length === 0) break;
}
process.exit(0);
