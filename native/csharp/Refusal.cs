// Refusal.cs: the error reply to a command that cannot be carried out, and the numbers among its words.

using System;
using System.Globalization;
using System.Text.RegularExpressions;

sealed class Refusal : Exception {
  // .NET's own parsers accept more: spaces, thousands separators, NaN.
  static readonly Regex Whole = new Regex(@"\A[-+]?[0-9]+\z");
  static readonly Regex Real = new Regex(@"\A[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\z");

  public readonly string Kind;

  public Refusal(string message, string kind = "invalid") : base(message) {
    Kind = kind;
  }

  public static Refusal Unsupported(string message) {
    return new Refusal(message, "unsupported");
  }

  // Return a number, or NaN for other words and for those beyond the largest double.
  public static double Number(string word) {
    double value;
    bool read = double.TryParse(word, NumberStyles.Float, CultureInfo.InvariantCulture, out value);
    return read && Real.IsMatch(word) ? value : double.NaN;
  }

  public static bool IsFinite(double value) {
    return !double.IsNaN(value) && !double.IsInfinity(value);
  }

  // Return a whole number. One beyond those of a long becomes the largest or smallest of them.
  public static long Integer(string what, string word) {
    if (!Whole.IsMatch(word)) throw new Refusal($"{what} = '{word}': must be a whole number");
    long value;
    if (long.TryParse(word, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value)) return value;
    return word[0] == '-' ? long.MinValue : long.MaxValue;
  }

  public static long AtLeastOne(string what, string word) {
    long value = Integer(what, word);
    if (value < 1) throw new Refusal($"{what} = {word}: must be at least 1");
    return value;
  }
}
