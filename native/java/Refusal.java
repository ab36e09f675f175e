// Refusal.java: the error reply to a command that cannot be carried out.

import java.util.regex.Pattern;

final class Refusal extends RuntimeException {
  private static final long serialVersionUID = 1;
  private static final Pattern NUMBER = Pattern.compile("[-+]?(\\d+\\.?\\d*|\\.\\d+)([eE][-+]?\\d+)?");
  final String kind;

  private Refusal(String kind, String message) {
    super(message);
    this.kind = kind;
  }

  Refusal(String message) {
    this("invalid", message);
  }

  static Refusal unsupported(String message) {
    return new Refusal("unsupported", message);
  }

  // Parse a number; return NaN for other words. Double.parseDouble alone would also accept 1d and 0x1p3.
  static double number(String word) {
    return NUMBER.matcher(word).matches() ? Double.parseDouble(word) : Double.NaN;
  }
}
