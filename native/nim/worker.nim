## worker.nim: the worker protocol for mlp.nim: commands, files, checks, replies and the clock; no mathematics.
## Run as: fnn WORKDIR. docs/add-a-language.md defines the arguments and the reply of each command.
## All input is validated here: nim-danger, one of the two builds of this source, has no run-time checks.

import std/[math, monotimes, os, sequtils, strutils, tables, times]
import mlp

type
  Refusal = object of CatchableError
    kind: string

  Kind {.pure.} = enum
    none, single, double

  Worker = object
    folder: string
    case kind: Kind
    of Kind.none: discard
    of Kind.single: single: Model[float32]
    of Kind.double: double: Model[float64]

proc refuse(message: string; kind = "invalid") {.noreturn.} =
  raise (ref Refusal)(msg: message, kind: kind)

# Words and files -----------------------------------------------------------------------------------------------------

proc integer(word, name: string; least: int): int =
  ## Digits only: parseInt would also accept 1_000.
  if word.len == 0 or not word.allCharsInSet(Digits): refuse name & " must be a whole number, not '" & word & "'"
  try: result = parseInt(word)
  except ValueError: refuse name & " is too large: " & word
  if result < least: refuse name & " must be at least " & $least & ", not " & word

proc real(word, name: string): float64 =
  ## Decimal only: parseFloat would also accept nan and 1_000.
  if not word.allCharsInSet(Digits + {'+', '-', '.', 'e', 'E'}): refuse name & " must be a number, not '" & word & "'"
  try: result = parseFloat(word)
  except ValueError: refuse name & " must be a number, not '" & word & "'"
  if result.classify in {fcNan, fcInf, fcNegInf}: refuse name & " must be finite, not " & word

proc readNumbers[N](path: string; count: float64): seq[N] =
  ## count is a float, which cannot overflow; it is exact up to 2^53.
  let file = open(path)
  defer: file.close
  let size = file.getFileSize
  if size.float64 != count * sizeof(N).float64:
    refuse path.extractFilename & " has " & $size & " bytes: " & $count & " numbers take " & $sizeof(N) & " bytes each"
  result = newSeq[N](count.int)
  if file.readBuffer(addr result[0], size.int) != size: refuse path.extractFilename & " could not be read"

proc readEntries(path: string; count, stop: int): seq[int64] =
  ## The numbers of entries, counted from 0, of something that has `stop` entries.
  result = readNumbers[int64](path, count.float64)
  for at, entry in result:
    if entry < 0 or entry >= stop:
      refuse path.extractFilename & ": entry " & $at & " is " & $entry & ": must lie in [0, " & $stop & ")"

proc writeNumbers[N](path: string; numbers: seq[N]) =
  let file = open(path, fmWrite)
  defer: file.close
  let size = numbers.len * sizeof(N)
  if file.writeBuffer(unsafeAddr numbers[0], size) != size: refuse path.extractFilename & " could not be written"

# init ----------------------------------------------------------------------------------------------------------------

proc rowOf[Row](table: seq[Row]; name, what: string): Row =
  for row in table:
    if row.name == name: return row
  refuse "nim has no " & what & " '" & name & "'", "unsupported"

proc elementwise[Real](text: string): Activation[Real] =
  ## The row of "name" or "name(parameter)", with its parameter.
  let at = text.find('(')
  result = rowOf(activations[Real](), if at < 0: text else: text[0 ..< at], "activation")
  if result.derivative == nil or (at >= 0 and not (result.hasParameter and text.endsWith(')'))):
    refuse "nim has no activation '" & text & "'", "unsupported"
  if at >= 0: result.p = Real(real(text[at + 1 ..< text.high], "activations"))

