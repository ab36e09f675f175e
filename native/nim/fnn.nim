## The worker protocol of docs/add-a-language.md: commands on stdin, one reply a line on stdout, numbers in files of
## WORKDIR. All that comes from outside is checked here, so that network.nim may be compiled without checks.

import std/[math, monotimes, os, sequtils, strutils, tables]
import network

type
  Refusal = object of CatchableError
    kind: string

  Model[Real] = object
    network: Network[Real]
    theta, x, y: seq[Real] # theta as init read it
    order: seq[int64]
    rows, inputs, outputs: int

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
  ## Strictly digits: parseInt alone would take 1_000.
  if word.len == 0 or not word.allCharsInSet(Digits): refuse name & " must be a whole number, not '" & word & "'"
  try: result = parseInt(word)
  except ValueError: refuse name & " is too large: " & word
  if result < least: refuse name & " must be at least " & $least & ", not " & word

proc real(word, name: string): float64 =
  ## Strictly decimal: parseFloat alone would take nan and 1_000.
  if not word.allCharsInSet(Digits + {'+', '-', '.', 'e', 'E'}): refuse name & " is no number: '" & word & "'"
  try: result = parseFloat(word)
  except ValueError: refuse name & " is no number: '" & word & "'"
  if result.classify in {fcNan, fcInf, fcNegInf}: refuse name & " must be finite, not " & word

proc readNumbers[N](path: string; count: float64): seq[N] =
  ## The count is a float since that cannot overflow, and is exact as far as any file reaches.
  let file = open(path)
  defer: file.close
  let size = file.getFileSize
  if size.float64 != count * sizeof(N).float64:
    refuse path.extractFilename & " has " & $size & " bytes, not " & $count & " times " & $sizeof(N)
  result = newSeq[N](count.int)
  if file.readBuffer(addr result[0], size.int) != size: refuse path.extractFilename & " cannot be read"

proc writeNumbers[N](path: string; numbers: seq[N]) =
  let file = open(path, fmWrite)
  defer: file.close
  let size = numbers.len * sizeof(N)
  if file.writeBuffer(unsafeAddr numbers[0], size) != size: refuse path.extractFilename & " cannot be written"

# init ----------------------------------------------------------------------------------------------------------------

proc named[E: enum](name: string; what: string): E =
  ## Not parseEnum, which takes Re_Lu for relu.
  for value in E:
    if $value == name: return value
  refuse "no such " & what & " here: " & name, "unsupported"

proc readModel[Real](folder: string; description: Table[string, seq[string]]): Model[Real] =
  proc one(key: string): string =
    if description[key].len != 1: refuse "network.txt: " & key & " takes one word"
    description[key][0]

  let sizes = description["sizes"].mapIt(it.integer("a size", 1))
  if sizes.len < 2: refuse "network.txt: fewer than two sizes"
  var activations = description["activations"].mapIt(named[Activation](it, "activation"))
  if activations.len != sizes.len - 2: refuse "network.txt: there must be one activation a hidden layer"
  let loss = named[Loss](one "loss", "loss")
  let output = one "output_activation"
  case loss
  of Loss.softmaxCrossEntropy, Loss.sigmoidCrossEntropy:
    let own = if loss == Loss.softmaxCrossEntropy: "softmax" else: "sigmoid"
    if output != own: refuse $loss & " goes with " & own & ", not " & output, "unsupported"
    activations.add(if loss == Loss.softmaxCrossEntropy: Activation.identity else: Activation.sigmoid)
  else:
    activations.add named[Activation](output, "output activation")
  let lambda = real(one "l2", "l2")
  if lambda < 0: refuse "l2 must not be negative"
  result.rows = integer(one "rows", "rows", 1)
  let steps = integer(one "order", "order", 1)
  discard integer(one "threads", "threads", 1)

  var parameters = 0.0
  for l in 1 .. sizes.high: parameters += (sizes[l - 1].float64 + 1) * sizes[l].float64
  result.theta = readNumbers[Real](folder / "theta.bin", parameters)
  result.x = readNumbers[Real](folder / "x.bin", result.rows.float64 * sizes[0].float64)
  result.y = readNumbers[Real](folder / "y.bin", result.rows.float64 * sizes[^1].float64)
  result.order = readNumbers[int64](folder / "order.bin", steps.float64)
  for row in result.order:
    if row < 0 or row >= result.rows: refuse "order.bin names row " & $row & " of " & $result.rows
  (result.inputs, result.outputs) = (sizes[0], sizes[^1])
  result.network = initNetwork(sizes, activations, loss, Real(lambda))
  result.network.theta = result.theta

proc init(worker: var Worker) =
  ## The earlier model stays where this fails.
  var description: Table[string, seq[string]]
  for line in lines(worker.folder / "network.txt"):
    let words = line.splitWhitespace
    if words.len > 0: description[words[0]] = words[1 .. ^1]
  for key in ["sizes", "activations", "output_activation", "loss", "l2", "dtype", "rows", "order", "threads"]:
    if key notin description: refuse "network.txt lacks the line " & key
  let folder = worker.folder
  case description["dtype"].join(" ")
  of "float32":
    worker = Worker(folder: folder, kind: Kind.single, single: readModel[float32](folder, description))
  of "float64":
    worker = Worker(folder: folder, kind: Kind.double, double: readModel[float64](folder, description))
  else: refuse "network.txt: dtype must be float32 or float64"

