//! worker.zig: the worker protocol: one command per line on stdin, one reply per line on stdout, arrays in files of
//! WORKDIR. This file parses and answers commands and reads the clock; setup.zig reads the files, mlp.zig has the
//! network. stdin, stdout and the clocks are those of the C library, as in setup.zig.

const std = @import("std");
const builtin = @import("builtin");
const Allocator = std.mem.Allocator;
const allocator = std.heap.c_allocator; // C's malloc, whose layout the driver scatters
const mlp = @import("mlp.zig");
const setup = @import("setup.zig");
const Error = setup.Error;
const Operation = mlp.Operation;
const Refusal = setup.Refusal;

// The two rows of backend.toml differ by the build mode alone.
const name = if (std.debug.runtime_safety) "zig" else "zig-fast";
const compiler = "Zig " ++ builtin.zig_version_string ++ ", for " ++ builtin.cpu.model.name;
const flags = "-O " ++ @tagName(builtin.mode) ++ " -mcpu=native -lc";

// ---- Replies ----

extern "c" fn fflush(file: ?*anyopaque) c_int;
extern "c" fn putchar(character: c_int) c_int;

fn put(text: []const u8) void {
    for (text) |character| _ = putchar(character);
}

fn field(key: []const u8, value: []const u8) void {
    put("\t");
    put(key);
    put("=");
    for (value) |character| {
        switch (character) {
            '%' => put("%25"),
            '\t' => put("%09"),
            '\n' => put("%0A"),
            '\r' => put("%0D"),
            else => _ = putchar(character),
        }
    }
}

/// Text for the fields of a reply; a command fills it, and it is put on stdout once all has succeeded.
const Reply = struct {
    keys: [16][]const u8 = undefined,
    values: [16][]const u8 = undefined,
    count: usize = 0,
    text: [512]u8 = undefined, // of the numbers
    used: usize = 0,

    fn add(self: *Reply, key: []const u8, value: []const u8) void {
        self.keys[self.count] = key;
        self.values[self.count] = value;
        self.count += 1;
    }

    /// Add a number with 17 significant digits, which identify every double.
    fn addNumber(self: *Reply, key: []const u8, value: f64) void {
        const text = std.fmt.bufPrint(self.text[self.used..], "{e}", .{value}) catch unreachable; // it has room for 20
        self.used += text.len;
        self.add(key, text);
    }

    fn addTimes(self: *Reply, start: Clocks) void {
        const end = Clocks.read();
        self.addNumber("seconds", end.wall - start.wall);
        self.addNumber("cpu_seconds", end.cpu - start.cpu);
    }
};

// ---- Clocks ----

const Clocks = struct {
    wall: f64,
    cpu: f64, // of the process, all threads

    const Timespec = extern struct { seconds: c_long, nanoseconds: c_long };
    extern "c" fn clock_gettime(clock: c_int, time: *Timespec) c_int;

    const MONOTONIC = if (builtin.os.tag == .linux) 1 else 6;
    const PROCESS_CPUTIME_ID = if (builtin.os.tag == .linux) 2 else 12;

    fn read() Clocks {
        return .{ .cpu = seconds(PROCESS_CPUTIME_ID), .wall = seconds(MONOTONIC) };
    }

    fn seconds(clock: c_int) f64 {
        var time: Timespec = .{ .seconds = 0, .nanoseconds = 0 };
        _ = clock_gettime(clock, &time);
        return @as(f64, @floatFromInt(time.seconds)) + 1e-9 * @as(f64, @floatFromInt(time.nanoseconds));
    }
};

// ---- Commands ----

const Command = enum { hello, init, forward, gradient, train, time, theta, reset, quit };

fn usage(command: Command) []const []const u8 {
    return switch (command) {
        .hello, .init, .theta, .reset, .quit => &.{},
        .forward, .gradient => &.{ "FIRST", "COUNT" },
        .train => &.{ "FIRST", "COUNT", "BATCH", "RATE" },
        .time => &.{ "OPERATION", "FIRST", "COUNT", "REPEATS", "PROBES" },
    };
}

const Model = union(enum) { // none until init
    none,
    single: mlp.Mlp(f32),
    double: mlp.Mlp(f64),

    fn deinit(self: *Model) void {
        switch (self.*) {
            .none => {},
            inline else => |*network| network.deinit(),
        }
    }
};