proc readModel[Real](folder: string; setup: Table[string, seq[string]]): Model[Real] =
  proc one(key: string): string =
    if setup[key].len != 1: refuse "network.txt: " & key & " takes one value, not " & $setup[key].len
    setup[key][0]

  let sizes = setup["sizes"].mapIt(it.integer("sizes", 1))
  if sizes.len < 2: refuse "network.txt: sizes: must be two or more"
  let hidden = setup["activations"]
  if hidden.len != sizes.len - 2:
    refuse "network.txt: activations: " & $hidden.len & " given for " & $(sizes.len - 2) & " hidden layers"
  var f = hidden.mapIt(elementwise[Real](it))
  let loss = rowOf(losses[Real](), one "loss", "loss")
  let output = one "output_activation"
  if loss.fuses == "": f.add elementwise[Real](output)
  elif output == loss.fuses: f.add rowOf(activations[Real](), output, "activation")
  else:
    let message = "network.txt: output_activation '" & output & "': " & loss.name & " is fused with " & loss.fuses
    refuse message, "unsupported"
  let l2 = real(one "l2", "l2")
  if l2 < 0: refuse "network.txt: l2 must not be negative"
  let rows = integer(one "rows", "rows", 1)
  let orderLen = integer(one "order", "order", 1)
  discard integer(one "threads", "threads", 1)

  var parameters = 0.0
  for l in 1 .. sizes.high: parameters += (sizes[l - 1].float64 + 1) * sizes[l].float64
  let theta = readNumbers[Real](folder / "theta.bin", parameters)
  let x = readNumbers[Real](folder / "x.bin", rows.float64 * sizes[0].float64)
  let y = readNumbers[Real](folder / "y.bin", rows.float64 * sizes[^1].float64)
  let order = readEntries(folder / "order.bin", orderLen, rows)
  initModel(sizes, f, loss, Real(l2), theta, x, y, order)

proc init(worker: var Worker) =
  ## Keeps the earlier model if it fails.
  var setup: Table[string, seq[string]]
  for line in lines(worker.folder / "network.txt"):
    let words = line.splitWhitespace
    if words.len > 0: setup[words[0]] = words[1 .. ^1]
  for key in ["sizes", "activations", "output_activation", "loss", "l2", "dtype", "rows", "order", "threads"]:
    if key notin setup: refuse "network.txt has no line '" & key & "'"
  let folder = worker.folder
  case setup["dtype"].join(" ")
  of "float32":
    worker = Worker(folder: folder, kind: Kind.single, single: readModel[float32](folder, setup))
  of "float64":
    worker = Worker(folder: folder, kind: Kind.double, double: readModel[float64](folder, setup))
  else: refuse "network.txt: dtype must be float32 or float64, not '" & setup["dtype"].join(" ") & "'"

# Commands ------------------------------------------------------------------------------------------------------------

func fields(pairs: varargs[(string, string)]): string =
  for (key, value) in pairs:
    result.add '\t' & key & '=' & value.multiReplace(("%", "%25"), ("\t", "%09"), ("\n", "%0A"), ("\r", "%0D"))

func digits(value: float64): string = value.formatFloat(ffScientific, 16)

const name = when defined(danger): "nim-danger" else: "nim"
const flags {.strdefine.} = "" # compiler flags, passed by the build line of backend.toml
let gcc {.importc: "__VERSION__", nodecl.}: cstring

proc hello: string =
  fields({"protocol": "1", "name": name, "language": "Nim", "compiler": "Nim " & NimVersion & ", GCC " & $gcc,
          "flags": flags, "activations": activations[float64]().filterIt(it.derivative != nil).mapIt(it.name).join(","),
          "losses": losses[float64]().mapIt(it.name).join(","), "arithmetic": "native", "deterministic": "yes",
          "clock": "CLOCK_MONOTONIC"})

proc range(first, count: string; length: int; unit: string): (int, int) =
  result = (first.integer("FIRST", 0), count.integer("COUNT", 1))
  if result[0] > length or result[1] > length - result[0]:
    refuse "FIRST = " & first & ", COUNT = " & count & ": must lie within the " & $length & " " & unit

