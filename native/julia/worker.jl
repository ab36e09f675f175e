# worker.jl: the worker protocol for mlp.jl: commands, files, checks, replies and the clock; no mathematics.
# Run as: julia worker.jl [unchecked] WORKDIR. docs/add-a-language.md defines the arguments and the reply of each command.

include("mlp.jl")
using .MLP: Model, ACTIVATIONS, LOSSES
using .MLP: reset!, reserve!, outputs!, loss_and_gradient!, train!, timed_pass!

const WORKDIR = ARGS[end]
const REPLIES = stdout
redirect_stdout(stderr) # other output must not be taken for a reply

# --- Errors, which become replies. -----------------------------------------------------------------------------------

struct Refusal <: Exception
    kind::String
    message::String
end

invalid(message) = throw(Refusal("invalid", message))
unsupported(message) = throw(Refusal("unsupported", message))

error_fields(error::Refusal) = ("message" => error.message, "kind" => error.kind)
error_fields(error) = ("message" => sprint(showerror, error),)

# --- Words, and files in WORKDIR. -----------------------------------------------------------------------------------

# Split at white space. `split` alone raises an error for bytes that are not UTF-8.
words_in(line) = split(map(c -> isvalid(c) ? c : '?', line))

function existing(name)
    path = joinpath(WORKDIR, name)
    isfile(path) || invalid("$name: no such file")
    path
end

# shape: in Julia's order, where the first dimension varies fastest. Int128 avoids overflow of the product.
function read_array(name, Item, shape)
    path = existing(name)
    found, expected = filesize(path), prod(Int128, shape) * sizeof(Item)
    found == expected ||
        invalid("$name has $found bytes: $(join(reverse(shape), " x ")) of $(nameof(Item)) takes $expected")
    ltoh.(read!(path, Array{Item}(undef, Int.(shape)...)))
end

write_array(name, array) = write(joinpath(WORKDIR, name), htol.(array))

# Return the words of each line of network.txt after its first word, by that word.
function read_setup()
    lines = Dict{String, Vector{String}}()
    for line in eachline(existing("network.txt"))
        words = words_in(line)
        isempty(words) || (lines[words[1]] = words[2:end])
    end
    lines
end

words_of(setup, key) = get(() -> invalid("network.txt has no line '$key'"), setup, key)

function word_of(setup, key)
    words = words_of(setup, key)
    length(words) == 1 || invalid("network.txt: $key takes one value, not $(length(words))")
    words[1]
end

function size_of(key, word)
    size = tryparse(Int, word, base=10)
    size !== nothing && size >= 1 || invalid("network.txt: $key '$word': must be a whole number, at least 1")
    size
end

function sizes_of(setup)
    sizes = [size_of("sizes", word) for word in words_of(setup, "sizes")]
    length(sizes) >= 2 || invalid("network.txt: sizes: must be two or more")
    sizes
end

# Return the number that a word stands for, or nothing. tryparse alone takes 0x10, too.
decimal(word) = occursin(r"^[-+0-9.eE]+$", word) ? tryparse(Float64, word) : nothing

function l2_of(setup)
    word = word_of(setup, "l2")
    l2 = decimal(word)
    l2 !== nothing && 0 <= l2 < Inf || invalid("network.txt: l2 '$word': must be a finite number, 0 or more")
    l2
end

function dtype_of(setup)
    word = word_of(setup, "dtype")
    word == "float32" ? Float32 : word == "float64" ? Float64 : unsupported("julia has no dtype '$word'")
end

# Return the row of a table, or nothing.
function row_of(table, name)
    at = findfirst(row -> row.name == name, table)
    at === nothing ? nothing : table[at]
end

function loss_of(setup)
    name = word_of(setup, "loss")
    loss = row_of(LOSSES, name)
    loss === nothing ? unsupported("julia has no loss '$name'") : loss
end

# Return the number of the row of "name" or "name(parameter)", and the parameter.
function elementwise(text)
    refuse() = unsupported("julia has no activation '$text'")
    parts = match(r"^(\w+)(?:\((\S+)\))?$", text)
    at = parts === nothing ? nothing : findfirst(row -> row.name == parts[1], ACTIVATIONS)
    at === nothing || ACTIVATIONS[at].derivative === nothing ? refuse() : nothing
    parts[2] === nothing && return at, ACTIVATIONS[at].parameter
    p = tryparse(Float64, parts[2])
    p !== nothing && isfinite(p) && !isnan(ACTIVATIONS[at].parameter) ? (at, p) : refuse()
