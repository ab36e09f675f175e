-- worker.lua: the worker protocol for mlp.lua: commands, files, checks, replies and the clock; no mathematics.
-- Run as: luajit worker.lua WORKDIR. docs/add-a-language.md defines the arguments and the reply of each command.

if not jit then -- plain Lua has neither ffi nor a compiler
  for _ in io.lines() do
    io.write("error\tkind=unavailable\tmessage=", _VERSION, " lacks LuaJIT's ffi\tremedy=install LuaJIT 2.1\n")
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
io.output(io.stderr) -- other output must not be taken for a reply
print = function(...)
  io.stderr:write(table.concat({...}, "\t"), "\n")
end

-- Errors, which become replies ----------------------------------------------------------------------------------------

local function refuse(kind, message, ...)
  error({kind = kind, message = message:format(...)})
end

local function check(condition, message, ...)
  if not condition then
    refuse("invalid", message, ...)
  end
end

-- Words ---------------------------------------------------------------------------------------------------------------

local function words_of(line)
  local words = {}
  for word in line:gmatch("%S+") do
    words[#words + 1] = word
  end
  return words
end

-- The next two functions return nil or false if a word is not valid.

local function whole(word)
  return word:match("^[+-]?%d+$") and tonumber(word)
end

local function operation(word)
  return (word == "forward" or word == "gradient") and word
end

-- Files in WORKDIR ----------------------------------------------------------------------------------------------------

-- Return the words of each line of network.txt after its first word, by that word.
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

-- Return the number that a word stands for, or nil. tonumber alone takes 0x10, nan and inf too.
local function decimal(word)
  return word:match("^[-+%d.eE]+$") and tonumber(word)
end

local function l2_of(setup)
  local word = value(setup, "l2")
  local l2 = decimal(word)
  check(l2 and l2 >= 0 and l2 < math.huge, "network.txt: l2 '%s': must be a finite number, 0 or more", word)
  return l2
end

local item_sizes = {float = 4, double = 8, int64_t = 8}
local items = {float32 = "float", float64 = "double"}

local function item_of(setup)
  local dtype = value(setup, "dtype")
  return items[dtype] or refuse("unsupported", "lua has no dtype '%s'", dtype)
end

-- Return the row of a table, or nil.
local function row_of(rows, name)
  for _, row in ipairs(rows) do
    if row.name == name then
      return row
    end
  end
end

local function loss_of(setup)
  local name = value(setup, "loss")
  return row_of(mlp.losses, name) or refuse("unsupported", "lua has no loss '%s'", name)
end

-- Return the row of "name" or "name(parameter)", with its parameter, or nil.
local function activation_of(text)
  local name, written = text:match("^([%w_]+)%((%S+)%)$")
  local row, p = row_of(mlp.activations, name or text), tonumber(written)
  if not name or not row then
    return row
  end
  if row.p and p and math.abs(p) < math.huge then
    return {name = name, value = row.value, derivative = row.derivative, p = p}
  end
end

-- Return the rows of f_1 .. f_L.
local function activations_of(setup, n_layers, loss)
  local names, output = {unpack(values(setup, "activations"))}, value(setup, "output_activation")
  check(#names == n_layers - 1, "network.txt: activations: %d given for %d hidden layers", #names, n_layers - 1)
  check(not loss.fuses or output == loss.fuses,
    "network.txt: output_activation '%s': %s is fused with %s", output, loss.name, loss.fuses)
  names[n_layers] = output
  local rows = {}
  for l, name in ipairs(names) do
    rows[l] = activation_of(name)
    if not rows[l] or not rows[l].derivative and not (loss.fuses and l == n_layers) then
      refuse("unsupported", "lua has no activation '%s'", name)
    end
  end
  return rows
end

-- Read n items of a C type into an array of that type.
local function read_array(name, item, n)
  local file = io.open(workdir .. "/" .. name, "rb")
  check(file, "%s: no such file", name)
  local found, expected = file:seek("end"), n * item_sizes[item]
  if found ~= expected then
    file:close()
  end
  check(found == expected, "%s has %.0f bytes: %.0f items of %s take %.0f", name, found, n, item, expected)
  file:seek("set")
  local bytes = file:read(expected)
  file:close()
  check(bytes and #bytes == expected, "%s: %d bytes could not be read", name, expected)
  local array = ffi.new(item .. "[?]", n)
  ffi.copy(array, bytes, expected)
  return array
end

-- Convert an array to another C type.
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
  local file, reason = io.open(workdir .. "/" .. name, "wb")
  check(file, "%s", reason)
  local bytes = ffi.string(converted(array, item, n), n * item_sizes[item])
  local written, write_error = file:write(bytes)
  local closed, close_error = file:close()
  check(written and closed, "%s: %s", name, write_error or close_error)
end

-- Read the numbers of entries, counted from 0, of something that has `stop` entries.
local function read_entries(name, n, stop)
  local entries = read_array(name, "int64_t", n)
  for i = 0, n - 1 do
    local entry = entries[i]
    check(entry >= 0 and entry < stop, "%s: entry %d is %s: must lie in [0, %d)", name, i, tostring(entry):sub(1, -3),
      stop)
  end
  return entries
end

-- Timed work ----------------------------------------------------------------------------------------------------------

local CLOCK_MONOTONIC = ffi.os == "OSX" and 6 or 1
local time = ffi.new("struct timespec")

local function now()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
  return tonumber(time.tv_sec) + 1e-9 * tonumber(time.tv_nsec)
end

-- Returns the wall clock and the CPU time of the process, all threads.
local function read_clocks()
  local cpu = os.clock()
  return {wall = now(), cpu = cpu}
end

-- Returns the seconds since the reading, as fields of a reply.
local function elapsed(start)
  local wall = now() - start.wall
  return {"seconds", ("%.9g"):format(wall), "cpu_seconds", ("%.9g"):format(os.clock() - start.cpu)}
end

-- probes: array of n_probes entries
local function timed_passes(model, operation, first, count, repeats, probes, n_probes)
  local places, s, p, checksum = model.rows - count + 1, first, 0, 0
  local start = read_clocks()
  for _ = 1, repeats do
    checksum = checksum + mlp.timed_pass(model, operation, s, count, probes[p])
    s = (s + count) % places
    p = p + 1 < n_probes and p + 1 or 0
  end
  local fields = elapsed(start)
  fields[#fields + 1], fields[#fields + 2] = "checksum", ("%.17g"):format(checksum)
  return fields
end

-- Commands. Each returns the fields of its reply as a list: key, value, key, ... --------------------------------------

local model -- of the last init

local function loaded_model()
  check(model, "no network yet: send init first")
  return model
end

local function check_range(first, count, length, unit)
  check(first >= 0 and count >= 1 and first + count <= length,
    "first = %.0f, count = %.0f: must lie within the %d %s", first, count, length, unit)
end

-- Return the model, with room for a pass over rows [first, first + count).
local function prepared(first, count)
  check_range(first, count, loaded_model().rows, "rows")
  mlp.reserve(model, count)
  return model
end

-- Return the names of the rows that `accepts` accepts (default: of all rows), separated by commas.
local function names_of(rows, accepts)
  local names = {}
  for _, row in ipairs(rows) do
    if not accepts or accepts(row) then
      names[#names + 1] = row.name
    end
  end
  return table.concat(names, ",")
end

local function has_derivative(row)
  return row.derivative
end

local function hello()
  return {
    "protocol", 1, "name", "lua", "language", "Lua", "compiler", jit.version,
    "flags", table.concat({jit.arch, select(2, jit.status())}, " "),
    "activations", names_of(mlp.activations, has_derivative), "losses", names_of(mlp.losses),
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
  local new = mlp.model(sizes, activations, loss, l2, start, x, y, read_entries("order.bin", n_order, rows))
  new.rows, new.n_order, new.item = rows, n_order, item
  model = new
  jit.flush() -- traces compiled for the sizes and functions of an earlier network would slow this one down
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
  check_range(first, count, loaded_model().n_order, "entries of order")
  check(batch_size >= 1, "batch_size = %.0f: must be at least 1", batch_size)
  check(rate > 0 and rate < math.huge, "learning_rate = %g: must be finite and above 0", rate)
  local batch = math.min(batch_size, count)
  mlp.reserve(model, batch)
  local start = read_clocks()
  mlp.train(model, first, count, batch, rate)
  return elapsed(start)
end

local function time_passes(operation, first, count, repeats, n_probes)
  prepared(first, count)
  check(repeats >= 1, "repeats = %.0f: must be at least 1", repeats)
  check(n_probes >= 1, "probes = %.0f: must be at least 1", n_probes)
  local entries = operation == "forward" and count * model[#model].outputs or model.n_parameters
  local probes = read_entries("probes.bin", n_probes, entries)
  return timed_passes(model, operation, first, count, repeats, probes, n_probes)
end

local function theta()
  write_array("theta_out.bin", loaded_model().theta, model.item, model.n_parameters)
  return {}
end

local function reset()
  mlp.reset(loaded_model())
  return {}
end

local function quit()
  return {}
end

-- name -> its function, and the name and the reader of each argument
local commands = {
  hello = {hello},
  init = {init},
  forward = {forward, {"FIRST", whole}, {"COUNT", whole}},
  gradient = {gradient, {"FIRST", whole}, {"COUNT", whole}},
  train = {train, {"FIRST", whole}, {"COUNT", whole}, {"BATCH", whole}, {"RATE", decimal}},
  time = {time_passes, {"forward|gradient", operation}, {"FIRST", whole}, {"COUNT", whole}, {"REPEATS", whole},
    {"PROBES", whole}},
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
    local parameter, read = unpack(command[at])
    arguments[at - 1] = read(words[at])
    check(arguments[at - 1], "'%s' is not a valid %s: the command is '%s'", words[at], parameter, usage_of(name))
  end
  return command[1](unpack(arguments))
end

-- Replies -------------------------------------------------------------------------------------------------------------

local function reply(status, fields)
  local line = {status}
  for at = 1, #fields, 2 do
    local encoded = tostring(fields[at + 1]):gsub("[%%\t\n\r]", function(c) return ("%%%02X"):format(c:byte()) end)
    line[#line + 1] = fields[at] .. "=" .. encoded
  end
  replies:write(table.concat(line, "\t"), "\n")
  replies:flush()
end

local function error_fields(problem)
  return type(problem) == "table" and {"message", problem.message, "kind", problem.kind} or {"message", problem}
end

-- Blocks of random sizes, so that arrays have other places in each process: memory layout alone changes step times. The
-- system places each process at another address, which seeds the generator.
math.randomseed(tonumber(tostring({}):match("0x(%x+)"), 16))
local scattered = {}
for block = 1, 128 do
  scattered[block] = ffi.new("char[?]", math.random(16384))
end

-- Return the next line; nil at the end of input. io.lines ends at a NUL, and takes the next line for the rest of this.
local function next_line()
  local line = {}
  while true do
    local character = io.read(1)
    if not character and #line == 0 then
      return nil
    elseif not character or character == "\n" then
      return table.concat(line)
    end
    line[#line + 1] = character
  end
end

for line in next_line do
  local words = words_of(line)
  if #words > 0 then
    local done, result = pcall(answer, words)
    reply(done and "ok" or "error", done and result or error_fields(result))
    if words[1] == "quit" and #words == 1 then
      break
    end
  end
end
