// setup.d: the files of WORKDIR: network.txt and arrays of raw numbers, and the model that init makes of them.
module setup;

import core.stdc.stdlib : strtod;
import std.algorithm : all, canFind, endsWith, splitter;
import std.ascii : isDigit, isWhite;
import std.conv : ConvException, to;
import std.file : readFile = read;
import std.format : format;
import std.math : isFinite, isNaN;
import std.path : buildPath;
import std.stdio : File;
import std.string : indexOf, toStringz;
import std.utf : byCodeUnit;

import mlp;

@safe:

/// A command that is refused, with the kind of the error.
class Refusal : Exception
{
    string kind;

    this(string message, string kind = "invalid")
    {
        super(message);
        this.kind = kind;
    }
}

Refusal unsupported(string message)
{
    return new Refusal(message, "unsupported");
}

// ---- Words ----

/// Split a line at white space, byte by byte: it may hold bytes that are no UTF-8.
string[] wordsOf(const(char)[] line)
{
    string[] words;
    size_t start = 0;
    foreach (at; 0 .. line.length + 1)
    {
        if (at < line.length && !isWhite(line[at]))
            continue;
        if (at > start)
            words ~= line[start .. at].idup;
        start = at + 1;
    }
    return words;
}

/// Read a whole number, digits alone.
size_t integer(string name, string word, size_t least)
{
    size_t value;
    if (!word.byCodeUnit.all!isDigit)
        throw new Refusal(format!"%s = %s: must be a whole number"(name, word));
    try
        value = word.to!size_t;
    catch (ConvException)
        throw new Refusal(format!"%s = %s: too large"(name, word));
    if (value < least)
        throw new Refusal(format!"%s = %s: must be at least %d"(name, word, least));
    return value;
}

/// Read a finite decimal number; nan where the word is none. strtod also takes 0x1p3 and inf.
double decimal(string word) @trusted
{
    if (!word.byCodeUnit.all!(c => "0123456789+-.eE".byCodeUnit.canFind(c)))
        return double.nan;
    const text = word.toStringz;
    const(char)* end;
    const value = strtod(text, &end);
    return word.length > 0 && end == text + word.length && isFinite(value) ? value : double.nan;
}

// ---- Arrays in files: raw, little-endian, as this machine has them ----

/// Read `rows` times `width` numbers: the whole file.
Number[] read(Number)(string folder, string name, size_t rows, size_t width)
{
    auto file = File(buildPath(folder, name), "rb");
    auto numbers = allocate!Number(rows, width); // null also where their bytes cannot be counted
    scope (failure)
        release(numbers);
    if (file.size != numbers.length * Number.sizeof || numbers is null)
    {
        enum text = "%s has %d bytes: must have %d numbers of %d bytes for each of %d rows";
        throw new Refusal(format!text(name, file.size, width, Number.sizeof, rows));
    }
    if (file.rawRead(numbers).length != numbers.length)
        throw new Refusal(format!"%s cannot be read"(name));
    return numbers;
}

/// Read numbers of entries, counted from 0, of something that has `stop` entries.
long[] readEntries(string folder, string name, size_t count, size_t stop)
{
    auto numbers = read!long(folder, name, count, 1);
    scope (failure)
        release(numbers);
    foreach (at, number; numbers)
        if (number < 0 || number >= stop)
            throw new Refusal(format!"%s: entry %d is %d: must lie in [0, %d)"(name, at, number, stop));
    return numbers;
}

void write(Number)(string folder, string name, const(Number)[] numbers)
{
    auto file = File(buildPath(folder, name), "wb");
    file.rawWrite(numbers);
    file.close(); // throws where the disk is full
}

// ---- network.txt ----

struct Description
{
    size_t[] sizes;
    string[] activations; // f_1 .. f_L: the last is the output activation
    string loss, dtype;
    double l2;
    size_t rows, order;

