// Worker.cs: the worker protocol: commands from stdin, replies to stdout, the clock. Setup.cs reads the files, Mlp.cs
// has the network. Run as: fnn WORKDIR.

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

sealed class Worker {
  const string Usages = "hello|init|forward FIRST COUNT|gradient FIRST COUNT|train FIRST COUNT BATCH RATE|"
    + "time forward/gradient FIRST COUNT REPEATS PROBES|theta|reset|quit";

  readonly string workdir;
  Setup setup;
  IModel model; // null until an init succeeds

  Worker(string workdir) {
    this.workdir = workdir;
  }

  // Blocks of random sizes, so that arrays have other places in each process: memory layout alone changes step times.
  static readonly byte[][] Scattered = Scatter(new Random());

  static byte[][] Scatter(Random random) {
    var blocks = new byte[2048][];
    for (int i = 0; i < blocks.Length; i++) blocks[i] = new byte[random.Next(256)];
    return blocks;
  }

  static int Main(string[] words) {
    if (words.Length != 1 || !BitConverter.IsLittleEndian) {
      Console.Error.WriteLine("usage: fnn WORKDIR, on a little-endian machine");
      return 2;
    }
    CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
    var worker = new Worker(words[0]);
    Stream input = new BufferedStream(Console.OpenStandardInput()), output = Console.OpenStandardOutput();
    for (string line = ReadLine(input); line != null; line = ReadLine(input)) {
      string[] command = line.Split((char[])null, StringSplitOptions.RemoveEmptyEntries);
      if (command.Length == 0) continue;
      byte[] reply = Encoding.UTF8.GetBytes(worker.Reply(command) + "\n");
      output.Write(reply, 0, reply.Length);
      output.Flush();
      if (command.Length == 1 && command[0] == "quit") break;
    }
    GC.KeepAlive(Scattered);
    return 0;
  }

  // Return the next line, or null at the end of input. After a carriage return, StreamReader would wait for the next.
  static string ReadLine(Stream input) {
    var bytes = new List<byte>();
    for (int next = input.ReadByte(); next != '\n'; next = input.ReadByte()) {
      if (next >= 0)
        bytes.Add((byte)next);
      else
        return bytes.Count > 0 ? Encoding.UTF8.GetString(bytes.ToArray()) : null;
    }
    return Encoding.UTF8.GetString(bytes.ToArray());
  }

  string Reply(string[] words) {
    try {
      string fields = Answer(words);
      return fields == "" ? "ok" : "ok\t" + fields;
    } catch (Refusal refusal) {
      return "error\t" + Field("message", refusal.Message) + "\t" + Field("kind", refusal.Kind);
    } catch (Exception error) {
      return "error\t" + Field("message", error.GetType().Name + ": " + error.Message);
    }
  }

  string Answer(string[] words) {
    string usage = Array.Find(Usages.Split('|'), row => row.Split(' ')[0] == words[0]);
    if (usage == null) throw new Refusal($"unknown command '{words[0]}'; known: {Usages.Replace("|", ", ")}");
    if (words.Length != usage.Split(' ').Length)
      throw new Refusal($"'{string.Join(" ", words)}': the command is '{usage}'");
    switch (words[0]) {
      case "hello": return Hello();
      case "init": return Init();
      case "forward": return Forward(words[1], words[2]);
      case "gradient": return Gradient(words[1], words[2]);
      case "train": return Train(words[1], words[2], words[3], words[4]);
      case "time": return Time(words[1], words[2], words[3], words[4], words[5]);
      case "theta": return Theta();
      case "reset": return Reset();
      default: return ""; // quit
    }
  }

  static string Field(string key, string value) {
    return key + "=" + value.Replace("%", "%25").Replace("\t", "%09").Replace("\n", "%0A").Replace("\r", "%0D");
  }

  static string Digits17(double value) {
    if (double.IsNaN(value)) return "nan";
    return double.IsInfinity(value) ? (value > 0 ? "inf" : "-inf") : value.ToString("G17");
  }

  // ---- The commands. ------------------------------------------------------------------------------------------------

  static string Hello() {
    var elementwise = Array.FindAll(Functions.Activations, f => f.Derivative != null);
    return string.Join("\t", "protocol=1", "name=csharp", "language=C#",
      Field("compiler", Flags.Compiler + "; " + RuntimeInformation.FrameworkDescription), Field("flags", Flags.Text),
      "activations=" + string.Join(",", Array.ConvertAll(elementwise, f => f.Name)),
      "losses=" + string.Join(",", Array.ConvertAll(Functions.Losses, loss => loss.Name)),
      "arithmetic=native", "deterministic=yes", "clock=Stopwatch (monotonic)");
  }

