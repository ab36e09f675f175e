//! setup.zig: the files of WORKDIR: network.txt and arrays of raw numbers, and the model that init makes of them.
//! Files go through the C library, whose functions stay the same from one version of Zig to the next.

const std = @import("std");
const Allocator = std.mem.Allocator;
const mlp = @import("mlp.zig");
const Activation = mlp.Activation;
const Loss = mlp.Loss;
const Mlp = mlp.Mlp;

// ---- Errors ----

pub const Error = error{Refused} || Allocator.Error;

/// Why the last command was refused: an error of Zig carries no message.
pub const Refusal = struct {
    kind: []const u8 = "invalid",
    text: [1024]u8 = undefined,
    length: usize = 0,

    pub fn message(self: *const Refusal) []const u8 {
        return self.text[0..self.length];
    }

    /// Write the message, cut where the room ends, and return the error.
    pub fn because(self: *Refusal, kind: []const u8, comptime format: []const u8, values: anytype) error{Refused} {
        self.kind = kind;
        self.length = self.text.len;
        @memset(&self.text, ' ');
        if (std.fmt.bufPrint(&self.text, format, values)) |text| {
            self.length = text.len;
        } else |_| {} // the part that fits is written
        return error.Refused;
    }

    pub fn invalid(self: *Refusal, comptime format: []const u8, values: anytype) error{Refused} {
        return self.because("invalid", format, values);
    }

    pub fn unsupported(self: *Refusal, comptime format: []const u8, values: anytype) error{Refused} {
        return self.because("unsupported", format, values);
    }
};

// ---- Words ----

pub const Words = std.mem.TokenIterator(u8, .any);

pub fn split(line: []const u8) Words {
    return std.mem.tokenizeAny(u8, line, " \t\r\n\x0b\x0c");
}

/// Read a whole number, digits alone: parseInt also takes 1_000.
pub fn integer(refusal: *Refusal, name: []const u8, word: []const u8, least: usize) error{Refused}!usize {
    for (word) |character| {
        if (!std.ascii.isDigit(character)) return refusal.invalid("{s} = {s}: must be a whole number", .{ name, word });
    }
    const value = std.fmt.parseInt(usize, word, 10) catch return refusal.invalid("{s} = {s}: too large", .{ name, word });
    if (value < least) return refusal.invalid("{s} = {s}: must be at least {d}", .{ name, word, least });
    return value;
}

/// Read a decimal number: parseFloat also takes 1_000, 0x1p3 and nan. null: it is none, or not finite.
pub fn decimal(word: []const u8) ?f64 {
    for (word) |character| {
        if (std.mem.indexOfScalar(u8, "0123456789+-.eE", character) == null) return null;
    }
    const value = std.fmt.parseFloat(f64, word) catch return null;
    return if (std.math.isFinite(value)) value else null;
}

// ---- Arrays in files: raw, little-endian, as this machine has them ----

const File = opaque {};
extern "c" fn fopen(path: [*:0]const u8, mode: [*:0]const u8) ?*File;
extern "c" fn fread(to: [*]u8, size: usize, count: usize, file: *File) usize;
extern "c" fn fwrite(from: [*]const u8, size: usize, count: usize, file: *File) usize;
extern "c" fn fseek(file: *File, offset: c_long, from: c_int) c_int;
extern "c" fn ftell(file: *File) c_long;
extern "c" fn fclose(file: *File) c_int;
const SEEK_SET = 0;
const SEEK_END = 2;

