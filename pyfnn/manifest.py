"""Manifests: reads and checks the rows of a backend.toml. Loads no backend.

docs/add-a-language.md explains each key.
"""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pyfnn.errors import InvalidInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Division = Literal["plain", "tuned", "framework"]
Device = Literal["cpu", "cuda"]
PACKAGE = Path(__file__).parent


class Row(BaseModel):
    """One `[[backend]]` table of a backend.toml.

    A row has either `host`, for a backend hosted by a Python process, or `run`, for a program that speaks the protocol.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.+-]*$")]
    language: str
    division: Division
    device: Device = "cpu"  # its ceilings are the ones to compare the backend with
    host: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    library: str | None = None
    build: str | None = None
    run: str | None = None
    probe: str | None = None
    remedy: str = ""
    sources: tuple[str, ...] = ()
    manifest: Path = Path()  # the file this row was read from

    @property
    def folder(self) -> Path:
        """Folder of the manifest, the base of the row's relative paths."""
        return self.manifest.parent

    @model_validator(mode="after")
    def _either_hosted_or_run(self) -> "Row":
        if (self.host is None) == (self.run is None):
            raise ValueError("a backend has either host (Python hosts it) or run (it is a program)")
        return self

    @field_validator("run", "probe", "build")
    @classmethod
    def _a_command(cls, line: str | None) -> str | None:
        if line is not None and not shlex.split(line):  # raises ValueError for an open quote
            raise ValueError("must be a command, not nothing")
        return line

    @field_validator("sources")
    @classmethod
    def _relative(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not pattern or Path(pattern).is_absolute():
                raise ValueError(f"{pattern!r} must be a path or a pattern relative to the manifest's folder")
        return patterns

    def source_files(self) -> list[Path]:
        """Return the existing files that match `sources`."""
        return [path for pattern in self.sources for path in self._matches(pattern) if path.is_file()]

    def _matches(self, pattern: str) -> list[Path]:
        if pattern.startswith("native/"):
            return sorted(native_folder().glob(pattern.removeprefix("native/")))
        return sorted(self.folder.glob(pattern))


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    backend: list[Row]


def native_folder() -> Path:
    """Return the folder of the native sources: in the checkout if there is one, else in the installed package."""
    checkout = PACKAGE.parent / "native"
    return checkout if (PACKAGE.parent / "pyproject.toml").exists() and checkout.exists() else PACKAGE / "native"


def read_manifest(path: Path) -> list[Row]:
    """Read the rows of one backend.toml.

    Raises
    ------
    InvalidInput
        The file cannot be read or breaks a rule; the message names the file, the place in it and the rule.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        tables["backend"] = [{**table, "manifest": path.resolve()} for table in tables.get("backend", [])]
        return _Manifest.model_validate(tables).backend
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise InvalidInput(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{path}: {place}: {first['msg']}") from None