# Commands ------------------------------------------------------------------------------------------------------------

func fields(pairs: varargs[(string, string)]): string =
  for (key, value) in pairs:
    result.add '\t' & key & '=' & value.multiReplace(("%", "%25"), ("\t", "%09"), ("\n", "%0A"), ("\r", "%0D"))

func digits(value: float64): string = value.formatFloat(ffScientific, 16)

const flags {.strdefine.} = "" # those of the build, as backend.toml passes them on
let gcc {.importc: "__VERSION__", nodecl.}: cstring

proc hello: string =
  fields({"protocol": "1", "name": "nim", "language": "Nim", "compiler": "Nim " & NimVersion & ", GCC " & $gcc,
          "flags": flags, "activations": toSeq(Activation).join(","),
          "losses": toSeq(Loss).join(","), "arithmetic": "native", "deterministic": "yes",
          "clock": "CLOCK_MONOTONIC"})

proc range(first, count: string; length: int): (int, int) =
  result = (first.integer("FIRST", 0), count.integer("COUNT", 1))
  if result[0] > length or result[1] > length - result[0]:
    refuse "FIRST + COUNT goes beyond the " & $length & " there are"

template seconds(body: untyped): string =
  let start = getMonoTime().ticks
  body
  digits((getMonoTime().ticks - start).float64 / 1e9)

proc forward[Real](model: var Model[Real]; first, count: int) =
  let width = model.inputs
  model.network.forward(model.x.toOpenArray(first * width, (first + count) * width - 1), count)

proc gradient[Real](model: var Model[Real]; first, count: int): Real =
  ## The loss; the gradient stays in the network.
  let (width, outputs) = (model.inputs, model.outputs)
  model.forward(first, count)
  model.network.backward(model.x.toOpenArray(first * width, (first + count) * width - 1),
                         model.y.toOpenArray(first * outputs, (first + count) * outputs - 1), count)
  model.network.meanLoss(model.y.toOpenArray(first * outputs, (first + count) * outputs - 1), count)

proc timeForward[Real](model: var Model[Real]; first, count, repeats: int): float64 =
  for r in 0 ..< repeats:
    model.forward((first + r * count) mod (model.rows - count + 1), count)
    result += model.network.ends(count)

proc timeGradient[Real](model: var Model[Real]; first, count, repeats: int): float64 =
  for r in 0 ..< repeats:
    let loss = model.gradient((first + r * count) mod (model.rows - count + 1), count)
    result += float64(loss) + float64(model.network.firstSlope)

proc obey[Real](model: var Model[Real]; folder: string; words: seq[string]): string =
  ## The commands that want a model; words are as many as the command takes.
  case words[0]
  of "forward":
    let (first, count) = range(words[1], words[2], model.rows)
    model.network.reserve count
    model.forward(first, count)
    writeNumbers(folder / "outputs.bin", model.network.outputs(count))
  of "gradient":
    let (first, count) = range(words[1], words[2], model.rows)
    model.network.reserve count
    let loss = model.gradient(first, count)
    writeNumbers(folder / "gradient.bin", model.network.gradient)
    result = fields({"loss": digits(loss)})
  of "train":
    let (first, count) = range(words[1], words[2], model.order.len)
    let batch = min(words[3].integer("BATCH", 1), count)
    let rate = words[4].real("RATE")
    if rate <= 0: refuse "RATE must be above 0, not " & words[4]
    model.network.reserve batch
    let took = seconds:
      model.network.train(model.x, model.y, model.order.toOpenArray(first, first + count - 1), batch, Real(rate))
    result = fields({"seconds": took})
  of "time":
    if words[1] notin ["forward", "gradient"]: refuse "time takes forward or gradient, not " & words[1]
    let (first, count) = range(words[2], words[3], model.rows)
    let repeats = words[4].integer("REPEATS", 1)
    model.network.reserve count
    var checksum: float64
    let took = seconds:
      checksum = if words[1] == "forward": model.timeForward(first, count, repeats)
                 else: model.timeGradient(first, count, repeats)
    result = fields({"seconds": took, "checksum": digits(checksum)})
  of "theta": writeNumbers(folder / "theta_out.bin", model.network.theta)
  of "reset": model.network.theta = model.theta

proc answer(worker: var Worker; words: seq[string]): string =
  ## The fields of the reply.
  const arguments = {"hello": 0, "init": 0, "forward": 2, "gradient": 2, "train": 4, "time": 4, "theta": 0,
                     "reset": 0, "quit": 0}.toTable
  if words[0] notin arguments: refuse "no such command: " & words[0]
  if words.len - 1 != arguments[words[0]]: refuse words[0] & " takes " & $arguments[words[0]] & " words"
  case words[0]
  of "hello": result = hello()
  of "init":
    worker.init
    result = fields({"threads": "1"})
  of "quit": discard
  else:
    case worker.kind
    of Kind.none: refuse words[0] & " before any init"
    of Kind.single: result = worker.single.obey(worker.folder, words)
    of Kind.double: result = worker.double.obey(worker.folder, words)

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