const Range = struct { first: usize, count: usize };

const Worker = struct {
    folder: setup.Folder,
    model: Model = .none,
    refusal: Refusal = .{},

    fn answer(self: *Worker, command: Command, words: []const []const u8, reply: *Reply) Error!void {
        const wanted = usage(command).len;
        if (words.len != wanted)
            return self.refusal.invalid("{s} takes {d} words, not {d}", .{ @tagName(command), wanted, words.len });
        switch (command) {
            .hello => hello(reply),
            .init => {
                try self.init();
                reply.add("threads", "1");
            },
            .quit => {},
            else => switch (self.model) {
                .none => return self.refusal.invalid("no model yet: init comes first", .{}),
                inline else => |*network| try self.run(network, command, words, reply),
            },
        }
    }

    fn hello(reply: *Reply) void {
        reply.add("protocol", "1");
        reply.add("name", name);
        reply.add("language", "Zig");
        reply.add("compiler", compiler);
        reply.add("flags", flags);
        reply.add("activations", comptime names(mlp.Activation(f64), "derivative"));
        reply.add("losses", comptime names(mlp.Loss(f64), "derivative"));
        reply.add("arithmetic", "native");
        reply.add("deterministic", "yes");
        reply.add("clock", "CLOCK_MONOTONIC");
    }

    /// Replace the model; the earlier one survives an error.
    fn init(self: *Worker) Error!void {
        const description = try setup.Description.read(self.folder, &self.refusal);
        defer description.deinit();
        var model: Model = undefined;
        if (std.mem.eql(u8, description.dtype, "float32")) {
            model = .{ .single = try setup.make(f32, self.folder, &self.refusal, description) };
        } else if (std.mem.eql(u8, description.dtype, "float64")) {
            model = .{ .double = try setup.make(f64, self.folder, &self.refusal, description) };
        } else return self.refusal.unsupported("no dtype '{s}'", .{description.dtype});
        self.model.deinit();
        self.model = model;
    }

    /// Run a command on a network, an Mlp(f32) or an Mlp(f64).
    fn run(self: *Worker, network: anytype, command: Command, words: []const []const u8, reply: *Reply) Error!void {
        const Real = @TypeOf(network.*).Number;
        switch (command) {
            .forward => {
                const rows = try self.range(words[0..2], network.data.rows, "rows");
                try network.reserve(rows.count);
                network.predict(rows.first, rows.count);
                try self.write(Real, "outputs.bin", network.Y(rows.count));
            },
            .gradient => {
                const rows = try self.range(words[0..2], network.data.rows, "rows");
                try network.reserve(rows.count);
                reply.addNumber("loss", network.lossAndGradient(rows.first, rows.count));
                try self.write(Real, "gradient.bin", network.gradient);
            },
            .train => {
                const entries = try self.range(words[0..2], network.data.order.len, "entries of order");
                const batch_size = @min(try self.integer("BATCH", words[2]), entries.count);
                const rate = setup.decimal(words[3]) orelse 0;
                if (rate <= 0) return self.refusal.invalid("RATE = {s}: must be finite and above 0", .{words[3]});
                try network.reserve(batch_size);
                const start = Clocks.read();
                network.train(entries.first, entries.count, batch_size, @floatCast(rate));
                reply.addTimes(start);
            },
            .time => try self.time(network, words, reply),
            .theta => try self.write(Real, "theta_out.bin", network.theta),
            .reset => network.reset(),
            .hello, .init, .quit => unreachable, // answered without a model
        }
    }

    fn time(self: *Worker, network: anytype, words: []const []const u8, reply: *Reply) Error!void {
        const operation = std.meta.stringToEnum(Operation, words[0]) orelse
            return self.refusal.invalid("'{s}': must be forward or gradient", .{words[0]});
        const rows = try self.range(words[1..3], network.data.rows, "rows");
        const repeats = try self.integer("REPEATS", words[3]);
        const n = try self.integer("PROBES", words[4]);
        const entries = network.entries(operation, rows.count);
        const probes = try self.folder.readEntries(&self.refusal, "probes.bin", n, entries);
        defer allocator.free(probes);
        try network.reserve(rows.count);

        const places = network.data.rows - rows.count + 1;
        var checksum: f64 = 0;
        var s = rows.first;
        var p: usize = 0;
        const start = Clocks.read();
        for (0..repeats) |_| {
            checksum += network.timedPass(operation, s, rows.count, @intCast(probes[p]));
            s = (s + rows.count) % places;
            p = if (p + 1 < probes.len) p + 1 else 0;
        }
        reply.addTimes(start);
        reply.addNumber("checksum", checksum);
    }

    fn range(self: *Worker, words: []const []const u8, length: usize, what: []const u8) error{Refused}!Range {
        const first = try setup.integer(&self.refusal, "FIRST", words[0], 0);
        const count = try self.integer("COUNT", words[1]);
        if (count > length or first > length - count) {
            const format = "FIRST = {d}, COUNT = {d}: must lie within the {d} {s}";
            return self.refusal.invalid(format, .{ first, count, length, what });
        }
        return .{ .first = first, .count = count };
    }

    fn integer(self: *Worker, key: []const u8, word: []const u8) error{Refused}!usize {
        return setup.integer(&self.refusal, key, word, 1);
    }

    fn write(self: *Worker, comptime Real: type, file: []const u8, numbers: []const Real) Error!void {
        try self.folder.write(Real, &self.refusal, file, numbers);
    }
};

