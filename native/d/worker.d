// worker.d: the worker protocol: one command per line on stdin, one reply per line on stdout, arrays in files of
// WORKDIR. This file parses and answers commands and reads the clock; setup.d reads the files, mlp.d has the network.
module worker;

import core.sys.posix.time : timespec;
import core.time : MonoTime;
import std.algorithm : filter, map;
import std.array : join, replace;
import std.compiler : version_major, version_minor;
import std.format : format;
import std.stdio : stderr, stdin, stdout;

import mlp;
import setup;

@safe:

// The garbage collector marks in this thread alone. It runs between commands: a step allocates nothing.
extern (C) __gshared string[] rt_options = ["gcopt=parallel:0"];

// The two rows of backend.toml differ by this flag alone.
version (D_NoBoundsChecks)
{
    enum name = "d-unchecked";
    enum flags = "-O -release -boundscheck=off -mcpu=native";
}
else
{
    enum name = "d";
    enum flags = "-O -release -mcpu=native";
}

// ---- Replies ----

struct Field
{
    string key, value;
}

string lineOf(string status, const Field[] fields)
{
    string line = status;
    foreach (field; fields)
        line ~= "\t" ~ field.key ~ "=" ~ quoted(field.value);
    return line ~ "\n";
}

string quoted(string value)
{
    return value.replace("%", "%25").replace("\t", "%09").replace("\n", "%0A").replace("\r", "%0D");
}

/// Format with 17 significant digits, which identify every double.
string digits(double value)
{
    return format!"%.16e"(value);
}

Field[] hello()
{
    auto elementwise = activations!double.filter!(row => row.derivative !is null);
    return [
        Field("protocol", "1"),
        Field("name", name),
        Field("language", "D"),
        Field("compiler", compiler()),
        Field("flags", flags),
        Field("activations", elementwise.map!(row => row.name).join(",")),
        Field("losses", losses!double.map!(row => row.name).join(",")),
        Field("arithmetic", "native"),
        Field("deterministic", "yes"),
        Field("clock", "core.time.MonoTime"),
    ];
}

string compiler()
{
    enum language = format!"%d.%03d"(version_major, version_minor);
    version (LDC)
    {
        import ldc.intrinsics : LLVM_version;

        return format!"LDC, D %s, LLVM %d.%d"(language, LLVM_version / 100, LLVM_version % 100);
    }
    else
        return "D " ~ language;
}

// ---- Clocks ----

struct Clocks
{
    MonoTime wall;
    double cpu; // seconds of the process, all threads

    static Clocks read()
    {
        const cpu = cpuSeconds();
        return Clocks(MonoTime.currTime, cpu);
    }

    /// Return the fields of a timed reply, for the time since the reading.
    Field[] elapsed() const
    {
        const nanoseconds = (MonoTime.currTime - wall).total!"nsecs";
        return [Field("seconds", digits(1e-9 * nanoseconds)), Field("cpu_seconds", digits(cpuSeconds() - cpu))];
    }
}

extern (C) private int clock_gettime(int clock, timespec* time) nothrow @nogc @system;