    this(string folder)
    {
        string[][string] lines;
        const content = cast(const(char)[]) readFile(buildPath(folder, "network.txt"));
        foreach (line; content.byCodeUnit.splitter('\n'))
        {
            auto words = wordsOf(line.source);
            if (words.length > 0)
                lines[words[0]] = words[1 .. $];
        }

        string[] wordsAfter(string key)
        {
            if (key !in lines)
                throw new Refusal(format!"network.txt: no line '%s'"(key));
            return lines[key];
        }

        string word(string key)
        {
            const words = wordsAfter(key);
            if (words.length != 1)
                throw new Refusal(format!"network.txt: %s: must be one word, not %d"(key, words.length));
            return words[0];
        }

        foreach (size; wordsAfter("sizes"))
            sizes ~= integer("network.txt: sizes", size, 1);
        if (sizes.length < 2)
            throw new Refusal(format!"network.txt: sizes: must be two or more, not %d"(sizes.length));
        activations = wordsAfter("activations");
        if (activations.length != sizes.length - 2)
        {
            enum text = "network.txt: activations: %d names for %d hidden layers";
            throw new Refusal(format!text(activations.length, sizes.length - 2));
        }
        activations ~= word("output_activation");
        loss = word("loss");
        dtype = word("dtype");
        l2 = decimal(word("l2"));
        if (!(l2 >= 0)) // NaN too
            throw new Refusal(format!"network.txt: l2 = %s: must be finite, at least 0"(word("l2")));
        rows = integer("network.txt: rows", word("rows"), 1);
        order = integer("network.txt: order", word("order"), 1);
        integer("network.txt: threads", word("threads"), 1); // checked, then ignored: the network uses one thread
    }

    /// Return the number of parameters.
    size_t parameters() const
    {
        double sum = 0; // cannot overflow, and is exact up to 2^53
        foreach (l; 1 .. sizes.length)
            sum += (sizes[l - 1] + 1.0) * sizes[l];
        if (sum > 1L << 53)
            throw new Refusal("network.txt: sizes: too many parameters");
        return cast(size_t) sum;
    }
}

// ---- Making a model ----

/// Return the row of "name" or "name(parameter)", with its parameter.
private Activation!Real activation(Real)(string text)
{
    const at = text.indexOf('(');
    const name = at < 0 ? text : text[0 .. at];
    foreach (row; activations!Real)
    {
        if (row.name != name)
            continue;
        Activation!Real found = row;
        if (at < 0)
            return found;
        const given = text.endsWith(")") ? decimal(text[at + 1 .. $ - 1]) : double.nan;
        if (isNaN(row.parameter) || isNaN(given))
            break;
        found.parameter = given;
        return found;
    }
    throw unsupported(format!"no activation '%s'"(text));
}

private Loss!Real loss(Real)(string name)
{
    foreach (row; losses!Real)
        if (row.name == name)
            return row;
    throw unsupported(format!"no loss '%s'"(name));
}

Mlp!Real make(Real)(string folder, const Description description)
{
    auto lossFunction = loss!Real(description.loss);
    Activation!Real[] f;
    foreach (l, name; description.activations)
    {
        const fuses = l + 1 == description.activations.length ? lossFunction.fuses : null;
        if (fuses !is null && fuses != name)
        {
            enum text = "network.txt: output_activation = %s: %s fuses %s";
            throw new Refusal(format!text(name, lossFunction.name, fuses));
        }
        f ~= activation!Real(name);
        if (fuses is null && f[$ - 1].derivative is null)
            throw unsupported(format!"no activation '%s' for layer %d: only a loss fuses it"(name, l + 1));
    }

    const parameters = description.parameters;
    auto start = read!Real(folder, "theta.bin", parameters, 1);
    scope (failure)
        release(start);
    Data!Real data = {rows: description.rows};
    scope (failure)
    {
        release(data.x);
        release(data.y);
        release(data.order);
    }
    data.x = read!Real(folder, "x.bin", description.rows, description.sizes[0]);
    data.y = read!Real(folder, "y.bin", description.rows, description.sizes[$ - 1]);
    data.order = readEntries(folder, "order.bin", description.order, description.rows);
    auto theta = allocate!Real(parameters, 1);
    scope (failure)
        release(theta);
    auto gradient = allocate!Real(parameters, 1);
    scope (failure)
        release(gradient);
    if (theta is null || gradient is null)
        throw new Refusal("not enough memory");
    return new Mlp!Real(description.sizes, f, lossFunction, description.l2, start, theta, gradient, data);
}
