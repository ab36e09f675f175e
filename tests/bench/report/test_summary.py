"""Claims about the tables and the summary of a run: complete, equal in both renderings, linked to its figures."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from support.reports import ALL_BACKENDS, QUICK, STATUS_OF, edited, only_case, printed, summary_of
from support.sample_results import FAILURES, sample_results

from bench import report
from bench.format import centre_of, number
from bench.report import bars, render, tables
from bench.report.render import ReportTable
from bench.report.run_view import run_view
from bench.report.tables import processes_table
from bench.report.views import CaseView, case_view
from bench.results.derive import with_statistics
from bench.results.schema import BackendResult, Case, Pool, Results
from bench.terms import WorkloadFacts


def test_the_summary_shows_every_cell_of_a_case_and_the_terminal_every_time() -> None:
    results = sample_results(ALL_BACKENDS, failures=STATUS_OF)
    shown, written = printed(results), summary_of(results)
    case = only_case(results)
    for _, section in tables.case_table(case).sections:
        for cell in (cell for line in section for cell in line):
            assert cell in written
    for backend in case.backends:
        assert backend.label in shown
        if backend.step:
            assert f" {number(centre_of(backend.step) / case.unit.seconds)} " in shown


def test_what_is_more_than_a_screen_of_a_case_is_folded() -> None:
    text = summary_of(sample_results(ALL_BACKENDS, ["wine-deep", "wine-batch"]))
    assert text.count("<details>") == text.count("</details>") == 4  # two cases, how to read, machine
    open_text = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    first, _ = re.split(r"^## wine-", open_text, flags=re.MULTILINE)[1:]
    assert len(first.splitlines()) <= 45
    assert "| verdict |" in first
    assert "GFLOP/s" not in first


def off_cpu(results: Results, share: float) -> Results:
    """Return the results of a case that counts CPU time, in which cpp was off the CPU for a share of its blocks."""
    (case,) = results.cases

    def timed(b: BackendResult) -> BackendResult:
        on_cpu = 1 - (share if b.name == "cpp" else 0.001)
        samples = [s.model_copy(update={"work_cpu_seconds": on_cpu * s.seconds}) for s in b.samples]
        return b.model_copy(update={"samples": samples})

    changed = case.model_copy(update={"clock": "cpu", "backends": [timed(b) for b in case.backends]})
    return results.model_copy(update={"cases": [with_statistics(changed, "numpy")]})


def test_the_summary_has_a_column_of_off_cpu_shares_where_one_is_above_two_percent() -> None:
    results = sample_results(("numpy", "cpp", "jax-scan"), failures={"jax-scan": "crashed"})
    (view,) = run_view(off_cpu(results, 0.37)).cases
    table = tables.rates_table(view)
    at = table.columns.index("off-CPU")
    assert {line[0]: line[at] for _, lines in table.sections for line in lines} == {
        "numpy": "0.10 %",
        "cpp": "37 %",
    }
    assert tables.OFF_CPU in table.notes
    text = summary_of(off_cpu(results, 0.37))
    assert "| off-CPU |" in text
    assert "Off-CPU: the share of a backend's timed blocks" in text
    below = summary_of(off_cpu(results, 0.019))
    assert "off-CPU" not in below
    assert "Off the CPU" not in below
    assert "off-CPU" not in summary_of(results)  # wall time


def test_the_terminal_has_a_note_of_off_cpu_shares_that_fits_a_line_and_no_column() -> None:
    results = off_cpu(sample_results(("numpy", "cpp")), 0.37)
    (line,) = (line for line in printed(results).splitlines() if "Off the CPU" in line)
    assert line.strip() == "Off the CPU while timed: up to 37 % (cpp); not in the step times."
    assert "off-CPU" not in printed(results)


def test_the_table_of_processes_shows_totals_and_rates_over_the_samples() -> None:
    results = sample_results(("numpy", "cpp"), ("wine-deep",), {"cpp": "crashed"})
    (case,) = results.cases
    numpy = case.backends[0]
    pools = [
        Pool(kind="blas", library="openblas 0.3", kernels="SkylakeX", threads=1, file="libopenblas.so"),
        Pool(kind="openmp", library="openmp", threads=2, file="libgomp.so"),
    ]
    samples = [
        s.model_copy(update={"wall_seconds": 0.5, "cpu_seconds": 0.75, "involuntary_switches": 2, "retries": i == 0})
        for i, s in enumerate(numpy.samples)
    ]
    changes = {"cpus": [0, 1, 2, 5], "pools": pools, "samples": samples}
    backends = [numpy.model_copy(update=changes), *case.backends[1:]]
    changed = with_statistics(case.model_copy(update={"backends": backends}), "numpy")
    table = processes_table(case_view(changed, "numpy"))
    assert table is not None
    ((_, (line,)),) = table.sections
    assert line[:4] == ("numpy", "1.5", "4.0", "0-2, 5")
    assert line[5:] == ("1", "openblas 0.3 SkylakeX, 1 thread; openmp, 2 threads")
    assert "Processes while timed" in summary_of(results)


def test_the_views_of_a_run_are_built_once_for_all_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def counted(case: Case, requested: str) -> CaseView:
        built.append(case.title)
        return case_view(case, requested)

    monkeypatch.setattr("bench.report.views.case_view", counted)
    results = sample_results(QUICK, ["wine-deep", "digits"])
    view = report.run_view(results)
    bars.show(view, Console(file=io.StringIO()))
    report.write(view, tmp_path)
    assert built == [case.title for case in results.cases]


def test_reasons_that_look_like_markup_are_shown_literally() -> None:
    reason = "pip install 'jax[cuda]' | grep [red]<b>*x*"
    results = edited(sample_results(), {"cpp": {"status": "unavailable", "reason": reason, "remedy": reason}})
    assert f"  {reason}\n" in printed(results)
    assert reason in printed(ReportTable("", ("reason",), (("", ((reason,),)),)))
    assert render.escape(reason) == r"pip install 'jax[cuda]' \| grep [red]\<b>\*x\*"
    widths = {
        line.replace(r"\|", "").count("|") for line in summary_of(results).splitlines() if line.startswith("| cpp")
    }
    assert widths == {5, 6}  # the case's table and the backends'; no cell was split


def test_the_terminal_shows_failures_and_remedies() -> None:
    text = printed(sample_results(ALL_BACKENDS, failures=STATUS_OF))
    for failure in FAILURES.values():
        assert failure["reason"].splitlines()[0] in text
        assert failure.get("remedy", "") in text


def test_the_share_of_the_peak_is_a_column_only_where_it_is_known() -> None:
    assert "of peak" not in summary_of(
        edited(sample_results(), {name: {"ceiling_share": None} for name in ALL_BACKENDS})
    )
    results = edited(sample_results(), {"cpp": {"ceiling_share": 0.918}})
    assert "of peak" in summary_of(results)
    assert "92 %" in summary_of(results)


def test_the_summary_says_what_was_proven_and_of_which_network() -> None:
    worst = {"trial": "small", "what": "dW_2", "error": 1e-7, "bound": 1e-5, "share": 0.0312}
    results = edited(
        sample_results(),
        {
            "cpp": {"parity": {"passed": True, "checks": 113, "worst": worst}},
            "numpy": {"parity": {"passed": True, "checks": 110, "worst": {**worst, "share": 0.002}}},
        },
    )
    work = WorkloadFacts(
        name="mine", sizes=(64, 32, 10), activation=("relu",), loss="squared_error", rows=9, batch=4, learning_rate=0.1
    )
    cases = [case.model_copy(update={"definition": work, "learning_rate": 0.1}) for case in results.cases]
    text = summary_of(results.model_copy(update={"cases": cases}))
    assert "Network 64-32-10, relu; squared_error, λ = 0; batches of 4 out of 9 rows, rate 0.1." in text
    assert "each process passed 110 to 113 comparisons with the oracle" in text
    assert "the nearest is the error of cpp's dW_2, at 3.1 % of the bound." in text
    assert "Network" not in summary_of(sample_results())  # of files from before


def test_the_summary_holds_every_reason_and_remedy_and_why_each_case_stopped() -> None:
    text = summary_of(sample_results(ALL_BACKENDS, ["wine-deep", "mlp"], STATUS_OF))
    for failure in FAILURES.values():
        assert all(line in text for line in failure["reason"].splitlines())
        assert failure.get("remedy", "") in text
    assert text.count("Stopped: every interval is within 2 %.") == 2


def test_the_summary_links_figures_that_exist(tmp_path: Path) -> None:
    report.write(report.run_view(sample_results(QUICK, ["wine-deep", "digits"])), tmp_path)
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert len(links) == 15  # the page; overview, effort, step time, ratio, share and two curves, each as PNG and SVG
    assert all((tmp_path / link).stat().st_size > 0 for link in links)


def test_the_summary_says_that_a_run_has_no_case(tmp_path: Path) -> None:
    only_file, _ = report.write(report.run_view(sample_results(workloads=())), tmp_path)
    assert "No case was measured." in only_file.read_text(encoding="utf-8")


def test_the_summary_says_that_no_backend_was_timed(tmp_path: Path) -> None:
    written = report.write(report.run_view(sample_results(QUICK, failures=dict.fromkeys(QUICK, "crashed"))), tmp_path)
    assert "**no backend was timed**" in written[0].read_text(encoding="utf-8")
    names = [path.name for path in written[1:]]
    assert names == ["report.html", "step_time_train_float32_1t.png", "step_time_train_float32_1t.svg"]


def test_the_summary_says_that_a_run_did_not_finish() -> None:
    assert "**not finished**" in summary_of(sample_results().model_copy(update={"finished": None}))