/// Return the names of a table's rows, separated by commas; without those in which `needed` is null.
fn names(comptime Row: type, comptime needed: []const u8) []const u8 {
    var text: []const u8 = "";
    for (Row.table) |row| {
        const value = @field(row, needed);
        const present = if (@typeInfo(@TypeOf(value)) == .optional) value != null else true;
        if (present) text = text ++ (if (text.len > 0) "," else "") ++ row.name;
    }
    return text;
}

// ---- Lines in, lines out ----

extern "c" fn getchar() c_int;

/// A line of input, of any length.
const Line = struct {
    buffer: []u8 = &.{},

    /// Read the next one and return it without its end; null at the end of input.
    fn read(self: *Line) Allocator.Error!?[]const u8 {
        var length: usize = 0;
        while (true) {
            const character = getchar();
            if (character == '\n' or (character < 0 and length > 0)) return self.buffer[0..length];
            if (character < 0) return null;
            if (length == self.buffer.len) self.buffer = try allocator.realloc(self.buffer, 2 * length + 256);
            self.buffer[length] = @intCast(character);
            length += 1;
        }
    }
};

/// Answer one line; return whether to go on.
fn serve(worker: *Worker, line: []const u8) bool {
    var split = setup.split(line);
    const first = split.next() orelse return true; // a blank line
    var words: [8][]const u8 = undefined;
    var count: usize = 0;
    while (split.next()) |word| {
        if (count < words.len) words[count] = word;
        count = @min(count + 1, words.len); // more than any command takes
    }
    var reply: Reply = .{};
    const command = std.meta.stringToEnum(Command, first);
    const outcome: Error!void = if (command) |known|
        worker.answer(known, words[0..count], &reply)
    else
        worker.refusal.invalid("unknown command '{s}'", .{first});
    if (outcome) {
        put("ok");
        for (reply.keys[0..reply.count], reply.values[0..reply.count]) |key, value| field(key, value);
    } else |err| {
        put("error");
        field("kind", if (err == error.Refused) worker.refusal.kind else "invalid");
        field("message", if (err == error.Refused) worker.refusal.message() else "not enough memory");
    }
    put("\n");
    _ = fflush(null);
    return command != .quit or std.meta.isError(outcome);
}

/// C's main, which every version of Zig links.
pub export fn main(argc: c_int, argv: [*]const [*:0]const u8) c_int {
    if (argc != 2) {
        std.debug.print("usage: fnn WORKDIR, then commands on stdin\n", .{});
        return 2;
    }
    var worker: Worker = .{ .folder = .{ .path = std.mem.span(argv[1]), .allocator = allocator } };
    defer worker.model.deinit();
    var line: Line = .{};
    defer allocator.free(line.buffer);
    while (line.read() catch return 1) |text| {
        if (!serve(&worker, text)) break;
    }
    return 0;
}
