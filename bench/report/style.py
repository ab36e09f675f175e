"""The look of each backend and the mark of each language: the same in every figure, page and run. Draws nothing.

Colours are those of Okabe and Ito 2008, "Color universal design"; colour and marker together identify a backend. The
shape of a backend of pyfnn follows its division: a triangle on its tip for textbook, round and other triangles for
plain, a square and a plus (without runtime checks) for tuned, diamond and cross (on a GPU) for framework. A language
keeps its colour in another division where it can.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from zlib import crc32

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
ON_DARK = MappingProxyType({BLACK: "#FFFFFF"})  # the other colours have a contrast above 3 on a dark ground too


@dataclass(frozen=True)
class BackendStyle:
    """The look of a backend.

    Attributes
    ----------
    colour : str
        ``#RRGGBB``, for a light ground.
    marker : str
        Marker code of matplotlib; `MARKER_PATHS` has its outline for SVG.
    """

    colour: str
    marker: str

    @property
    def on_dark(self) -> str:
        """Colour for a dark ground."""
        return ON_DARK.get(self.colour, self.colour)

    @property
    def svg_path(self) -> str:
        """Outline of the marker as the data of an SVG path within −1 … 1."""
        return MARKER_PATHS[self.marker]


def _looks(marker: str, **colours: str) -> dict[str, BackendStyle]:
    return {name.replace("_", "-"): BackendStyle(colour, marker) for name, colour in colours.items()}


KNOWN: Mapping[str, BackendStyle] = MappingProxyType(
    {
        **_looks("o", numpy=BLACK, cpp=BLUE, c=SKY, rust=VERMILION, go=GREEN, julia=PURPLE, fortran=ORANGE),
        **_looks("^", java=VERMILION, javascript=ORANGE, octave=PURPLE, lua=BLUE, nim=GREEN, zig=SKY, d=BLACK),
        **_looks(">", csharp=VERMILION, ocaml=ORANGE, r=BLUE, cython=PURPLE),
        **_looks("v", c_textbook=SKY, cpp_textbook=BLUE, numpy_article=BLACK, python=GREEN, pypy=VERMILION),
        **_looks(
            "s",
            cpp_tuned=BLUE,
            cpp_blas=SKY,
            cpp_mkl=VERMILION,
            cpp_xsmm=BLACK,
            c_libmvec=PURPLE,
            cuda=GREEN,
            cuda_blas=ORANGE,
        ),
        **_looks(
            "P",
            nim_danger=GREEN,
            zig_fast=SKY,
            julia_inbounds=VERMILION,
            d_unchecked=BLACK,
            cython_unchecked=PURPLE,
            go_unchecked=ORANGE,
        ),
        **_looks("D", jax=PURPLE, jax_step=SKY, torch=VERMILION, sklearn=ORANGE, numba=GREEN),
        **_looks("X", jax_cuda=PURPLE, torch_cuda=VERMILION, torch_cuda_graph=ORANGE),
    }
)
# No backend of pyfnn has one of these markers, so that another backend is never mistaken for one of pyfnn's.
OTHERS = tuple(BackendStyle(*look) for look in product((BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK), "<ph"))

MARKER_PATHS: Mapping[str, str] = MappingProxyType(
    {
        "o": "M1,0A1,1 0 1 1 -1,0A1,1 0 1 1 1,0Z",
        "^": "M0,-1L1,1L-1,1Z",
        "v": "M0,1L1,-1L-1,-1Z",
        ">": "M1,0L-1,1L-1,-1Z",
        "<": "M-1,0L1,1L1,-1Z",
        "s": "M-1,-1L1,-1L1,1L-1,1Z",
        "D": "M0,-1.414L1.414,0L0,1.414L-1.414,0Z",
        "X": "M-0.5,-1L0,-0.5L0.5,-1L1,-0.5L0.5,0L1,0.5L0.5,1L0,0.5L-0.5,1L-1,0.5L-0.5,0L-1,-0.5Z",
        "P": "M-0.333,-1L0.333,-1L0.333,-0.333L1,-0.333L1,0.333L0.333,0.333L0.333,1L-0.333,1L-0.333,0.333"
        "L-1,0.333L-1,-0.333L-0.333,-0.333Z",
        "p": "M0,-1L0.951,-0.309L0.588,0.809L-0.588,0.809L-0.951,-0.309Z",
        "h": "M0,-1L0.866,-0.5L0.866,0.5L0,1L-0.866,0.5L-0.866,-0.5Z",
    }
)

_LANGUAGE_MARKS = MappingProxyType(
    {
        **{"Python": "Py", "Cython": "Cy", "Fortran": "F", "JavaScript": "JS", "Julia": "Jl", "Octave": "Oct"},
        **{"OCaml": "ML", "Rust": "Rs", "CUDA": "CU"},
    }
)


def backend_style(name: str) -> BackendStyle:
    """Return the look of a backend by its name alone; of one that is not pyfnn's, by a checksum of its name.

    Parameters
    ----------
    name : str
        Name of the backend, or of an instance of it, for example ``numpy`` or ``numpy@2``.
    """
    own = name.removesuffix("@2")
    return KNOWN.get(own) or OTHERS[crc32(own.encode()) % len(OTHERS)]


def language_mark(language: str) -> str:
    """Return the mark of a language, at most four characters: ``Py``, ``C++``, ``JS``; else its first four."""
    return _LANGUAGE_MARKS.get(language, language[:4])
