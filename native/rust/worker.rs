// worker.rs: the worker protocol: a command a line on stdin, a reply a line on stdout, arrays in the files of a folder.
// It reads, checks, answers and keeps the clock; the network is mlp.rs's.
#![forbid(unsafe_code)]

mod mlp;

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use mlp::{Activation, Data, Float, Loss, Mlp, Operation};

// ---- Replies and errors ----

enum Error {
    Unsupported(String), // a function or dtype that mlp.rs does not have
    Invalid(String),
}

use Error::{Invalid, Unsupported};

type Result<Value> = std::result::Result<Value, Error>;
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

fn in_file(name: &str, error: io::Error) -> Error {
    Invalid(format!("{name}: {error}"))
}

// ---- network.txt ----

struct Description {
    sizes: Vec<usize>,
    activations: Vec<String>, // f_1 .. f_L, so the output activation too
    loss: String,
    dtype: String,
    l2: f64,
    rows: usize,
    order: usize,
}

impl Description {
    fn read(folder: &Path) -> Result<Self> {
        let bytes = fs::read(folder.join("network.txt")).map_err(|error| in_file("network.txt", error))?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = Lines(text.lines().filter_map(key_and_words).collect());
        let sizes = lines.counts("sizes")?;
        if sizes.len() < 2 {
            return Err(Invalid(format!("network.txt: sizes: {} of them, must be at least 2", sizes.len())));
        }
        let hidden = sizes.len() - 2;
        let mut activations: Vec<String> = lines.words("activations")?.iter().map(|name| name.to_string()).collect();
        if activations.len() != hidden {
            let got = activations.len();
            return Err(Invalid(format!("network.txt: activations: {got} of them for {hidden} hidden layers")));
        }
        activations.push(lines.word("output_activation")?.to_string());
        lines.count("threads")?; // whatever it says, one is used
        Ok(Self {
            sizes,
            activations,
            loss: lines.word("loss")?.to_string(),
            dtype: lines.word("dtype")?.to_string(),
            l2: lines.penalty("l2")?,
            rows: lines.count("rows")?,
            order: lines.count("order")?,
        })
    }

    /// How many parameters there are, where that is a number of bytes that exists.
    fn parameters(&self) -> Result<usize> {
        let of_layer = |m: &[usize]| m[0].checked_add(1)?.checked_mul(m[1]);
        let add = |sum: usize, m: &[usize]| sum.checked_add(of_layer(m)?).filter(|&sum| sum < usize::MAX / 64);
        self.sizes
            .windows(2)
            .try_fold(0, add)
            .ok_or_else(|| Invalid("network.txt: sizes: too many parameters to be counted".to_string()))
    }
}

fn key_and_words(line: &str) -> Option<(&str, Vec<&str>)> {
    let mut words = line.split_whitespace();
    Some((words.next()?, words.collect()))
}

/// The words after a key, by key.
struct Lines<'text>(HashMap<&'text str, Vec<&'text str>>);

impl<'text> Lines<'text> {
    fn words(&self, key: &str) -> Result<&[&'text str]> {
        match self.0.get(key) {
            Some(words) => Ok(words),
            None => Err(Invalid(format!("network.txt: no line '{key}'"))),
        }
    }

    fn word(&self, key: &str) -> Result<&'text str> {
        match self.words(key)? {
            [word] => Ok(word),
            words => Err(Invalid(format!("network.txt: {key}: {} words, must be 1", words.len()))),
        }
    }

    fn counts(&self, key: &str) -> Result<Vec<usize>> {
        self.words(key)?.iter().map(|word| count_of(key, word)).collect()
    }

    fn count(&self, key: &str) -> Result<usize> {
        count_of(key, self.word(key)?)
    }

    fn penalty(&self, key: &str) -> Result<f64> {
        let word = self.word(key)?;
        let finite = |value: &f64| *value >= 0.0 && value.is_finite();
        let wanted = || Invalid(format!("network.txt: {key} = {word}: must be a finite number from 0 on"));
        f64::from_str(word).ok().filter(finite).ok_or_else(wanted)
    }
}

