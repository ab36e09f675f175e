// worker.rs: the worker protocol: one command per line on stdin, one reply per line on stdout, arrays in files of
// WORKDIR. This file parses and answers commands and reads the clock; setup.rs reads the files, mlp.rs has the network.
#![deny(unsafe_code)] // clocks.rs calls the C library

mod clocks;
mod mlp;
mod setup;

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use clocks::Clocks;
use mlp::{Activation, Float, Loss, Mlp, Operation};
use setup::Error::{Invalid, Unsupported};
use setup::{at_least_1, make, read_probes, write, Description, Result, Stored};

// ---- Replies ----

type Fields = Vec<(&'static str, String)>;

fn line_of(status: &str, fields: &Fields) -> String {
    let mut line = status.to_string();
    for (key, value) in fields {
        line += &format!("\t{key}={}", quoted(value));
    }
    line + "\n"
}

fn quoted(value: &str) -> String {
    value.replace('%', "%25").replace('\t', "%09").replace('\n', "%0A").replace('\r', "%0D")
}

fn reply(answer: &Result<Fields>) -> String {
    match answer {
        Ok(fields) => line_of("ok", fields),
        Err(Unsupported(message)) => error_line("unsupported", message),
        Err(Invalid(message)) => error_line("invalid", message),
    }
}

fn error_line(kind: &str, message: &str) -> String {
    line_of("error", &vec![("kind", kind.to_string()), ("message", message.to_string())])
}

// ---- Commands ----

enum Command {
    Hello,
    Init,
    Task(Task),
    Quit,
}

/// A command on a model.
enum Task {
    Forward { first: usize, count: usize },
    Gradient { first: usize, count: usize },
    Train { first: usize, count: usize, batch_size: usize, rate: f64 },
    Time(Timed),
    Theta,
    Reset,
}

/// The words of the command `time`.
struct Timed {
    operation: Operation,
    first: usize,
    count: usize,
    repeats: usize,
    probes: usize,
}

const USAGE: [&str; 9] = [
    "hello",
    "init",
    "forward FIRST COUNT",
    "gradient FIRST COUNT",
    "train FIRST COUNT BATCH RATE",
    "time forward|gradient FIRST COUNT REPEATS PROBES",
    "theta",
    "reset",
    "quit",
];

fn parse(words: &[&str]) -> Result<Command> {
    let task = match *words {
        ["hello"] => return Ok(Command::Hello),
        ["init"] => return Ok(Command::Init),
        ["quit"] => return Ok(Command::Quit),
        ["forward", first, count] => Task::Forward { first: first_of(first)?, count: at_least_1("COUNT", count)? },
        ["gradient", first, count] => Task::Gradient { first: first_of(first)?, count: at_least_1("COUNT", count)? },
        ["train", first, count, batch_size, rate] => Task::Train {
            first: first_of(first)?,
            count: at_least_1("COUNT", count)?,
            batch_size: at_least_1("BATCH", batch_size)?,
            rate: rate_of(rate)?,
        },
        ["time", operation, first, count, repeats, probes] => Task::Time(Timed {
            operation: operation_of(operation)?,
            first: first_of(first)?,
            count: at_least_1("COUNT", count)?,
            repeats: at_least_1("REPEATS", repeats)?,
            probes: at_least_1("PROBES", probes)?,
        }),
        ["theta"] => Task::Theta,
        ["reset"] => Task::Reset,
        _ => return Err(Invalid(misused(words))),
    };
    Ok(Command::Task(task))
}

fn misused(words: &[&str]) -> String {
    match USAGE.iter().find(|usage| usage.split(' ').next() == Some(words[0])) {
        Some(usage) => format!("'{}': the command is '{usage}'", words.join(" ")),
        None => format!("unknown command '{}'", words[0]),
    }
}

fn first_of(word: &str) -> Result<usize> {
    usize::from_str(word).map_err(|_| Invalid(format!("FIRST = {word}: must be an integer, at least 0")))
}

fn rate_of(word: &str) -> Result<f64> {
    let error = || Invalid(format!("RATE = {word}: must be finite and above 0"));
    f64::from_str(word).ok().filter(|rate| *rate > 0.0 && rate.is_finite()).ok_or_else(error)
}

fn operation_of(word: &str) -> Result<Operation> {
    match word {
        "forward" => Ok(Operation::Forward),
        "gradient" => Ok(Operation::Gradient),
        _ => Err(Invalid(format!("'{word}': must be forward or gradient"))),
    }
}

fn check_range(first: usize, count: usize, length: usize, what: &str) -> Result<()> {
    if count > length || first > length - count {
        return Err(Invalid(format!("FIRST = {first}, COUNT = {count}: must lie within the {length} {what}")));
    }
    Ok(())
}

fn hello() -> Fields {
    let elementwise = Activation::<f64>::TABLE.into_iter().filter(Activation::is_elementwise);
    let activations: Vec<_> = elementwise.map(|row| row.name).collect();
    let losses = Loss::<f64>::TABLE.map(|row| row.name);
    let fields = [
        ("protocol", "1"),
        ("name", "rust"),
        ("language", "Rust"),
        ("compiler", option_env!("FNN_COMPILER").unwrap_or("rustc")), // the build sets both
        ("flags", option_env!("FNN_FLAGS").unwrap_or("unknown")),
        ("activations", &activations.join(",")),
        ("losses", &losses.join(",")),
        ("arithmetic", "native"),
        ("deterministic", "yes"),
        ("clock", "std::time::Instant (monotonic)"),
    ];
    fields.map(|(key, value)| (key, value.to_string())).to_vec()
}

// ---- Work, the same for both dtypes ----

/// An Mlp<f32> or an Mlp<f64>, as the commands use it.
trait Work {
    fn run(&mut self, task: Task, folder: &Path) -> Result<Fields>;
}

impl<Real: Float + Stored> Work for Mlp<Real> {
    fn run(&mut self, task: Task, folder: &Path) -> Result<Fields> {
        match task {
            Task::Forward { first, count } => {
                prepare(self, first, count)?;
                self.outputs(first, count);
                write(folder, "outputs.bin", self.Y(count))?;
                Ok(Vec::new())
            }
            Task::Gradient { first, count } => {
                prepare(self, first, count)?;
                let loss = self.loss_and_gradient(first, count);
                write(folder, "gradient.bin", self.gradient())?;
                Ok(vec![("loss", number(loss))])
            }
            Task::Train { first, count, batch_size, rate } => train(self, first, count, batch_size, rate),
            Task::Time(timed) => time(self, &timed, folder),
            Task::Theta => {
                write(folder, "theta_out.bin", self.theta())?;
                Ok(Vec::new())
            }
            Task::Reset => {
                self.reset();
                Ok(Vec::new())
            }
        }
    }
}

fn read_model(folder: &Path) -> Result<Box<dyn Work>> {
    let description = Description::read(folder)?;
    match description.dtype.as_str() {
        "float32" => Ok(Box::new(make::<f32>(&description, folder)?)),
        "float64" => Ok(Box::new(make::<f64>(&description, folder)?)),
        dtype => Err(Unsupported(format!("no dtype '{dtype}'"))),
    }
}

/// Check `first` and `count` against the rows of the data, and make room for `count` rows.
fn prepare<Real: Float>(mlp: &mut Mlp<Real>, first: usize, count: usize) -> Result<()> {
    check_range(first, count, mlp.data().rows, "rows")?;
    reserve(mlp, count)
}

fn reserve<Real: Float>(mlp: &mut Mlp<Real>, rows: usize) -> Result<()> {
    mlp.reserve(rows).map_err(|error| Invalid(format!("a batch of {rows} rows: {error}")))
}

fn fields_of((seconds, cpu_seconds): (f64, f64)) -> Fields {
    vec![("seconds", number(seconds)), ("cpu_seconds", number(cpu_seconds))]
}

fn train<Real: Float>(mlp: &mut Mlp<Real>, first: usize, count: usize, batch_size: usize, rate: f64) -> Result<Fields> {
    check_range(first, count, mlp.data().order.len(), "entries of order")?;
    reserve(mlp, batch_size.min(count))?;
    let start = Clocks::read();
    mlp.train(first, count, batch_size, rate);
    Ok(fields_of(start.elapsed()))
}

fn time<Real: Float>(mlp: &mut Mlp<Real>, timed: &Timed, folder: &Path) -> Result<Fields> {
    let (operation, first, count) = (timed.operation, timed.first, timed.count);
    prepare(mlp, first, count)?;
    let probes = read_probes(folder, timed.probes, mlp.entries(operation, count))?;
    let places = mlp.data().rows - count + 1;
    let (mut checksum, mut s, mut p) = (0.0, first, 0);
    let start = Clocks::read();
    for _ in 0..timed.repeats {
        checksum += mlp.timed_pass(operation, s, count, probes[p]);
        s = (s + count) % places;
        p = if p + 1 < probes.len() { p + 1 } else { 0 };
    }
    let mut fields = fields_of(start.elapsed());
    fields.push(("checksum", number(checksum)));
    Ok(fields)
}

/// Format with 17 significant digits, which identify every double.
fn number(value: f64) -> String {
    format!("{value:.16e}")
}

// ---- Lines in, lines out ----

struct Worker {
    folder: PathBuf,
    model: Option<Box<dyn Work>>, // None until init
}

impl Worker {
    fn run(&mut self, command: Command) -> Result<Fields> {
        match (command, &mut self.model) {
            (Command::Hello, _) => Ok(hello()),
            (Command::Quit, _) => Ok(Vec::new()),
            (Command::Init, model) => {
                *model = Some(read_model(&self.folder)?);
                Ok(vec![("threads", "1".to_string())])
            }
            (Command::Task(task), Some(model)) => model.run(task, &self.folder),
            (Command::Task(_), None) => Err(Invalid("no model yet: init comes first".to_string())),
        }
    }

    /// Answer commands until quit or the end of input.
    fn serve(&mut self, commands: impl BufRead, mut replies: impl Write) -> io::Result<()> {
        for line in commands.split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            let command = parse(&words);
            let quits = matches!(command, Ok(Command::Quit));
            let answer = command.and_then(|command| self.run(command));
            replies.write_all(reply(&answer).as_bytes())?;
            replies.flush()?;
            if quits {
                break;
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.len() != 1 {
        eprintln!("usage: fnn WORKDIR, then commands on stdin");
        return ExitCode::from(2);
    }
    let mut worker = Worker { folder: PathBuf::from(&words[0]), model: None };
    match worker.serve(io::stdin().lock(), io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