private double cpuSeconds() @trusted
{
    version (linux)
        enum CLOCK_PROCESS_CPUTIME_ID = 2;
    else
        enum CLOCK_PROCESS_CPUTIME_ID = 12;
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

// ---- Commands ----

/// The words of each command.
enum string[][string] USAGE = [
        "hello": [],
        "init": [],
        "forward": ["FIRST", "COUNT"],
        "gradient": ["FIRST", "COUNT"],
        "train": ["FIRST", "COUNT", "BATCH", "RATE"],
        "time": ["forward|gradient", "FIRST", "COUNT", "REPEATS", "PROBES"],
        "theta": [],
        "reset": [],
        "quit": [],
    ];

struct Range
{
    size_t first, count;

    this(string first, string count, size_t length, string what)
    {
        this.first = integer("FIRST", first, 0);
        this.count = integer("COUNT", count, 1);
        if (this.count > length || this.first > length - this.count)
        {
            enum text = "FIRST = %s, COUNT = %s: must lie within the %d %s";
            throw new Refusal(format!text(first, count, length, what));
        }
    }
}

/// A network in either dtype, as the commands use it.
interface Model
{
    /// Run a command of this many words, and return the fields of its reply.
    Field[] run(string[] words);

    void release();
}

final class ModelOf(Real) : Model
{
    private string folder;
    private Mlp!Real network;

    this(string folder, Mlp!Real network)
    {
        this.folder = folder;
        this.network = network;
    }

    void release()
    {
        network.release();
    }

    Field[] run(string[] words)
    {
        final switch (words[0])
        {
        case "forward":
            const rows = Range(words[1], words[2], network.data.rows, "rows");
            reserve(rows.count);
            network.predict(rows.first, rows.count);
            write(folder, "outputs.bin", network.Y(rows.count));
            return null;
        case "gradient":
            const rows = Range(words[1], words[2], network.data.rows, "rows");
            reserve(rows.count);
            const loss = network.lossAndGradient(rows.first, rows.count);
            write(folder, "gradient.bin", network.gradient);
            return [Field("loss", digits(loss))];
        case "train":
            return train(words);
        case "time":
            return time(words);
        case "theta":
            write(folder, "theta_out.bin", network.theta);
            return null;
        case "reset":
            network.reset();
            return null;
        }
    }

    private void reserve(size_t rows)
    {
        if (!network.reserve(rows))
            throw new Refusal(format!"not enough memory for a batch of %d rows"(rows));
    }

    private Field[] train(string[] words)
    {
        const entries = Range(words[1], words[2], network.data.order.length, "entries of order");
        const asked = integer("BATCH", words[3], 1);
        const batchSize = asked < entries.count ? asked : entries.count;
        const rate = decimal(words[4]);
        if (!(rate > 0))
            throw new Refusal(format!"RATE = %s: must be finite and above 0"(words[4]));
        reserve(batchSize);
        const start = Clocks.read();
        network.train(entries.first, entries.count, batchSize, cast(Real) rate);
        return start.elapsed();
    }

    private Field[] time(string[] words)
    {
        if (words[1] != "forward" && words[1] != "gradient")
            throw new Refusal(format!"'%s': must be forward or gradient"(words[1]));
        const operation = words[1] == "forward" ? Operation.forward : Operation.gradient;
        const rows = Range(words[2], words[3], network.data.rows, "rows");
        const repeats = integer("REPEATS", words[4], 1), n = integer("PROBES", words[5], 1);
        auto probes = readEntries(folder, "probes.bin", n, network.entries(operation, rows.count));
        scope (exit)
            .release(probes);
        reserve(rows.count);

        const places = network.data.rows - rows.count + 1;
        double checksum = 0;
        size_t s = rows.first, p = 0;
        const start = Clocks.read();
        foreach (_; 0 .. repeats)
        {
            checksum += network.timedPass(operation, s, rows.count, probes[p]);
            s = (s + rows.count) % places;
            p = p + 1 < probes.length ? p + 1 : 0;
        }
        return start.elapsed() ~ Field("checksum", digits(checksum));
    }
}

// ---- Lines in, lines out ----

struct Worker
{
    string folder;
    Model model; // null until init

    Field[] answer(string[] words)
    {
        const wanted = words[0] in USAGE;
        if (wanted is null)
            throw new Refusal(format!"unknown command '%s'"(words[0]));
        if (words.length - 1 != wanted.length)
            throw new Refusal(format!"'%s': the command is '%-(%s %)'"(words.join(" "), words[0] ~ *wanted));
        switch (words[0])
        {
        case "hello":
            return hello();
        case "init":
            initialize();
            return [Field("threads", "1")];
        case "quit":
            return null;
        default:
            if (model is null)
                throw new Refusal("no model yet: init comes first");
            return model.run(words);
        }
    }

    /// Replace the model; the earlier one survives an error.
    private void initialize()
    {
        const description = Description(folder);
        Model made;
        switch (description.dtype)
        {
        case "float32":
            made = new ModelOf!float(folder, make!float(folder, description));
            break;
        case "float64":
            made = new ModelOf!double(folder, make!double(folder, description));
            break;
        default:
            throw unsupported(format!"no dtype '%s'"(description.dtype));
        }
        if (model !is null)
            model.release();
        model = made;
    }

    string reply(string[] words)
    {
        try
            return lineOf("ok", answer(words));
        catch (Refusal refusal)
            return lineOf("error", [Field("kind", refusal.kind), Field("message", refusal.msg)]);
        catch (Exception error)
            return lineOf("error", [Field("kind", "invalid"), Field("message", error.msg)]);
    }
}

int main(string[] arguments) @trusted // the standard streams are shared
{
    if (arguments.length != 2)
    {
        stderr.writeln("usage: fnn WORKDIR, then commands on stdin");
        return 2;
    }
    auto worker = Worker(arguments[1]);
    foreach (line; stdin.byLine)
    {
        auto words = wordsOf(line);
        if (words.length == 0)
            continue;
        stdout.rawWrite(worker.reply(words));
        stdout.flush();
        if (words == ["quit"])
            break;
    }
    return 0;
}