fn count_of(key: &str, word: &str) -> Result<usize> {
    at_least_1(&format!("network.txt: {key}"), word)
}

// ---- Arrays in files: raw, little-endian ----

trait Stored: Sized {
    const SIZE: usize;
    fn from_bytes(bytes: &[u8]) -> Self;
    fn push_bytes(self, data: &mut Vec<u8>);
}

macro_rules! stored {
    ($type:ident) => {
        impl Stored for $type {
            const SIZE: usize = std::mem::size_of::<Self>();
            fn from_bytes(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("SIZE bytes"))
            }
            fn push_bytes(self, data: &mut Vec<u8>) {
                data.extend(self.to_le_bytes());
            }
        }
    };
}

stored!(f32);
stored!(f64);
stored!(i64);

/// The (rows, columns) numbers that are in a file, and nothing else.
fn read<Number: Stored>(folder: &Path, name: &str, rows: usize, columns: usize) -> Result<Vec<Number>> {
    let data = fs::read(folder.join(name)).map_err(|error| in_file(name, error))?;
    let (got, size) = (data.len(), Number::SIZE);
    let wanted = rows as u128 * columns as u128 * size as u128;
    if got as u128 != wanted {
        let shape = format!("({rows}, {columns}) numbers of {size} bytes");
        return Err(Invalid(format!("{name} has {got} bytes: {shape} are wanted, {wanted} in all")));
    }
    Ok(data.chunks_exact(size).map(Number::from_bytes).collect())
}

fn write<Number: Stored + Copy>(folder: &Path, name: &str, numbers: &[Number]) -> Result<()> {
    let mut data = Vec::with_capacity(numbers.len() * Number::SIZE);
    for number in numbers {
        number.push_bytes(&mut data);
    }
    fs::write(folder.join(name), data).map_err(|error| in_file(name, error))
}

// ---- Making a model ----

fn read_model(folder: &Path) -> Result<Box<dyn Work>> {
    let description = Description::read(folder)?;
    match description.dtype.as_str() {
        "float32" => Ok(Box::new(make::<f32>(&description, folder)?)),
        "float64" => Ok(Box::new(make::<f64>(&description, folder)?)),
        dtype => Err(Unsupported(format!("no dtype '{dtype}'"))),
    }
}

fn make<Real: Float + Stored>(description: &Description, folder: &Path) -> Result<Mlp<Real>> {
    let (f, loss) = functions(description)?;
    let theta = read(folder, "theta.bin", description.parameters()?, 1)?;
    let data = read_data(description, folder)?;
    Ok(Mlp::new(&description.sizes, f, loss, description.l2, theta, data))
}

fn functions<Real: Float>(description: &Description) -> Result<(Vec<Activation<Real>>, Loss<Real>)> {
    let wanted = &description.loss;
    let loss = Loss::TABLE.into_iter().find(|row| row.name == wanted);
    let loss = loss.ok_or_else(|| Unsupported(format!("no loss '{wanted}'")))?;
    let mut f = Vec::new();
    for (l, name) in description.activations.iter().enumerate() {
        let fuses = loss.fuses.filter(|_| l + 1 == description.activations.len());
        if let Some(fused) = fuses.filter(|fused| fused != name) {
            let message = format!("network.txt: output_activation = {name}: {wanted} fuses {fused}");
            return Err(Invalid(message));
        }
        let row = Activation::TABLE.into_iter().find(|row| row.name == name);
        let row = row.filter(|row| fuses.is_some() || row.is_elementwise());
        f.push(row.ok_or_else(|| Unsupported(format!("no activation '{name}' for layer {}", l + 1)))?);
    }
    Ok((f, loss))
}