end

function output_activation_of(setup, loss)
    name = word_of(setup, "output_activation")
    isempty(loss.fuses) && return elementwise(name)
    name == loss.fuses ||
        invalid("network.txt: output_activation '$name': $(loss.name) is fused with $(loss.fuses)")
    findfirst(row -> row.name == name, ACTIVATIONS), NaN
end

function activations_of(setup, n_hidden, loss)
    names = words_of(setup, "activations")
    length(names) == n_hidden ||
        invalid("network.txt: activations: $(length(names)) given for $n_hidden hidden layers")
    [map(elementwise, names); output_activation_of(setup, loss)]
end

# Read the numbers of entries, counted from 0, of something that has `stop` entries.
function read_entries(name, length, stop)
    entries = read_array(name, Int64, (length,))
    at = findfirst(entry -> !(0 <= entry < stop), entries)
    at === nothing || invalid("$name: entry $(at - 1) is $(entries[at]): must lie in [0, $stop)")
    entries
end

function read_model()
    setup = read_setup()
    sizes, l2, Float, loss = sizes_of(setup), l2_of(setup), dtype_of(setup), loss_of(setup)
    activations = activations_of(setup, length(sizes) - 2, loss)
    rows, n_order, _ = (size_of(key, word_of(setup, key)) for key in ("rows", "order", "threads"))
    n_parameters = sum((Int128.(sizes[1:end-1]) .+ 1) .* sizes[2:end])
    theta = read_array("theta.bin", Float, (n_parameters,))
    x, y = read_array("x.bin", Float, (sizes[1], rows)), read_array("y.bin", Float, (sizes[end], rows))
    Model(sizes, activations, loss, l2, theta, x, y, read_entries("order.bin", n_order, rows))
end

# --- Timed work. -----------------------------------------------------------------------------------------------------

# The wall clock, and the CPU time of the process, all threads (POSIX's clock counts it in microseconds).
read_clocks() = (cpu = ccall(:clock, Clong, ()), wall = time_ns())

# The seconds since the reading, as fields of a reply.
function elapsed(start)
    seconds = 1e-9 * (time_ns() - start.wall)
    ("seconds" => seconds, "cpu_seconds" => 1e-6 * (ccall(:clock, Clong, ()) - start.cpu))
end

function timed_train(model, first, count, batch_size, rate)
    start = read_clocks()
    train!(model, first, count, batch_size, rate)
    elapsed(start)
end

function timed_passes(model, operation, first, count, repeats, probes)
    places, s, p, checksum = size(model.x, 2) - count + 1, first, 1, 0.0
    start = read_clocks()
    for _ in 1:repeats
        checksum += timed_pass!(model, operation, s, count, probes[p])
        s = (s + count) % places
        p = p < length(probes) ? p + 1 : 1
    end
    elapsed(start), checksum
end

# Run each timed function once on one row. Julia compiles a method at its first call, which must not be timed.
function rehearse(model)
    reserve!(model, 1)
    timed_train(model, 0, 1, 1, 1.0)
    timed_passes(model, :forward, 0, 1, 1, [0])
    timed_passes(model, :gradient, 0, 1, 1, [0])
    reset!(model)
end

# --- Commands. Each returns the fields of its reply as key => value. -------------------------------------------------

mutable struct Worker
    model::Union{Nothing, Model}
end

function model_of(worker)
    worker.model === nothing && invalid("no network yet: send init first")
    worker.model
end

function check_range(first, count, length, unit)
    0 <= first && 1 <= count <= length && first <= length - count ||
        invalid("first = $first, count = $count: must lie within the $length $unit")
end

# Return the model, with room for a pass over rows [first, first + count).
function prepared(worker, first, count)
    model = model_of(worker)
    check_range(first, count, size(model.x, 2), "rows")
    reserve!(model, count)
    model
end

function hello(worker)
    options = Base.JLOptions()
    ("protocol" => 1, "name" => MLP.UNCHECKED ? "julia-inbounds" : "julia", "language" => "Julia",
     "compiler" => "Julia $VERSION (LLVM $(Base.libllvm_version))",
     "flags" => "-O$(options.opt_level) -C $(unsafe_string(options.cpu_target))" * (MLP.UNCHECKED ? " @inbounds" : ""),
     "activations" => join([f.name for f in ACTIVATIONS if f.derivative !== nothing], ","),
     "losses" => join([loss.name for loss in LOSSES], ","),
     "arithmetic" => "native", "deterministic" => "yes", "clock" => "time_ns (CLOCK_MONOTONIC on Linux)")