/// WORKDIR, and the memory of what is read from it.
pub const Folder = struct {
    path: []const u8,
    allocator: Allocator,

    fn open(self: Folder, refusal: *Refusal, name: []const u8, mode: [*:0]const u8) Error!*File {
        const path = try std.mem.concat(self.allocator, u8, &.{ self.path, "/", name, "\x00" });
        defer self.allocator.free(path);
        return fopen(@ptrCast(path.ptr), mode) orelse refusal.invalid("{s} cannot be opened", .{name});
    }

    fn bytesOf(refusal: *Refusal, name: []const u8, file: *File) error{Refused}!usize {
        const end: c_long = if (fseek(file, 0, SEEK_END) == 0) ftell(file) else -1;
        if (end < 0 or end == std.math.maxInt(c_long) or fseek(file, 0, SEEK_SET) != 0) // the latter: of a folder
            return refusal.invalid("{s} is no file that can be read", .{name});
        return @intCast(end);
    }

    /// Read `rows` times `width` numbers: the whole file.
    pub fn read(self: Folder, comptime Number: type, refusal: *Refusal, name: []const u8, rows: usize, width: usize) Error![]Number {
        const file = try self.open(refusal, name, "rb");
        defer _ = fclose(file);
        const got = try bytesOf(refusal, name, file);
        const wanted = @as(u128, rows) * width * @sizeOf(Number);
        if (got != wanted)
            return refusal.invalid("{s} has {d} bytes: must have {d}, for {d} x {d} numbers", .{ name, got, wanted, rows, width });
        const numbers = try self.allocator.alloc(Number, rows * width);
        errdefer self.allocator.free(numbers);
        const bytes = std.mem.sliceAsBytes(numbers);
        if (fread(bytes.ptr, 1, bytes.len, file) != bytes.len) return refusal.invalid("{s} cannot be read", .{name});
        return numbers;
    }

    /// Read numbers of entries, counted from 0, of something that has `stop` entries.
    pub fn readEntries(self: Folder, refusal: *Refusal, name: []const u8, count: usize, stop: usize) Error![]i64 {
        const numbers = try self.read(i64, refusal, name, count, 1);
        errdefer self.allocator.free(numbers);
        for (numbers, 0..) |number, at| {
            if (number < 0 or number >= stop)
                return refusal.invalid("{s}: entry {d} is {d}: must lie in [0, {d})", .{ name, at, number, stop });
        }
        return numbers;
    }

    fn readText(self: Folder, refusal: *Refusal, name: []const u8) Error![]u8 {
        const file = try self.open(refusal, name, "rb");
        defer _ = fclose(file);
        const text = try self.allocator.alloc(u8, try bytesOf(refusal, name, file));
        errdefer self.allocator.free(text);
        if (fread(text.ptr, 1, text.len, file) != text.len) return refusal.invalid("{s} cannot be read", .{name});
        return text;
    }

    pub fn write(self: Folder, comptime Number: type, refusal: *Refusal, name: []const u8, numbers: []const Number) Error!void {
        const file = try self.open(refusal, name, "wb");
        const bytes = std.mem.sliceAsBytes(numbers);
        const written = fwrite(bytes.ptr, 1, bytes.len, file);
        if (fclose(file) != 0 or written != bytes.len) return refusal.invalid("{s} cannot be written", .{name});
    }
};

// ---- network.txt ----

/// The values of network.txt. Its words are parts of `text`.
pub const Description = struct {
    allocator: Allocator,
    text: []u8,
    sizes: []usize,
    activations: [][]const u8, // f_1 .. f_L: the last is the output activation
    loss: []const u8,
    dtype: []const u8,
    l2: f64,
    rows: usize,
    order: usize,

    pub fn read(folder: Folder, refusal: *Refusal) Error!Description {
        const allocator = folder.allocator;
        const text = try folder.readText(refusal, "network.txt");
        errdefer allocator.free(text);

        const sizes = try allocator.alloc(usize, count(try line(refusal, text, "sizes")));
        errdefer allocator.free(sizes);
        if (sizes.len < 2) return refusal.invalid("network.txt: sizes: must be two or more, not {d}", .{sizes.len});
        var words = try line(refusal, text, "sizes");
        for (sizes) |*size| size.* = try integer(refusal, "network.txt: sizes", words.next().?, 1);

        const activations = try allocator.alloc([]const u8, sizes.len - 1);
        errdefer allocator.free(activations);
        words = try line(refusal, text, "activations");
        const hidden = sizes.len - 2;
        if (count(words) != hidden)
            return refusal.invalid("network.txt: activations: {d} names for {d} hidden layers", .{ count(words), hidden });
        for (activations[0..hidden]) |*name| name.* = words.next().?;
        activations[hidden] = try word(refusal, text, "output_activation");

        const l2_word = try word(refusal, text, "l2");
        const l2 = decimal(l2_word) orelse -1;
        if (!(l2 >= 0)) return refusal.invalid("network.txt: l2 = {s}: must be finite, at least 0", .{l2_word});
        _ = try number(refusal, text, "threads"); // checked, then ignored: the network uses one thread
        return .{
            .allocator = allocator,
            .text = text,
            .sizes = sizes,
            .activations = activations,
            .loss = try word(refusal, text, "loss"),
            .dtype = try word(refusal, text, "dtype"),
            .l2 = l2,
            .rows = try number(refusal, text, "rows"),
            .order = try number(refusal, text, "order"),
        };
    }

    pub fn deinit(self: Description) void {
        self.allocator.free(self.activations);
        self.allocator.free(self.sizes);
        self.allocator.free(self.text);
    }

    /// Return the words after a key; of several lines with the key, those of the last.
    fn line(refusal: *Refusal, text: []const u8, key: []const u8) error{Refused}!Words {
        var found: ?Words = null;
        var lines = std.mem.splitScalar(u8, text, '\n');
        while (lines.next()) |each| {
            var words = split(each);
            const first = words.next() orelse continue;
            if (std.mem.eql(u8, first, key)) found = words;
        }
        return found orelse refusal.invalid("network.txt: no line '{s}'", .{key});
    }

    fn word(refusal: *Refusal, text: []const u8, key: []const u8) error{Refused}![]const u8 {
        var words = try line(refusal, text, key);
        if (count(words) != 1) return refusal.invalid("network.txt: {s}: must be one word, not {d}", .{ key, count(words) });
        return words.next().?;
    }

    fn number(refusal: *Refusal, text: []const u8, key: []const u8) error{Refused}!usize {
        return integer(refusal, key, try word(refusal, text, key), 1);
    }

    fn count(words: Words) usize {
        var copy = words;
        var found: usize = 0;
        while (copy.next() != null) found += 1;
        return found;
    }

    /// Return the number of parameters.
    fn parameters(self: Description, refusal: *Refusal) error{Refused}!usize {
        var sum: u128 = 0; // saturates: a network of so many parameters has no file
        for (self.sizes[0 .. self.sizes.len - 1], self.sizes[1..]) |inputs, outputs|
            sum +|= (@as(u128, inputs) + 1) * outputs;
        return std.math.cast(usize, sum) orelse refusal.invalid("network.txt: sizes: too many parameters", .{});
    }
};