fn read_data<Real: Stored>(description: &Description, folder: &Path) -> Result<Data<Real>> {
    let (rows, sizes) = (description.rows, &description.sizes);
    let x = read(folder, "x.bin", rows, sizes[0])?;
    let y = read(folder, "y.bin", rows, sizes[sizes.len() - 1])?;
    let row_number = |(i, row): (usize, i64)| {
        let message = || Invalid(format!("order.bin: entry {i} is {row}: row numbers lie in [0, {rows})"));
        usize::try_from(row).ok().filter(|&row| row < rows).ok_or_else(message)
    };
    let order: Vec<i64> = read(folder, "order.bin", description.order, 1)?;
    let order = order.into_iter().enumerate().map(row_number).collect::<Result<_>>()?;
    Ok(Data { rows, x, y, order })
}

// ---- Commands ----

enum Command {
    Hello,
    Init,
    Task(Task),
    Quit,
}

/// What a model is asked to do.
enum Task {
    Forward { first: usize, count: usize },
    Gradient { first: usize, count: usize },
    Train { first: usize, count: usize, batch_size: usize, rate: f64 },
    Time { operation: Operation, first: usize, count: usize, repeats: usize },
    Theta,
    Reset,
}

const USAGE: [&str; 9] = [
    "hello",
    "init",
    "forward FIRST COUNT",
    "gradient FIRST COUNT",
    "train FIRST COUNT BATCH RATE",
    "time forward|gradient FIRST COUNT REPEATS",
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
        ["time", operation, first, count, repeats] => Task::Time {
            operation: operation_of(operation)?,
            first: first_of(first)?,
            count: at_least_1("COUNT", count)?,
            repeats: at_least_1("REPEATS", repeats)?,
        },
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
    usize::from_str(word).map_err(|_| Invalid(format!("FIRST = {word}: must be an integer from 0 on")))
}

fn at_least_1(name: &str, word: &str) -> Result<usize> {
    let wanted = || Invalid(format!("{name} = {word}: must be an integer from 1 on"));
    usize::from_str(word).ok().filter(|&number| number > 0).ok_or_else(wanted)
}

fn rate_of(word: &str) -> Result<f64> {
    let wanted = || Invalid(format!("RATE = {word}: must be a finite number above 0"));
    f64::from_str(word).ok().filter(|rate| *rate > 0.0 && rate.is_finite()).ok_or_else(wanted)
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
        ("compiler", option_env!("FNN_COMPILER").unwrap_or("rustc")), // the build knows better
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

/// An Mlp<f32> or an Mlp<f64>.
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
            Task::Time { operation, first, count, repeats } => time(self, operation, first, count, repeats),
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

/// All that comes before work on rows [first, first + count).
fn prepare<Real: Float>(mlp: &mut Mlp<Real>, first: usize, count: usize) -> Result<()> {
    check_range(first, count, mlp.data().rows, "rows")?;
    reserve(mlp, count)
}

fn reserve<Real: Float>(mlp: &mut Mlp<Real>, rows: usize) -> Result<()> {
    mlp.reserve(rows).map_err(|error| Invalid(format!("a batch of {rows} rows: {error}")))
}

fn train<Real: Float>(mlp: &mut Mlp<Real>, first: usize, count: usize, batch_size: usize, rate: f64) -> Result<Fields> {
    check_range(first, count, mlp.data().order.len(), "entries of order")?;
    reserve(mlp, batch_size.min(count))?;
    let start = Instant::now();
    mlp.train(first, count, batch_size, rate);
    Ok(vec![("seconds", number(start.elapsed().as_secs_f64()))])
}

fn time<Real: Float>(
    mlp: &mut Mlp<Real>,
    operation: Operation,
    first: usize,
    count: usize,
    repeats: usize,
) -> Result<Fields> {
    prepare(mlp, first, count)?;
    let places = mlp.data().rows - count + 1;
    let (mut checksum, mut s) = (0.0, first);
    let start = Instant::now();
    for _ in 0..repeats {
        checksum += mlp.timed_pass(operation, s, count);
        s = (s + count) % places;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(vec![("seconds", number(seconds)), ("checksum", number(checksum))])
}

/// 17 digits: enough to tell any double.
fn number(value: f64) -> String {
    format!("{value:.16e}")
}

// ---- The conversation ----

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

    /// Until quit, or the end of input.
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
