"""Fits of the polynomials in native/cpp/tuned/vector_math.hpp: python -m bench.experiments.vector_math prints them.

Each polynomial minimises the relative error on its interval, by Remez's exchange algorithm (Muller, Elementary
Functions, 3rd ed., ch. 3) in 60 digits. Needs mpmath, which is no dependency of pyfnn: pip install mpmath
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mpmath as mp

mp.mp.dps = 60

Real = Any  # mpmath's numbers have no types
Function = Callable[[Real], Real]

ROUNDS = 12  # of the exchange; it converges in three or four
GRID = 400  # points at which the error is evaluated between exchanges


def fit(f: Function, weight: Function, low: Real, high: Real, degree: int) -> list[Real]:
    """Return the coefficients, constant first, of the polynomial p that minimises max |p - f| weight on [low, high]."""
    n = degree + 2
    middle, half = (low + high) / 2, (high - low) / 2
    points = [middle - half * mp.cos(mp.pi * (k + mp.mpf(1) / 2) / n) for k in range(n)]
    grid = [middle - half * mp.cos(mp.pi * k / GRID) for k in range(GRID + 1)]
    for _ in range(ROUNDS):
        rows = [[x**i for i in range(degree + 1)] + [(-1) ** k / weight(x)] for k, x in enumerate(points)]
        *p, _ = mp.lu_solve(mp.matrix(rows), mp.matrix([f(x) for x in points]))
        points = _extrema([(mp.polyval(p[::-1], x) - f(x)) * weight(x) for x in grid], grid, n)
    return list(p)


def _extrema(errors: Sequence[Real], grid: Sequence[Real], n: int) -> list[Real]:
    """Return n grid points of alternating error sign, each the largest error between two sign changes."""
    stretches: list[list[int]] = [[0]]
    for k in range(1, len(grid)):
        if errors[k] * errors[stretches[-1][-1]] < 0:
            stretches.append([])
        stretches[-1].append(k)
    worst = [max(stretch, key=lambda k: abs(errors[k])) for stretch in stretches]
    while len(worst) > n:
        worst.pop(0 if abs(errors[worst[0]]) < abs(errors[worst[-1]]) else -1)
    if len(worst) < n:
        raise ArithmeticError("the error has too few sign changes: the degree is too high for the precision")
    return [grid[k] for k in worst]


def expm1_polynomial(degree: int) -> list[Real]:
    """Return the coefficients of p in exp(r) - 1 = r + r^2 p(r), |r| <= log(2) / 2."""

    def f(r: Real) -> Real:
        return (mp.expm1(r) - r) / r**2 if r else mp.mpf(1) / 2

    bound = mp.log(2) / 2
    return fit(f, lambda r: r**2 / mp.expm1(r) if r else mp.mpf(0) + mp.mpf(10) ** -50, -bound, bound, degree)


def atanh_polynomial(degree: int) -> list[Real]:
    """Return the coefficients of p in 2 atanh(s) = 2 s + s^3 p(s^2), 0 <= s <= 1/3.

    log1p(e) = 2 atanh(e / (2 + e)).
    """

    def f(u: Real) -> Real:
        s = mp.sqrt(u)
        return (2 * mp.atanh(s) - 2 * s) / s**3 if u else mp.mpf(2) / 3

    return fit(f, lambda u: u if u else mp.mpf(10) ** -50, mp.mpf(0), mp.mpf(1) / 9, degree)


def _tanh_over_root(u: Real) -> Real:
    return mp.tanh(mp.sqrt(u)) / mp.sqrt(u) if u else mp.mpf(1)


def _tanh_from(centre: Real, t: Real) -> Real:
    return mp.tanh(centre + t)


def _coth_from(centre: Real, t: Real) -> Real:
    return 1 / mp.tanh(centre + t)


def tanh_pieces() -> list[tuple[Real, list[Real]]]:
    """Return (centre, coefficients) of tanh on each of 32 pieces: quarters of the octaves from 1/16 to 16.

    The first piece starts at 0 and is odd. Those above 9.02, where tanh rounds to 1 in single precision, are 1.
    """
    pieces: list[tuple[Real, list[Real]]] = []
    for k in range(32):
        octave, quarter = divmod(k, 4)
        low = mp.mpf(2) ** (octave - 4) * (1 + mp.mpf(quarter) / 4)
        high = low + mp.mpf(2) ** (octave - 4) / 4
        if k == 0:
            odd = fit(_tanh_over_root, lambda _: mp.mpf(1), mp.mpf(0), high**2, 2)
            pieces.append((mp.mpf(0), [mp.mpf(0), odd[0], mp.mpf(0), odd[1], mp.mpf(0), odd[2]]))
        elif low > mp.mpf("9.02"):
            pieces.append((low, [mp.mpf(1)] + [mp.mpf(0)] * 5))
        else:
            centre = (low + high) / 2
            f, weight = partial(_tanh_from, centre), partial(_coth_from, centre)
            pieces.append((centre, fit(f, weight, low - centre, high - centre, 5)))
    return pieces


def _cpp(values: Sequence[Real], digits: int) -> str:
    return ", ".join(mp.nstr(value, digits) for value in values)


def main() -> None:
    """Print every table."""
    for name, degrees in (("expm1", (4, 10)), ("atanh", (5, 12))):
        for dtype, degree, digits in (("float", degrees[0], 10), ("double", degrees[1], 19)):
            polynomial = expm1_polynomial(degree) if name == "expm1" else atanh_polynomial(degree)
            print(f"{name}, {dtype}: {_cpp(polynomial, digits)}")
    pieces = tanh_pieces()
    first = (123 * 4) % 32  # index of the piece that starts at 1/16: bits 21 to 25 of its floating-point word
    turned = pieces[32 - first :] + pieces[: 32 - first]
    print("tanh, centres:", _cpp([centre for centre, _ in turned], 10))
    for i in range(6):
        print(f"tanh, coefficients of t^{i}:", _cpp([p[i] for _, p in turned], 10))


if __name__ == "__main__":
    main()
