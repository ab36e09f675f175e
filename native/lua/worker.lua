-- worker.lua: the worker protocol around mlp.lua: commands, files, checks, replies and the clock. No mathematics.
-- Run as: luajit worker.lua WORKDIR. docs/add-a-language.md tells what each command takes and answers.

if not jit then -- plain Lua has neither ffi nor a compiler
  for _ in io.lines() do
    io.write("error\tkind=unavailable\tmessage=", _VERSION, " runs this: it needs LuaJIT\tremedy=install LuaJIT 2.1\n")
    io.flush()
  end
  os.exit(0)
end

local folder = arg[0]:match("^(.*[/\\])") or ""
package.path = folder .. "?.lua;" .. package.path
local ffi = require "ffi"
local mlp = require "mlp"

ffi.cdef [[
struct timespec { long tv_sec, tv_nsec; };
int clock_gettime(int clock, struct timespec *time);
]]

local workdir = arg[#arg]
local replies = io.stdout
io.output(io.stderr) -- whatever else is printed must not pass for a reply
print = function(...)
  io.stderr:write(table.concat({...}, "\t"), "\n")
end

-- Errors that are answered. -------------------------------------------------------------------------------------------

local function refuse(kind, message, ...)
  error({kind = kind, message = message:format(...)})
end

local function check(condition, message, ...)
  if not condition then
    refuse("invalid", message, ...)
  end
end

-- Words. --------------------------------------------------------------------------------------------------------------

local function words_of(line)
  local words = {}
  for word in line:gmatch("%S+") do
    words[#words + 1] = word
  end
  return words
end

-- nil where a word is not what it must be
local function whole(word)
  return word:match("^[+-]?%d+$") and tonumber(word)
end

local function operation(word)
  return (word == "forward" or word == "gradient") and word
end

-- Files in WORKDIR: what network.txt says, arrays. --------------------------------------------------------------------

-- key -> words of its line
local function read_setup()
  local file = io.open(workdir .. "/network.txt")
  check(file, "network.txt: no such file")
  local setup = {}
  for line in file:lines() do
    local words = words_of(line)
    if #words > 0 then
      setup[table.remove(words, 1)] = words
    end
  end
  file:close()
  return setup
end

local function values(setup, key)
  check(setup[key], "network.txt has no line '%s'", key)
  return setup[key]
end

local function value(setup, key)
  local words = values(setup, key)
  check(#words == 1, "network.txt: %s takes one value, not %d", key, #words)
  return words[1]
end

local function size(key, word)
  local number = whole(word)
  check(number and number >= 1, "network.txt: %s '%s': must be a whole number, at least 1", key, word)
  return number
end

local function sizes_of(setup)
  local sizes = {}
  for at, word in ipairs(values(setup, "sizes")) do
    sizes[at - 1] = size("sizes", word)
  end
  check(#sizes >= 1, "network.txt: sizes: must be two or more")
  return sizes
end

local function l2_of(setup)
  local word = value(setup, "l2")
  local l2 = tonumber(word)
  check(l2 and l2 >= 0 and l2 < math.huge, "network.txt: l2 '%s': must be a finite number, 0 or more", word)
  return l2
end

local item_sizes = {float = 4, double = 8, int64_t = 8}
local items = {float32 = "float", float64 = "double"}

local function item_of(setup)
  local dtype = value(setup, "dtype")
  return items[dtype] or refuse("unsupported", "lua has no dtype '%s'", dtype)
end

local function loss_of(setup)
  local name = value(setup, "loss")
  return mlp.losses[name] and name or refuse("unsupported", "lua has no loss '%s'", name)
end

-- Names of f_1 .. f_L.
local function activations_of(setup, n_layers, loss)
  local fused = mlp.losses[loss].fuses
  local names, output = {unpack(values(setup, "activations"))}, value(setup, "output_activation")
  check(#names == n_layers - 1, "network.txt: activations: %d given for %d hidden layers", #names, n_layers - 1)
  check(not fused or output == fused, "network.txt: output_activation '%s': %s fuses %s", output, loss, fused)
  names[n_layers] = output
  for l, name in ipairs(names) do
    local activation = mlp.activations[name]
    if not activation or not activation.slope and not (fused and l == n_layers) then
      refuse("unsupported", "lua has no activation '%s'", name)
    end
  end
  return names
end

-- n items of a C type, as an array of that type.
local function read_array(name, item, n)
  local file = io.open(workdir .. "/" .. name, "rb")
  check(file, "%s: no such file", name)
  local got, wanted = file:seek("end"), n * item_sizes[item]
  if got ~= wanted then
    file:close()
  end
  check(got == wanted, "%s has %.0f bytes: %.0f of %s takes %.0f", name, got, n, item, wanted)
  file:seek("set")
  local bytes = file:read(wanted)
  file:close()
  check(bytes and #bytes == wanted, "%s: %d bytes could not be read", name, wanted)
  local array = ffi.new(item .. "[?]", n)
  ffi.copy(array, bytes, wanted)
  return array
end

-- The same numbers as another C type.
local function converted(array, item, n)
  local to = ffi.new(item .. "[?]", n)
  for i = 0, n - 1 do
    to[i] = array[i]
  end
  return to
end

local function read_doubles(name, item, n)
  return converted(read_array(name, item, n), "double", n)
end

local function write_array(name, array, item, n)
  local file, why = io.open(workdir .. "/" .. name, "wb")
  check(file, "%s", why)
  local bytes = ffi.string(converted(array, item, n), n * item_sizes[item])
  local written, why_not = file:write(bytes)
  local closed, why_not_closed = file:close()
  check(written and closed, "%s: %s", name, why_not or why_not_closed)
end

local function read_order(n, rows)
  local order = read_array("order.bin", "int64_t", n)
  for i = 0, n - 1 do
    local row = order[i]
    check(row >= 0 and row < rows, "order[%d] = %s: row numbers lie in [0, %d)", i, tostring(row):sub(1, -3), rows)
  end
  return order
end

-- Timed work. ---------------------------------------------------------------------------------------------------------

local CLOCK_MONOTONIC = ffi.os == "OSX" and 6 or 1
local time = ffi.new("struct timespec")

local function now()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
  return tonumber(time.tv_sec) + 1e-9 * tonumber(time.tv_nsec)
end

local function timed_passes(model, what, first, count, repeats)
  local places, s, checksum = model.rows - count + 1, first, 0
  local start = now()
  for _ = 1, repeats do
    checksum = checksum + mlp.timed_pass(model, what, s, count)
    s = (s + count) % places
  end
  return now() - start, checksum
end

-- Commands: what each answers, as a list of "key", value. -------------------------------------------------------------

local model -- what init made

local function held()
  check(model, "no network yet: init comes first")
  return model
end

local function check_range(first, count, length, what)
  check(first >= 0 and count >= 1 and first + count <= length,
    "first = %.0f, count = %.0f: must lie within the %d %s", first, count, length, what)
end

-- The model, with room for rows [first, first + count).
local function prepared(first, count)
  check_range(first, count, held().rows, "rows")
  mlp.reserve(model, count)
  return model
end

local function hello()
  return {
    "protocol", 1, "name", "lua", "language", "Lua", "compiler", jit.version,
    "flags", table.concat({jit.arch, select(2, jit.status())}, " "),
    "activations", "identity,sigmoid,tanh,relu",
    "losses", "squared_error,half_squared_error,softmax_cross_entropy,sigmoid_cross_entropy",
    "arithmetic", "float64", "deterministic", "yes", "clock", "clock_gettime(CLOCK_MONOTONIC)",
  }
end

local function init()
  local setup = read_setup()
  local sizes, l2, item, loss = sizes_of(setup), l2_of(setup), item_of(setup), loss_of(setup)
  local activations = activations_of(setup, #sizes, loss)
  local rows, n_order = size("rows", value(setup, "rows")), size("order", value(setup, "order"))
  size("threads", value(setup, "threads"))
  local n_parameters = 0
  for l = 1, #sizes do
    n_parameters = n_parameters + (sizes[l - 1] + 1) * sizes[l]
  end
  local start = read_doubles("theta.bin", item, n_parameters)
  local x = read_doubles("x.bin", item, rows * sizes[0])
  local y = read_doubles("y.bin", item, rows * sizes[#sizes])
  local new = mlp.model(sizes, activations, loss, l2, start, x, y, read_order(n_order, rows))
  new.rows, new.n_order, new.item = rows, n_order, item
  model = new
  jit.flush() -- what was compiled for another network's sizes and functions does not suit this one
  return {"threads", 1}
end

local function forward(first, count)
  mlp.outputs(prepared(first, count), first, count)
  local last = model[#model]
  write_array("outputs.bin", last.A, model.item, count * last.outputs)
  return {}
end

local function gradient(first, count)
  local loss = mlp.loss_and_gradient(prepared(first, count), first, count)
  write_array("gradient.bin", model.gradient, model.item, model.n_parameters)
  return {"loss", ("%.17g"):format(loss)}
end

local function train(first, count, batch_size, rate)
  check_range(first, count, held().n_order, "entries of order")
  check(batch_size >= 1, "batch_size = %.0f: must be at least 1", batch_size)
  check(rate > 0 and rate < math.huge, "learning_rate = %g: must be finite and above 0", rate)
  local batch = math.min(batch_size, count)
  mlp.reserve(model, batch)
  local start = now()
  mlp.train(model, first, count, batch, rate)
  return {"seconds", ("%.9g"):format(now() - start)}
end

local function time_passes(what, first, count, repeats)
  prepared(first, count)
  check(repeats >= 1, "repeats = %.0f: must be at least 1", repeats)
  local seconds, checksum = timed_passes(model, what, first, count, repeats)
  return {"seconds", ("%.9g"):format(seconds), "checksum", ("%.17g"):format(checksum)}
end

local function theta()
  write_array("theta_out.bin", held().theta, model.item, model.n_parameters)
  return {}
end

local function reset()
  mlp.reset(held())
  return {}
end

local function quit()
  return {}
end

-- name -> what answers it, and the words it takes: a name and a reader for each
local commands = {
  hello = {hello},
  init = {init},
  forward = {forward, {"FIRST", whole}, {"COUNT", whole}},
  gradient = {gradient, {"FIRST", whole}, {"COUNT", whole}},
  train = {train, {"FIRST", whole}, {"COUNT", whole}, {"BATCH", whole}, {"RATE", tonumber}},
  time = {time_passes, {"forward|gradient", operation}, {"FIRST", whole}, {"COUNT", whole}, {"REPEATS", whole}},
  theta = {theta},
  reset = {reset},
  quit = {quit},
}

local function usage_of(name)
  local usage = {name}
  for at = 2, #commands[name] do
    usage[at] = commands[name][at][1]
  end
  return table.concat(usage, " ")
end

local function answer(words)
  local name, arguments = words[1], {}
  local command = commands[name]
  check(command, "unknown command '%s'; known: hello, init, forward, gradient, train, time, theta, reset, quit", name)
  check(#words == #command, "'%s': the command is '%s'", table.concat(words, " "), usage_of(name))
  for at = 2, #command do
    local taken, read = unpack(command[at])
    arguments[at - 1] = read(words[at])
    check(arguments[at - 1], "'%s' is no %s: the command is '%s'", words[at], taken, usage_of(name))
  end
  return command[1](unpack(arguments))
end

-- Replies. ------------------------------------------------------------------------------------------------------------

local function reply(status, fields)
  local line = {status}
  for at = 1, #fields, 2 do
    local encoded = tostring(fields[at + 1]):gsub("[%%\t\n\r]", function(c) return ("%%%02X"):format(c:byte()) end)
    line[#line + 1] = fields[at] .. "=" .. encoded
  end
  replies:write(table.concat(line, "\t"), "\n")
  replies:flush()
end

local function error_fields(why)
  return type(why) == "table" and {"message", why.message, "kind", why.kind} or {"message", why}
end

for line in io.lines() do
  local words = words_of(line)
  if #words > 0 then
    local done, result = pcall(answer, words)
    reply(done and "ok" or "error", done and result or error_fields(result))
    if words[1] == "quit" and #words == 1 then
      break
    end
  end
end
