// vector_math.hpp: exp, expm1, tanh, sigmoid and softplus of a whole vector. docs/speed.md lists their largest errors
// (in ulp, over all finite numbers), and tests/native/test_vector_math.py checks them. NaN stays NaN; infinities give
// the limits. bench/experiments/vector_math.py fits the coefficients.
#pragma once

#include "simd.hpp"

#include <array>
#include <limits>

namespace fnn::tuned {

template <class Real> struct Constants;

template <> struct Constants<float> {
  // exp(r) - 1 = r + r^2 p(r), |r| <= log(2) / 2
  static constexpr std::array<float, 5> expm1{0.4999982102f, 0.1666657725f, 0.04172630907f, 0.008363148181f,
                                              0.0009941317765f};
  // 2 atanh(s) = 2 s + s^3 p(s^2), 0 <= s <= 1/3
  static constexpr std::array<float, 6> atanh{0.6666666636f, 0.40000053f,   0.2856839609f,
                                              0.223015004f,  0.1714784759f, 0.2179240678f};
  // log(2) in two parts; the first ends in enough zeros that n * log2_high is exact
  static constexpr float log2_high = 0x1.62ep-1f, log2_low = 0x1.0bfbe8p-15f;
  static constexpr float largest = 89, smallest = -104; // exp is inf above, 0 below
  static constexpr float saturation = 9.02f;            // tanh rounds to 1 from here on
  static constexpr float magic = 0x1.8p23f;             // x + magic - magic rounds x to a whole number
  static constexpr int mantissa_bits = 23, bias = 127;
};

template <> struct Constants<double> {
  static constexpr std::array<double, 11> expm1{
      0.5000000000000000861,   0.1666666666666667097,    0.04166666666665230121,    0.008333333333326159301,
      0.001388888889559310867, 0.0001984126987474572413, 0.00002480157454322001097, 2.755725548647029125e-6,
      2.756792501620656391e-7, 2.510518390021483971e-8,  1.768774357226657591e-9};
  static constexpr std::array<double, 13> atanh{0.6666666666666666668,  0.3999999999999999169, 0.2857142857143062157,
                                                0.2222222222196768514,  0.1818181820044074673, 0.1538461451038453582,
                                                0.1333336099659941896,  0.1176409965500099548, 0.1053561118493115399,
                                                0.09424683201292821052, 0.0941156011656960155, 0.04706911127873933289,
                                                0.1575510915538347248};
  static constexpr double log2_high = 0x1.62e42feep-1, log2_low = 0x1.a39ef35793c76p-33;
  static constexpr double largest = 710, smallest = -746;
  static constexpr double saturation = 19.1;
  static constexpr double magic = 0x1.8p52;
  static constexpr int mantissa_bits = 52, bias = 1023;
};

// Return p[0] + p[1] x + ..., in pairs (Estrin's scheme), so that the products are independent of one another.
template <class Real, std::size_t size>
FNN_INLINE Vector<Real> polynomial(const std::array<Real, size> &p, Vector<Real> x) {
  std::array<Vector<Real>, (size + 1) / 2> terms;
  for (std::size_t i = 0; i < size; i += 2)
    terms[i / 2] = i + 1 < size ? broadcast(p[i]) + p[i + 1] * x : broadcast(p[i]);
  Vector<Real> power = x * x;
  for (std::size_t n = terms.size(); n > 1; n = (n + 1) / 2) {
    for (std::size_t i = 0; i < n; i += 2)
      terms[i / 2] = i + 1 < n ? terms[i] + terms[i + 1] * power : terms[i];
    power *= power;
  }
  return terms[0];
}

// Return 2^n for integers n from -bias + 1 to bias.
template <class Real> FNN_INLINE Vector<Real> power_of_two(Bits<Real> n) {
  return from_bits<Real>((n + Constants<Real>::bias) << Constants<Real>::mantissa_bits);
}

// The parts of exp(x) = 2^n (1 + q), where x = n log(2) + r and q = exp(r) - 1.
template <class Real> struct Exponential {
  Bits<Real> n;
  Vector<Real> q;

  // x: from Constants::smallest to largest, or NaN
  FNN_INLINE explicit Exponential(Vector<Real> x) {
    using C = Constants<Real>;
    constexpr Real log2_e = static_cast<Real>(1.442695040888963407359924681001892137L);
    const Vector<Real> shifted = x * log2_e + C::magic;
    const Vector<Real> whole = shifted - C::magic;
    n = bits<Real>(shifted) - bits<Real>(broadcast(C::magic));
    const Vector<Real> r = (x - whole * C::log2_high) - whole * C::log2_low;
    q = r + (r * r) * polynomial(C::expm1, r);
  }
};

template <class Real> FNN_INLINE Vector<Real> exp(Vector<Real> x) {
  using C = Constants<Real>;
  const Exponential<Real> e(at_least(at_most(x, C::largest), C::smallest));
  const Bits<Real> half = e.n >> 1; // 2^n itself can be out of range although the result is not
  return ((1 + e.q) * power_of_two<Real>(half)) * power_of_two<Real>(e.n - half);
}

// Return exp(x) - 1 for x from -2 * saturation to 2 * saturation.
template <class Real> FNN_INLINE Vector<Real> small_expm1(Vector<Real> x) {
  const Exponential<Real> e(x);
  const Vector<Real> scale = power_of_two<Real>(e.n);
  return (scale - 1) + scale * e.q;
}

template <class Real> FNN_INLINE Vector<Real> expm1(Vector<Real> x) {
  constexpr Real lowest = sizeof(Real) == 4 ? -18 : -38; // exp(x) - 1 rounds to -1 below
  const Vector<Real> small = at_least(x, lowest);
  // Above 18 the 1 hardly changes the result, and n can exceed the range of a single scale.
  return x > 18 ? exp<Real>(x) - 1 : small_expm1<Real>(at_most<Real>(small, 18));
}

template <class Real> FNN_INLINE Vector<Real> magnitude(Vector<Real> x) {
  return from_bits<Real>(bits<Real>(x) & std::numeric_limits<typename Register<Real>::Word>::max());
}
// Return x, which is not negative, with the sign of `of`.
template <class Real> FNN_INLINE Vector<Real> with_sign(Vector<Real> x, Vector<Real> of) {
  return from_bits<Real>(bits<Real>(x) | (bits<Real>(of) & std::numeric_limits<typename Register<Real>::Word>::min()));
}

// tanh|x| = e / (e + 2), e = exp(2|x|) - 1
template <class Real> FNN_INLINE Vector<Real> tanh_by_expm1(Vector<Real> x) {
  const Vector<Real> size = at_most(magnitude<Real>(x), Constants<Real>::saturation);
  const Vector<Real> e = small_expm1<Real>(size + size);
  return with_sign<Real>(e / (e + 2), x);
}

#if defined(__AVX512F__)
// Polynomials for tanh on 32 pieces of |x|, the quarters of the octaves from 1/16 to 16. One two-register permutation
// looks up a coefficient. The code is a third shorter than the quotient above and needs no division.
struct TanhPieces {
  static constexpr std::size_t degree = 5;
  // clang-format off
  alignas(64) static constexpr float centre[32] = {
      2.25f, 2.75f, 3.25f, 3.75f, 4.5f, 5.5f, 6.5f, 7.5f,
      9.0f, 10.0f, 12.0f, 14.0f, 0.0f, 0.0859375f, 0.1015625f, 0.1171875f,
      0.140625f, 0.171875f, 0.203125f, 0.234375f, 0.28125f, 0.34375f, 0.40625f, 0.46875f,
      0.5625f, 0.6875f, 0.8125f, 0.9375f, 1.125f, 1.375f, 1.625f, 1.875f};
  alignas(64) static constexpr float p[degree + 1][32] = {
     {0.9780261093f, 0.9918597204f, 0.9969976336f, 0.998894442f, 0.9997531999f, 0.9999665957f, 0.9999954791f, 0.9999993882f,
      0.9999999694f, 1.0f, 1.0f, 1.0f, 0.0f, 0.08572656635f, 0.1012147311f, 0.1166539887f,
      0.1397053028f, 0.1702023084f, 0.2003767185f, 0.230175711f, 0.274061589f, 0.3308211175f, 0.3852839663f, 0.4371887851f,
      0.5098299737f, 0.5963735555f, 0.6709670742f, 0.7340715196f, 0.8093010724f, 0.879826701f, 0.9253462258f, 0.9540452603f},
     {0.04346491521f, 0.01621429194f, 0.005995717744f, 0.002209893504f, 0.0004935360296f, 6.680712744e-5f, 9.041623276e-6f, 1.223655441e-6f,
      6.10835886e-8f, 0.0f, 0.0f, 0.0f, 0.9999999996f, 0.9926509558f, 0.9897555782f, 0.9863918469f,
      0.9804824284f, 0.9710311742f, 0.9598491707f, 0.9470191421f, 0.9248902455f, 0.8905573882f, 0.8515562654f, 0.8088659662f,
      0.7400733987f, 0.6443385827f, 0.5498031855f, 0.4611390041f, 0.3450317712f, 0.2259049735f, 0.1437343608f, 0.08979764064f},
     {-0.04250824024f, -0.01608109964f, -0.005977179228f, -0.002207239391f, -0.0004926095856f, -6.669517009e-5f, -9.026717423e-6f, -1.221642658e-6f,
      -5.922030663e-8f, 0.0f, 0.0f, 0.0f, 0.0f, -0.08509655796f, -0.1001778446f, -0.1150665432f,
      -0.136978593f, -0.1652717455f, -0.192331425f, -0.2179808021f, -0.2534768518f, -0.2946151519f, -0.3280909399f, -0.3536270989f,
      -0.3773112817f, -0.3842663921f, -0.3688998967f, -0.3385091553f, -0.2792371278f, -0.1987587381f, -0.1330046149f, -0.08567110257f},
     {0.02708782949f, 0.01054611059f, 0.003960902252f, 0.001468255475f, 0.0003282978647f, 4.446739228e-5f, 6.018687035e-6f, 8.145531681e-7f,
      3.959088001e-8f, 0.0f, 0.0f, 0.0f, -0.3333322071f, -0.3235886168f, -0.3197790531f, -0.3153743117f,
      -0.3076908499f, -0.2955474348f, -0.2814109927f, -0.2654991698f, -0.2388286056f, -0.1993876594f, -0.1574440043f, -0.1150202657f,
      -0.05432744415f, 0.01438624808f, 0.06425167602f, 0.09477680839f, 0.1109762142f, 0.09957207259f, 0.07516428344f, 0.05180183202f},
     {-0.01239031205f, -0.005151129219f, -0.00197949963f, -0.0007398732634f, -0.0001725510905f, -2.339849443e-5f, -3.167489513e-6f, -4.286886171e-7f,
      -2.472106762e-8f, 0.0f, 0.0f, 0.0f, 0.0f, 0.05610279387f, 0.06575562587f, 0.07514139581f,
      0.08862791851f, 0.1053728667f, 0.1204757407f, 0.1337469907f, 0.1498409158f, 0.1640615126f, 0.1699272906f, 0.1680786679f,
      0.1532495396f, 0.1194410953f, 0.07989820192f, 0.0433629781f, 0.003700623488f, -0.02109515555f, -0.02512123697f, -0.02084892977f},
     {0.003976153656f, 0.00191674538f, 0.0007715137801f, 0.0002930653541f, 6.870454703e-5f, 9.334604992e-6f, 1.263969864e-6f, 1.710719645e-7f,
      9.799539831e-9f, 0.0f, 0.0f, 0.0f, 0.1328407122f, 0.1251172322f, 0.1219370879f, 0.118283969f,
      0.1119899687f, 0.1021791285f, 0.09101251254f, 0.07877848964f, 0.05917244995f, 0.03205072542f, 0.006004411245f, -0.01710130257f,
      -0.04334128977f, -0.06151807828f, -0.06266437647f, -0.05307444589f, -0.03211054323f, -0.009554774718f, 0.001378581849f, 0.004595872255f}};
  // clang-format on