template timed(body: untyped): (string, string) =
  ## Run the body; return its seconds by the wall clock, and its CPU seconds in all threads of the process.
  let cpu = cpuTime()
  let start = getMonoTime().ticks
  body
  let seconds = (getMonoTime().ticks - start).float64 / 1e9
  (digits(seconds), digits(cpuTime() - cpu))

proc runCommand[Real](model: var Model[Real]; folder: string; words: seq[string]): string =
  ## Run a command that uses the model and return the fields of its reply. The number of words is correct.
  case words[0]
  of "forward":
    let (first, count) = range(words[1], words[2], model.rows, "rows")
    model.reserve count
    model.outputs(first, count)
    writeNumbers(folder / "outputs.bin", model.Y(count))
  of "gradient":
    let (first, count) = range(words[1], words[2], model.rows, "rows")
    model.reserve count
    let loss = model.lossAndGradient(first, count)
    writeNumbers(folder / "gradient.bin", model.gradient)
    result = fields({"loss": digits(loss)})
  of "train":
    let (first, count) = range(words[1], words[2], model.orderLen, "entries of order")
    let batch = min(words[3].integer("BATCH", 1), count)
    let rate = words[4].real("RATE")
    if rate <= 0: refuse "RATE must be above 0, not " & words[4]
    model.reserve batch
    let (seconds, cpuSeconds) = timed:
      model.train(first, count, batch, Real(rate))
    result = fields({"seconds": seconds, "cpu_seconds": cpuSeconds})
  of "time":
    if words[1] notin ["forward", "gradient"]: refuse "'" & words[1] & "' must be forward or gradient"
    let operation = if words[1] == "forward": Operation.forward else: Operation.gradient
    let (first, count) = range(words[2], words[3], model.rows, "rows")
    let repeats = words[4].integer("REPEATS", 1)
    let n = words[5].integer("PROBES", 1)
    let entries = readEntries(folder / "probes.bin", n, model.entries(operation, count))
    model.reserve count
    let probes = entries.mapIt(model.place(operation, it.int))
    var checksum: float64
    let (seconds, cpuSeconds) = timed:
      var p = 0
      for r in 0 ..< repeats:
        checksum += model.timedPass(operation, (first + r * count) mod (model.rows - count + 1), count, probes[p])
        p = if p + 1 < n: p + 1 else: 0
    result = fields({"seconds": seconds, "cpu_seconds": cpuSeconds, "checksum": digits(checksum)})
  of "theta": writeNumbers(folder / "theta_out.bin", model.theta)
  of "reset": model.reset

proc answer(worker: var Worker; words: seq[string]): string =
  ## Run a command and return the fields of its reply.
  const arguments = {"hello": 0, "init": 0, "forward": 2, "gradient": 2, "train": 4, "time": 5, "theta": 0,
                     "reset": 0, "quit": 0}.toTable
  if words[0] notin arguments: refuse "unknown command '" & words[0] & "'"
  if words.len - 1 != arguments[words[0]]:
    refuse words[0] & " takes " & $arguments[words[0]] & " arguments, not " & $(words.len - 1)
  case words[0]
  of "hello": result = hello()
  of "init":
    worker.init
    result = fields({"threads": "1"})
  of "quit": discard
  else:
    case worker.kind
    of Kind.none: refuse words[0] & ": no network yet: send init first"
    of Kind.single: result = worker.single.runCommand(worker.folder, words)
    of Kind.double: result = worker.double.runCommand(worker.folder, words)

proc main =
  if paramCount() != 1: quit "usage: fnn WORKDIR", 2
  var worker = Worker(folder: paramStr(1))
  for line in stdin.lines:
    let words = line.splitWhitespace
    if words.len == 0: continue
    let reply =
      try: "ok" & worker.answer(words)
      except Refusal as refusal: "error" & fields({"message": refusal.msg, "kind": refusal.kind})
      except CatchableError as error: "error" & fields({"message": error.msg})
    stdout.writeLine reply
    stdout.flushFile
    if words[0] == "quit": break

main()