// ---- Making a model ----

/// Return the row of a table by its name.
fn find(comptime Row: type, name: []const u8) ?Row {
    for (Row.table) |row| {
        if (std.mem.eql(u8, row.name, name)) return row;
    }
    return null;
}

/// Return the row of "name" or "name(parameter)", with its parameter.
fn findActivation(comptime Real: type, text: []const u8) ?Activation(Real) {
    const at = std.mem.indexOfScalar(u8, text, '(') orelse return find(Activation(Real), text);
    var row = find(Activation(Real), text[0..at]) orelse return null;
    if (row.parameter == null or !std.mem.endsWith(u8, text, ")")) return null;
    row.parameter = @floatCast(decimal(text[at + 1 .. text.len - 1]) orelse return null);
    return row;
}

/// Fill f with f_1 .. f_L.
fn findActivations(comptime Real: type, refusal: *Refusal, loss: Loss(Real), names: []const []const u8, f: []Activation(Real)) Error!void {
    for (names, f, 1..) |name, *f_l, l| {
        const fuses = if (l == names.len) loss.fuses else null;
        if (fuses) |fused| {
            if (!std.mem.eql(u8, fused, name)) {
                const format = "network.txt: output_activation = {s}: {s} fuses {s}";
                return refusal.invalid(format, .{ name, loss.name, fused });
            }
        }
        f_l.* = findActivation(Real, name) orelse
            return refusal.unsupported("no activation '{s}' for layer {d}", .{ name, l });
        if (fuses == null and f_l.derivative == null)
            return refusal.unsupported("no activation '{s}' for layer {d}: only a loss fuses it", .{ name, l });
    }
}

pub fn make(comptime Real: type, folder: Folder, refusal: *Refusal, description: Description) Error!Mlp(Real) {
    const allocator = folder.allocator;
    const sizes = description.sizes;
    const loss = find(Loss(Real), description.loss) orelse
        return refusal.unsupported("no loss '{s}'", .{description.loss});
    const f = try allocator.alloc(Activation(Real), sizes.len - 1);
    defer allocator.free(f);
    try findActivations(Real, refusal, loss, description.activations, f);

    const theta = try folder.read(Real, refusal, "theta.bin", try description.parameters(refusal), 1);
    errdefer allocator.free(theta);
    const x = try folder.read(Real, refusal, "x.bin", description.rows, sizes[0]);
    errdefer allocator.free(x);
    const y = try folder.read(Real, refusal, "y.bin", description.rows, sizes[sizes.len - 1]);
    errdefer allocator.free(y);
    const order = try folder.readEntries(refusal, "order.bin", description.order, description.rows);
    errdefer allocator.free(order);
    const data: mlp.Data(Real) = .{ .rows = description.rows, .x = x, .y = y, .order = order };
    return Mlp(Real).init(allocator, sizes, f, loss, description.l2, theta, data);
}
