// Setup.cs: the files of WORKDIR: network.txt, read and checked, and arrays of raw numbers.

using System;
using System.Collections.Generic;
using System.IO;

// The contents of network.txt.
sealed class Setup {
  public readonly int[] Sizes; // m_0 .. m_L
  public readonly string[] Activations; // f_1 .. f_L: those of the hidden layers, then the output activation
  public readonly string Loss;
  public readonly double L2;
  public readonly bool IsDouble;
  public readonly int Rows, Order; // numbers of rows, and of entries of order

  public Setup(string workdir) {
    Dictionary<string, string[]> lines = ReadLines(workdir);
    Sizes = Array.ConvertAll(Words(lines, "sizes"), word => Size("sizes", word));
    if (Sizes.Length < 2) throw Bad("sizes", string.Join(" ", Words(lines, "sizes")), "must be at least 2 numbers");
    var activations = new List<string>(Words(lines, "activations"));
    if (activations.Count != Sizes.Length - 2)
      throw Bad("activations", string.Join(" ", activations), $"must be {Sizes.Length - 2}, one a hidden layer");
    activations.Add(Word(lines, "output_activation"));
    Activations = activations.ToArray();
    Loss = Word(lines, "loss");
    L2 = Refusal.Number(Word(lines, "l2"));
    if (!(L2 >= 0 && L2 < double.PositiveInfinity)) throw Bad("l2", Word(lines, "l2"), "must be finite, 0 or more");
    string dtype = Word(lines, "dtype");
    if (dtype != "float32" && dtype != "float64") throw Refusal.Unsupported($"csharp has no dtype '{dtype}'");
    IsDouble = dtype == "float64";
    Rows = Size("rows", Word(lines, "rows"));
    Order = Size("order", Word(lines, "order"));
    Size("threads", Word(lines, "threads")); // checked, then not used: the network has one thread
    CheckFunctions();
  }

  public int Width => IsDouble ? sizeof(double) : sizeof(float);

  public int Inputs => Sizes[0];

  public int Outputs => Sizes[Sizes.Length - 1];

  public long Parameters {
    get {
      long sum = 0;
      for (int l = 1; l < Sizes.Length; l++) sum = checked(sum + (Sizes[l - 1] + 1L) * Sizes[l]);
      return sum;
    }
  }

  // Check the names against the tables of Functions; those of DoubleFunctions have the same names.
  void CheckFunctions() {
    Functions.Loss loss = Named.Find(Functions.Losses, Loss);
    if (loss == null) throw Refusal.Unsupported($"csharp has no loss '{Loss}'");
    for (int l = 0; l < Activations.Length; l++) {
      bool fused = loss.Fuses != null && l == Activations.Length - 1;
      if (fused && Activations[l] != loss.Fuses)
        throw Bad("output_activation", Activations[l], $"{Loss} fuses {loss.Fuses}");
      Functions.Activation f = Functions.Activation.Find(Activations[l]);
      if (f == null || (!fused && f.Derivative == null))
        throw Refusal.Unsupported($"csharp has no activation '{Activations[l]}' for layer {l + 1}");
    }
  }

  // ---- network.txt: from each key to the words after it. ------------------------------------------------------------

  static Dictionary<string, string[]> ReadLines(string workdir) {
    var lines = new Dictionary<string, string[]>();
    foreach (string line in File.ReadAllText(Path.Combine(workdir, "network.txt")).Split('\n')) {
      string[] words = line.Split((char[])null, StringSplitOptions.RemoveEmptyEntries);
      if (words.Length == 0) continue;
      lines[words[0]] = new List<string>(words).GetRange(1, words.Length - 1).ToArray();
    }
    return lines;
  }

  static string[] Words(Dictionary<string, string[]> lines, string key) {
    string[] words;
    if (lines.TryGetValue(key, out words)) return words;
    throw new Refusal($"network.txt has no line {key}");
  }

  static string Word(Dictionary<string, string[]> lines, string key) {
    string[] words = Words(lines, key);
    if (words.Length == 1) return words[0];
    throw Bad(key, string.Join(" ", words), "must be one word");
  }

  static int Size(string key, string word) {
    long value = Refusal.Integer("network.txt: " + key, word);
    if (value >= 1 && value <= int.MaxValue) return (int)value;
    throw Bad(key, word, $"must be from 1 to {int.MaxValue}");
  }

  static Refusal Bad(string key, string value, string rule) {
    return new Refusal($"network.txt: {key} = '{value}': {rule}");
  }

  // ---- Arrays of raw numbers. .NET runs on little-endian machines alone, or nearly so; the worker refuses others. ---

  // Read a file that holds exactly `items` numbers of `width` bytes.
  public static byte[] ReadArray(string workdir, string name, long items, int width) {
    var file = new FileInfo(Path.Combine(workdir, name));
    if (!file.Exists) throw new Refusal($"{name} is missing");
    if (items > int.MaxValue / width)
      throw Refusal.Unsupported($"{name}: {items} numbers do not fit in an array of C#");
    if (file.Length != items * width) throw new Refusal($"{name} has {file.Length} bytes: must have {items * width}");
    byte[] bytes = File.ReadAllBytes(file.FullName);
    if (bytes.Length != items * width) throw new Refusal($"{name} changed while it was read");
    return bytes;
  }

  // Read the numbers of entries, counted from 0, of something that has `end` entries.
  public static int[] ReadEntries(string workdir, string name, long count, long end) {
    byte[] bytes = ReadArray(workdir, name, count, sizeof(long));
    var entries = new int[count];
    for (int i = 0; i < entries.Length; i++) {
      long entry = BitConverter.ToInt64(bytes, i * sizeof(long));
      if (entry < 0 || entry >= end) throw new Refusal($"{name}: entry {i} is {entry}: must lie in [0, {end})");
      entries[i] = checked((int)entry);
    }
    return entries;
  }
}