  FNN_INLINE static Vector<float> entry(const float *table, Bits<float> piece) {
    // the instruction uses the five lowest bits of `piece`
    return (Vector<float>)_mm512_permutex2var_ps((__m512)load(table), (__m512i)piece, (__m512)load(table + 16));
  }
};

FNN_INLINE Vector<float> tanh_by_pieces(Vector<float> x) {
  using Table = TanhPieces;
  constexpr std::int32_t sixteenth = 123 << 23;
  const Vector<float> size = at_most(magnitude<float>(x), 9.5f);
  const Bits<float> word = bits<float>(size);
  const Bits<float> piece = (word > sixteenth ? word : sixteenth + Bits<float>{}) >> 21;
  const Vector<float> t = size - Table::entry(Table::centre, piece);
  Vector<float> c[Table::degree + 1];
  for (std::size_t i = 0; i <= Table::degree; ++i)
    c[i] = Table::entry(Table::p[i], piece);
  const Vector<float> t2 = t * t;
  return with_sign<float>((c[0] + c[1] * t) + t2 * ((c[2] + c[3] * t) + t2 * (c[4] + c[5] * t)), x);
}

FNN_INLINE Vector<float> tanh(Vector<float> x) {
  return tanh_by_pieces(x);
}
FNN_INLINE Vector<double> tanh(Vector<double> x) {
  return tanh_by_expm1<double>(x);
}
#else
FNN_INLINE Vector<float> tanh(Vector<float> x) {
  return tanh_by_expm1<float>(x);
}
FNN_INLINE Vector<double> tanh(Vector<double> x) {
  return tanh_by_expm1<double>(x);
}
#endif

// 1 / (1 + exp(-x)), computed from exp(-|x|), which cannot overflow
template <class Real> FNN_INLINE Vector<Real> sigmoid(Vector<Real> x) {
  const Vector<Real> e = exp<Real>(-magnitude<Real>(x));
  return (x < 0 ? e : 1 + Vector<Real>{}) / (1 + e);
}

// log(1 + exp(-|x|)) = 2 atanh(e / (2 + e)), e = exp(-|x|)
template <class Real> FNN_INLINE Vector<Real> log1p_exp(Vector<Real> x) {
  const Vector<Real> e = exp<Real>(-magnitude<Real>(x));
  const Vector<Real> s = e / (2 + e), s2 = s * s;
  return 2 * s + s * s2 * polynomial(Constants<Real>::atanh, s2);
}

// log(1 + exp(x))
template <class Real> FNN_INLINE Vector<Real> softplus(Vector<Real> x) {
  return (x < 0 ? Vector<Real>{} : x) + log1p_exp<Real>(x);
}

} // namespace fnn::tuned