  string Init() {
    var next = new Setup(workdir);
    byte[] theta = Setup.ReadArray(workdir, "theta.bin", next.Parameters, next.Width);
    byte[] x = Setup.ReadArray(workdir, "x.bin", (long)next.Rows * next.Inputs, next.Width);
    byte[] y = Setup.ReadArray(workdir, "y.bin", (long)next.Rows * next.Outputs, next.Width);
    int[] order = Setup.ReadEntries(workdir, "order.bin", next.Order, next.Rows);
    if (next.IsDouble)
      model = new DoubleMlp(next, theta, x, y, order);
    else
      model = new Mlp(next, theta, x, y, order);
    setup = next;
    return "threads=1";
  }

  string Forward(string firstWord, string countWord) {
    int count, first = First(firstWord, countWord, false, out count);
    model.Reserve(count);
    model.Outputs(first, count);
    var outputs = new byte[checked(count * setup.Outputs * setup.Width)];
    model.WriteOutputs(count, outputs);
    return Written("outputs.bin", outputs);
  }

  string Gradient(string firstWord, string countWord) {
    int count, first = First(firstWord, countWord, false, out count);
    model.Reserve(count);
    double loss = model.LossAndGradient(first, count);
    var gradient = new byte[setup.Parameters * setup.Width];
    model.WriteGradient(gradient);
    return Written("gradient.bin", gradient) + "loss=" + Digits17(loss);
  }

  string Train(string firstWord, string countWord, string batchWord, string rateWord) {
    int count, first = First(firstWord, countWord, true, out count);
    int batchSize = (int)Math.Min(Refusal.AtLeastOne("BATCH", batchWord), count);
    double rate = Refusal.Number(rateWord);
    if (!(rate > 0 && rate < double.PositiveInfinity))
      throw new Refusal($"RATE = {rateWord}: must be finite and above 0");
    model.Reserve(batchSize);
    long start = Stopwatch.GetTimestamp();
    model.Train(first, count, batchSize, rate);
    return Seconds(start);
  }

  string Time(string operation, string firstWord, string countWord, string repeatsWord, string probesWord) {
    bool forward = operation == "forward";
    if (!forward && operation != "gradient") throw new Refusal($"'{operation}': must be forward or gradient");
    int count, first = First(firstWord, countWord, false, out count);
    long repeats = Refusal.AtLeastOne("REPEATS", repeatsWord), places = setup.Rows - count + 1;
    long entries = forward ? (long)count * setup.Outputs : setup.Parameters;
    int[] probes = Setup.ReadEntries(workdir, "probes.bin", Refusal.AtLeastOne("PROBES", probesWord), entries);
    model.Reserve(count);
    model.SetProbes(forward, probes);
    double checksum = 0;
    long start = Stopwatch.GetTimestamp(), at = first;
    int p = 0;
    for (long r = 0; r < repeats; r++) {
      checksum += model.TimedPass(forward, (int)at, count, p);
      at = (at + count) % places;
      p = p + 1 < probes.Length ? p + 1 : 0;
    }
    return Seconds(start) + "\tchecksum=" + Digits17(checksum);
  }

  string Theta() {
    NeedModel();
    var theta = new byte[setup.Parameters * setup.Width];
    model.WriteTheta(theta);
    return Written("theta_out.bin", theta);
  }

  string Reset() {
    NeedModel();
    model.Reset();
    return "";
  }

  // ---- What several commands share. ---------------------------------------------------------------------------------

  void NeedModel() {
    if (model == null) throw new Refusal("no network yet: init comes first");
  }

  // Return FIRST and COUNT, after a check that [FIRST, FIRST + COUNT) lies within the rows or the entries of order.
  int First(string firstWord, string countWord, bool ofOrder, out int count) {
    NeedModel();
    long first = Refusal.Integer("FIRST", firstWord), length = Refusal.AtLeastOne("COUNT", countWord);
    int end = ofOrder ? setup.Order : setup.Rows;
    if (first < 0 || length > end || first > end - length)
      throw new Refusal($"FIRST = {first}, COUNT = {length}: must lie within the {end} "
        + (ofOrder ? "entries of order" : "rows"));
    count = (int)length;
    return (int)first;
  }

  // There is no cpu_seconds: the CPU time that .NET reports has steps of 10 ms on Mono.
  static string Seconds(long start) {
    return "seconds=" + Digits17((Stopwatch.GetTimestamp() - start) / (double)Stopwatch.Frequency);
  }

  string Written(string name, byte[] numbers) {
    File.WriteAllBytes(Path.Combine(workdir, name), numbers);
    return "";
  }
}
