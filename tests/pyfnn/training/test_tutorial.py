"""The claim that the code of docs/training.md runs as it stands, and prints what the page shows."""

import os
import re
from pathlib import Path

import pytest
from support.requirements import require

import pyfnn

PAGE = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_tutorials_code_runs_and_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = os.environ.get("PYFNN_DATA_DIR", "")
    wine = bool(folder) and (Path(folder) / "winequality-red.csv").exists()
    require("wine data", wine, "set PYFNN_DATA_DIR to a folder with winequality-red.csv")
    try:
        pyfnn.load_backend("cpp-tuned")
    except pyfnn.BackendUnavailable as error:
        require("cpp-tuned", False, str(error))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    exec("\n".join(blocks), {})
    printed = capsys.readouterr().out
    shown = re.search(r"^```\n(patience: .*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert shown is not None
    words = [re.sub(r"[\d.]+", "N", text) for text in (printed[: len(shown[1]) + 20], shown[1])]
    assert words[0].startswith(words[1])
    assert printed.count("validation error") == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.npz", "wine.checkpoint"]
