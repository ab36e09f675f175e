// setup.rs: the files of WORKDIR: network.txt and arrays of raw numbers, and the model that init makes of them.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

use crate::mlp::{Activation, Data, Float, Loss, Mlp};

// ---- Errors ----

use Error::{Invalid, Unsupported};

pub enum Error {
    Unsupported(String), // a function or dtype that mlp.rs lacks
    Invalid(String),
}

pub type Result<Value> = std::result::Result<Value, Error>;

fn in_file(name: &str, error: io::Error) -> Error {
    Invalid(format!("{name}: {error}"))
}

// ---- network.txt ----

pub struct Description {
    sizes: Vec<usize>,
    activations: Vec<String>, // f_1 .. f_L: the last is the output activation
    loss: String,
    pub dtype: String,
    l2: f64,
    rows: usize,
    order: usize,
}

impl Description {
    pub fn read(folder: &Path) -> Result<Self> {
        let bytes = fs::read(folder.join("network.txt")).map_err(|error| in_file("network.txt", error))?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = Lines(text.lines().filter_map(key_and_words).collect());
        let sizes = lines.counts("sizes")?;
        if sizes.len() < 2 {
            return Err(Invalid(format!("network.txt: sizes: {} numbers: must be at least 2", sizes.len())));
        }
        let hidden = sizes.len() - 2;
        let mut activations: Vec<String> = lines.words("activations")?.iter().map(|name| name.to_string()).collect();
        if activations.len() != hidden {
            let got = activations.len();
            return Err(Invalid(format!("network.txt: activations: {got} names for {hidden} hidden layers")));
        }
        activations.push(lines.word("output_activation")?.to_string());
        lines.count("threads")?; // checked, then ignored: the network uses one thread
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

    /// Return the number of parameters; an error where their bytes cannot be counted in a usize.
    fn parameters(&self) -> Result<usize> {
        let of_layer = |m: &[usize]| m[0].checked_add(1)?.checked_mul(m[1]);
        let add = |sum: usize, m: &[usize]| sum.checked_add(of_layer(m)?).filter(|&sum| sum < usize::MAX / 64);
        self.sizes
            .windows(2)
            .try_fold(0, add)
            .ok_or_else(|| Invalid("network.txt: sizes: too many parameters to count".to_string()))
    }
}

fn key_and_words(line: &str) -> Option<(&str, Vec<&str>)> {
    let mut words = line.split_whitespace();
    Some((words.next()?, words.collect()))
}

/// The lines of network.txt: from each key to the words after it.
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
            words => Err(Invalid(format!("network.txt: {key}: {} words: must be 1", words.len()))),
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
        let error = || Invalid(format!("network.txt: {key} = {word}: must be finite, at least 0"));
        f64::from_str(word).ok().filter(finite).ok_or_else(error)
    }
}

pub fn at_least_1(name: &str, word: &str) -> Result<usize> {
    let error = || Invalid(format!("{name} = {word}: must be an integer, at least 1"));
    usize::from_str(word).ok().filter(|&number| number > 0).ok_or_else(error)
}

fn count_of(key: &str, word: &str) -> Result<usize> {
    at_least_1(&format!("network.txt: {key}"), word)
}

// ---- Arrays in files: raw, little-endian ----

pub trait Stored: Sized {
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

/// Read a file that holds exactly rows * columns numbers.
fn read<Number: Stored>(folder: &Path, name: &str, rows: usize, columns: usize) -> Result<Vec<Number>> {
    let data = fs::read(folder.join(name)).map_err(|error| in_file(name, error))?;
    let (got, size) = (data.len(), Number::SIZE);
    let expected = rows as u128 * columns as u128 * size as u128;
    if got as u128 != expected {
        let shape = format!("({rows}, {columns}) numbers of {size} bytes");
        return Err(Invalid(format!("{name} has {got} bytes: {shape} need {expected}")));
    }
    Ok(data.chunks_exact(size).map(Number::from_bytes).collect())
}

/// Read the probes of a timed call: each names one of `entries` numbers.
pub fn read_probes(folder: &Path, length: usize, entries: usize) -> Result<Vec<usize>> {
    let entry = |(i, probe): (usize, i64)| {
        let message = || Invalid(format!("probes.bin: entry {i} is {probe}: must lie in [0, {entries})"));
        usize::try_from(probe).ok().filter(|&probe| probe < entries).ok_or_else(message)
    };
    let probes: Vec<i64> = read(folder, "probes.bin", length, 1)?;
    probes.into_iter().enumerate().map(entry).collect()
}

pub fn write<Number: Stored + Copy>(folder: &Path, name: &str, numbers: &[Number]) -> Result<()> {
    let mut data = Vec::with_capacity(numbers.len() * Number::SIZE);
    for number in numbers {
        number.push_bytes(&mut data);
    }
    fs::write(folder.join(name), data).map_err(|error| in_file(name, error))
}

// ---- Making a model ----

pub fn make<Real: Float + Stored>(description: &Description, folder: &Path) -> Result<Mlp<Real>> {
    let (f, loss_function) = functions(description)?;
    let theta = read(folder, "theta.bin", description.parameters()?, 1)?;
    let data = read_data(description, folder)?;
    Ok(Mlp::new(&description.sizes, f, loss_function, description.l2, theta, data))
}

/// Look up f_1 .. f_L and the loss in the tables.
fn functions<Real: Float>(description: &Description) -> Result<(Vec<Activation<Real>>, Loss<Real>)> {
    let loss_name = &description.loss;
    let loss_function = Loss::TABLE.into_iter().find(|row| row.name == loss_name);
    let loss_function = loss_function.ok_or_else(|| Unsupported(format!("no loss '{loss_name}'")))?;
    let mut f = Vec::new();
    for (l, name) in description.activations.iter().enumerate() {
        let fuses = loss_function.fuses.filter(|_| l + 1 == description.activations.len());
        if let Some(fused) = fuses.filter(|fused| fused != name) {
            let message = format!("network.txt: output_activation = {name}: {loss_name} fuses {fused}");
            return Err(Invalid(message));
        }
        let row = Activation::find(name);
        let row = row.filter(|row| fuses.is_some() || row.is_elementwise());
        f.push(row.ok_or_else(|| Unsupported(format!("no activation '{name}' for layer {}", l + 1)))?);
    }
    Ok((f, loss_function))
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
