// Refusal.java: what is answered to a command that cannot be done.

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

  // NaN for what is no number; Java's own parser takes 1d and 0x1p3 too.
  static double number(String word) {
    return NUMBER.matcher(word).matches() ? Double.parseDouble(word) : Double.NaN;
  }
}