end

function init(worker)
    model = read_model()
    rehearse(model)
    worker.model = model
    ("threads" => 1,)
end

function forward(worker, first, count)
    model = prepared(worker, first, count)
    outputs!(model, first, count)
    write_array("outputs.bin", model.layers[end].A[:, 1:count])
    ()
end

function gradient(worker, first, count)
    model = prepared(worker, first, count)
    loss = loss_and_gradient!(model, first, count)
    write_array("gradient.bin", model.gradient)
    ("loss" => loss,)
end

function train(worker, first, count, batch_size, rate)
    model = model_of(worker)
    check_range(first, count, length(model.order), "entries of order")
    batch_size >= 1 || invalid("batch_size = $batch_size: must be at least 1")
    0 < rate < Inf || invalid("learning_rate = $rate: must be finite and above 0")
    batch = min(batch_size, count)
    reserve!(model, batch)
    timed_train(model, first, count, batch, rate)
end

function time_passes(worker, operation, first, count, repeats, n_probes)
    model = prepared(worker, first, count)
    repeats >= 1 || invalid("repeats = $repeats: must be at least 1")
    n_probes >= 1 || invalid("probes = $n_probes: must be at least 1")
    entries = operation === :forward ? count * size(model.y, 1) : length(model.gradient)
    probes = read_entries("probes.bin", n_probes, entries)
    seconds, checksum = timed_passes(model, operation, first, count, repeats, probes)
    (seconds..., "checksum" => checksum)
end

function theta(worker)
    write_array("theta_out.bin", model_of(worker).theta)
    ()
end

function reset(worker)
    reset!(model_of(worker))
    ()
end

quit(worker) = ()

# name => its function, and the names and types of its arguments
const COMMANDS = Dict{String, Tuple{Function, Vector{Pair{String, Type}}}}(
    "hello" => (hello, []),
    "init" => (init, []),
    "forward" => (forward, ["FIRST" => Int, "COUNT" => Int]),
    "gradient" => (gradient, ["FIRST" => Int, "COUNT" => Int]),
    "train" => (train, ["FIRST" => Int, "COUNT" => Int, "BATCH" => Int, "RATE" => Float64]),
    "time" => (time_passes, ["forward|gradient" => Symbol, "FIRST" => Int, "COUNT" => Int, "REPEATS" => Int,
                             "PROBES" => Int]),
    "theta" => (theta, []),
    "reset" => (reset, []),
    "quit" => (quit, []),
)

# Return the argument that a word stands for, or nothing if the word is not valid.
read_word(::Type{Int}, word) = tryparse(Int, word, base=10)
read_word(::Type{Float64}, word) = decimal(word)
read_word(::Type{Symbol}, word) = word in ("forward", "gradient") ? Symbol(word) : nothing

function answer(worker, name, words)
    haskey(COMMANDS, name) || invalid("unknown command '$name'; known: $(join(sort(collect(keys(COMMANDS))), ", "))")
    command, parameters = COMMANDS[name]
    usage = join([name; first.(parameters)], " ")
    length(words) == length(parameters) || invalid("'$(join([name; words], " "))': the command is '$usage'")
    arguments = map((parameter, word) -> read_word(last(parameter), word), parameters, words)
    at = findfirst(isnothing, arguments)
    at === nothing || invalid("'$(words[at])' is not a valid $(first(parameters[at])): the command is '$usage'")
    command(worker, arguments...)
end

# --- Replies. --------------------------------------------------------------------------------------------------------

encode(value) = replace(string(value), r"[%\t\n\r]" => c -> "%" * uppercase(bytes2hex(codeunits(c))))

function reply(status, fields)
    println(REPLIES, join([status; ["$key=$(encode(value))" for (key, value) in fields]], '\t'))
    flush(REPLIES)
end

function serve(worker)
    for line in eachline(stdin)
        words = words_in(line)
        isempty(words) && continue
        try
            reply("ok", answer(worker, words[1], words[2:end]))
        catch error
            reply("error", error_fields(error))
        end
        words == ["quit"] && return
    end
end

serve(Worker(nothing))
