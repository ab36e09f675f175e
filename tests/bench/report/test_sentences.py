"""Claims about the sentences of a report: each follows from the data, and says so where the data do not decide."""

from collections.abc import Mapping
from typing import Any

import pytest
from support.reports import ALL_BACKENDS, QUICK, STATUS_OF, edited, only_case
from support.sample_results import sample_results

from bench.report.run_view import run_view
from bench.report.sentences import (
    Sentence,
    case_sentences,
    fastest,
    findings,
    gain,
    in_one,
    lead,
    leading,
    listed,
    others,
    others_in_one,
    rejected,
    runner_up,
    same,
    slowest,
    standing_out,
    time_text,
    times,
    trust,
    undecided,
)
from bench.report.views import CaseView, about_launches, ratios_of
from bench.results.schema import Estimate, Pair, Results, Verdict

PLAIN = ("numpy", "cpp", "c", "octave")


def judged(verdicts: Mapping[tuple[str, str], Verdict], backends: tuple[str, ...] = PLAIN) -> CaseView:
    """Return a case in which some pairs have these verdicts, by (backend, than) in either order."""
    results = sample_results(backends, noise=0.002)
    pairs: list[Pair] = []
    for pair in results.cases[0].pairs or ():
        other_way = verdicts.get((pair.than, pair.backend))
        opposite: dict[Verdict, Verdict] = {"faster": "slower", "slower": "faster"}
        verdict = verdicts.get((pair.backend, pair.than), opposite.get(other_way, other_way) if other_way else None)
        update: dict[str, Any] = {"verdict": verdict, "more_launches": 12 if verdict == "undecided" else None}
        pairs.append(pair.model_copy(update=update) if verdict else pair)
    return only_case(edited(results, {}, pairs=pairs))


def text(sentence: Sentence | None) -> str:
    assert sentence is not None
    return sentence.text


def test_the_only_backend_that_none_beats_is_called_the_fastest_language() -> None:
    view = judged({("cpp", "c"): "faster"})
    best = view.backends[0]
    assert best.name == "cpp"
    assert best.step
    where = "wine-deep (train, batch of 1 row, float32, 1 thread)"
    text = f"cpp (C++) is the fastest language on {where}: a step takes {time_text(best.step)}."
    assert fastest(view) == Sentence(text, "shown")


def test_backends_that_are_all_the_same_are_called_so() -> None:
    sentence = fastest(judged({("cpp", "c"): "same"}))
    assert text(sentence).startswith("cpp (C++) and C are the fastest languages on wine-deep")
    assert text(sentence).endswith("and the same within ±3 %.")


def test_the_fastest_is_called_undecided_where_no_backend_is_shown_to_be() -> None:
    sentence = fastest(judged({("cpp", "c"): "undecided"}))
    assert sentence is not None
    assert sentence.kind == "undecided"
    assert sentence.text.startswith("Undecided which language is the fastest on wine-deep")
    assert "cpp (C++) and C. None of them is shown to be slower than another." in sentence.text


def test_a_set_of_which_one_pair_is_undecided_is_undecided() -> None:
    verdicts: dict[tuple[str, str], Verdict] = {
        ("cpp", "c"): "same", ("cpp", "fortran"): "same", ("c", "fortran"): "undecided"
    }  # fmt: skip
    assert text(fastest(judged(verdicts, ("numpy", "cpp", "c", "fortran")))).startswith("Undecided which")


def test_nothing_is_decided_by_a_single_launch() -> None:
    view = only_case(sample_results(QUICK, launches=1))
    sentence = fastest(view)
    assert sentence is not None
    assert sentence.kind == "undecided"
    assert "without intervals there is no verdict" in sentence.text
    assert gain(view) is slowest(view) is same(view) is undecided(view) is None
    assert not list(others(view))


def test_two_backends_of_one_language_are_not_called_languages() -> None:
    results = edited(sample_results(("numpy", "cpp", "c"), noise=0.001), {"c": {"language": "C++"}})
    assert "is the fastest plain backend on" in text(fastest(only_case(results)))


@pytest.mark.parametrize(
    ("verdict", "words", "kind"),
    [
        ("faster", "cpp (C++) is {ratio} as fast as numpy (Python), the reference.", "shown"),
        ("same", "cpp (C++) is as fast as numpy (Python) within ±3 %, the reference.", "shown"),
        ("undecided", "It is undecided whether cpp (C++) is faster than numpy (Python) ({ratio} as fast)", "undecided"),
    ],
)
def test_the_gain_over_the_reference_has_the_ratio_of_the_results(verdict: Verdict, words: str, kind: str) -> None:
    view = judged({("cpp", "numpy"): verdict, ("c", "numpy"): "faster", ("cpp", "c"): "faster"})
    ratio, _ = ratios_of(view.case)["cpp", "numpy"]
    sentence = gain(view)
    assert sentence is not None
    assert sentence.text.startswith(words.format(ratio=times(ratio)))
    assert sentence.kind == kind


def test_the_slowest_is_named_with_its_factor_where_that_is_shown() -> None:
    view = judged({("cpp", "c"): "faster"})
    ratio, _ = ratios_of(view.case)["cpp", "octave"]
    assert text(slowest(view)) == f"The slowest, Octave, takes {times(ratio)} as long as cpp (C++)."
    assert slowest(judged({("cpp", "octave"): "undecided", ("cpp", "c"): "faster"})) is None
    level = judged({("cpp", "c"): "faster", ("numpy", "octave"): "undecided", ("c", "octave"): "undecided"})
    assert text(slowest(level)).startswith("The one with the longest step time, Octave, takes ")
    several = judged({("cpp", "c"): "faster"}, (*PLAIN, "cpp-tuned"))
    assert text(slowest(several)).startswith("The slowest of plain, Octave, takes ")


def test_only_backends_of_which_every_two_are_the_same_are_grouped() -> None:
    backends = ("numpy", "cpp", "julia", "java", "go")
    speeds = [backend.name for backend in only_case(sample_results(backends, noise=0.001)).backends]
    assert speeds == ["cpp", "julia", "java", "go", "numpy"]
    alike: dict[tuple[str, str], Verdict] = {("julia", "java"): "same", ("java", "go"): "same"}
    assert text(same(judged(alike, backends))) == "The same within ±3 %: Julia and Java."  # julia and go are not
    both: dict[tuple[str, str], Verdict] = {**alike, ("julia", "go"): "same"}
    assert text(same(judged(both, backends))) == "The same within ±3 %: Julia, Java and Go."


def test_another_division_is_compared_with_the_fastest_plain_backend_and_called_apart() -> None:
    view = judged({("cpp", "c"): "faster"}, ("numpy", "cpp", "c", "cpp-tuned", "torch"))
    found = [sentence.text for sentence in others(view)]
    ratio, _ = ratios_of(view.case)["cpp-tuned", "cpp"]
    assert found[0] == f"Tuned, ranked apart: cpp-tuned (C++) is {times(ratio)} as fast as cpp (C++)."
    assert "torch (Python) takes" in found[1]


def test_a_textbook_backend_is_named_beside_the_fastest_plain_one_and_never_leads() -> None:
    results = edited(sample_results(("numpy", "cpp", "c"), noise=0.001), {"c": {"division": "textbook"}})
    view = only_case(results)
    assert [division for division, _ in view.groups] == ["plain", "textbook"]
    assert [backend.name for backend in leading(view)[1]] == ["cpp", "numpy"]
    assert [sentence.text.split(":")[0] for sentence in others(view)] == ["Textbook, ranked apart"]
    alone = edited(results, {name: {"division": "textbook"} for name in ("numpy", "cpp")})
    assert leading(only_case(alone))[0] == "textbook"


def test_undecided_pairs_are_counted_and_the_nearest_is_named_with_its_launches() -> None:
    view = judged({("cpp", "c"): "undecided"})
    assert text(undecided(view)) == (
        "Of the 6 pairs of backends within a division, 1 is undecided. The one that needs the fewest more launches is "
        "C against cpp (C++): about 12 more launches."
    )
    assert undecided(judged({("cpp", "c"): "faster"})) is None


def test_the_answer_has_a_sentence_for_each_workload_like_the_first_case_and_counts_the_others() -> None:
    results = sample_results(QUICK, ["wine-deep", "wine-batch"], dtypes=["float32", "float64"])
    found = lead(run_view(results))
    assert "wine-deep (train, batch of 1 row" in found[0].text
    assert "wine-batch (train, batch of 32 rows" in found[2].text
    for sentence in (found[0], found[2]):
        assert sentence.text.endswith("as fast as numpy (Python), the reference.")
    assert "float64" not in " ".join(one.text for one in found)
    assert found[-1].text == "The table of cases has 2 others."


def test_the_answer_compares_the_other_divisions_in_each_workload() -> None:
    view = run_view(sample_results(QUICK, ["wine-deep", "wine-batch"]))
    found = lead(view)
    assert len(found) == 4
    for case, sentence in zip(view.cases, found[1::2], strict=True):
        ratio, _ = ratios_of(case.case)["cpp-tuned", leading(case)[1][0].name]
        tuned = f"Tuned: cpp-tuned (C++) is {times(ratio)} as fast as "
        assert sentence.text.startswith(f"Other divisions, ranked apart. {tuned}")
        assert " Framework: torch (Python) takes " in sentence.text


def test_an_undecided_division_makes_the_statement_on_all_of_them_undecided() -> None:
    view = judged({("cpp", "c"): "faster", ("torch", "cpp"): "undecided"}, ("cpp", "c", "cpp-tuned", "torch", "numpy"))
    sentence = others_in_one(view)
    assert sentence is not None
    assert sentence.kind == "undecided"
    assert "Framework: it is undecided whether torch (Python) is faster than cpp (C++)" in sentence.text
    assert others_in_one(judged({("cpp", "c"): "faster"})) is None


def test_a_run_without_times_says_so() -> None:
    assert lead(run_view(sample_results(workloads=())))[0].text == "No case was measured."
    nothing = run_view(sample_results(QUICK, failures=dict.fromkeys(QUICK, "crashed")))
    assert lead(nothing) == (Sentence("No backend was timed.", "attention"),)
    assert trust(nothing) == ()


def test_a_backend_whose_results_are_wrong_is_called_rejected_and_others_not_timed() -> None:
    results = sample_results(("numpy", "cpp", "go", "java"), failures={"go": "parity_failed", "java": "crashed"})
    view = run_view(results)
    (rejection,) = rejected(view)
    assert rejection.text.startswith(
        "Rejected in 1 case, because its results are wrong: go (dW_2 of the small variant is off"
    )
    assert findings(view)[-1].text == "Not timed everywhere: java (crashed). Reasons and remedies are below."


def test_what_speaks_for_the_numbers_is_of_the_data() -> None:
    worst = {"trial": "small", "what": "dW_2", "error": 1e-7, "bound": 1e-5, "share": 0.0312}
    proof = {"parity": {"passed": True, "checks": 113, "worst": worst}}
    results = edited(sample_results(("numpy", "cpp")), dict.fromkeys(("numpy", "cpp"), proof))
    found = [one.text for one in trust(run_view(results))]
    assert "113 comparisons with the oracle" in found[0]
    assert "cpp's dW_2" in found[0] or "numpy's dW_2" in found[0]
    blocks = sum(len(b.samples) for b in results.cases[0].backends if b.instance == b.name)
    assert found[1].startswith(f"{blocks} timed blocks, in 5 launches of a fresh process of each backend.")
    assert "of 1 interval without 1." in found[2]
    assert "% of the peak that was probed" in found[3]
    assert found[-1] == "No warning about the machine or the run was given."


def test_without_evidence_of_a_proof_the_reader_is_warned() -> None:
    first = trust(run_view(sample_results()))[0]
    assert first == Sentence("These results hold no proof that any backend computes the right values.", "attention")


@pytest.mark.parametrize("spoilt", [{"checks": 0}, {"failures": ["dW_2: error 1, allowed 0.1"]}, {"passed": False}])
def test_a_timed_backend_without_a_sound_proof_is_named_for_attention(spoilt: dict[str, Any]) -> None:
    worst = {"trial": "small", "what": "dW_2", "error": 1e-7, "bound": 1e-5, "share": 0.0312}
    sound = {"passed": True, "checks": 113, "worst": worst, "failures": []}
    one = {"numpy": {"parity": sound}, "cpp": {"parity": {**sound, **spoilt}}}
    found = trust(run_view(edited(sample_results(("numpy", "cpp")), one)))
    assert found[0].kind == "shown"
    assert "cpp" not in found[0].text
    assert found[1].kind == "attention"
    assert found[1].text.endswith("no comparison was made or one failed: cpp.")
    none = {name: {"parity": {**sound, **spoilt}} for name in ("numpy", "cpp")}
    first = trust(run_view(edited(sample_results(("numpy", "cpp")), none)))[0]
    assert first.kind == "attention"
    assert "Proven" not in first.text


def test_the_next_after_the_only_fastest_is_named_with_its_ratio() -> None:
    view = judged({("cpp", "c"): "faster"})
    ratio, _ = ratios_of(view.case)["cpp", "c"]
    assert text(runner_up(view)) == f"The next, C, takes {times(ratio)} as long."
    assert text(in_one(view)).startswith(text(fastest(view)))
    assert runner_up(judged({("cpp", "c"): "undecided"})) is None
    level: dict[tuple[str, str], Verdict] = {("c", "numpy"): "undecided", ("c", "octave"): "undecided"}
    assert runner_up(judged({("cpp", "c"): "faster", **level})) is None


@pytest.mark.parametrize(("count", "words"), [(1, "about 1 more launch"), (2, "about 2 more launches")])
def test_one_launch_is_singular(count: int, words: str) -> None:
    assert about_launches(count) == words


def test_what_stands_out_in_a_figure_follows_from_verdicts_not_from_the_order_of_times() -> None:
    decided: dict[tuple[str, str], Verdict] = {("cpp", "c"): "faster"}
    assert standing_out(judged(decided)) == {"cpp", "numpy", "octave"}
    assert standing_out(judged({("cpp", "c"): "undecided"})) == {"cpp", "c", "numpy", "octave"}


def test_too_few_launches_and_a_missing_reference_stand_among_the_sentences() -> None:
    few = [one.text for one in case_sentences(only_case(sample_results(QUICK, launches=3)))]
    assert any("With fewer than 5 launches they are wide and provisional." in one for one in few)
    absent = case_sentences(only_case(sample_results(QUICK, failures={"numpy": "unavailable"})))
    assert any(one.text.startswith("The reference numpy has no step time (unavailable).") for one in absent)


@pytest.mark.parametrize("seed", range(3))
def test_every_verdict_word_of_a_full_case_agrees_with_its_pair(seed: int) -> None:
    results: Results = sample_results(ALL_BACKENDS, failures={"sklearn": STATUS_OF["sklearn"]}, noise=0.02, seed=seed)
    view = only_case(results)
    found = fastest(view)
    assert found is not None
    best = [b for b in view.backends if b.division == "plain" and b.result.fastest]
    assert (found.kind == "shown") == (
        len(best) == 1
        or all(ratios_of(view.case)[a.name, b.name][1] == "same" for a in best for b in best if a.name < b.name)
    )
    for backend in best:
        assert backend.name in found.text or backend.result.language in found.text or "more" in found.text


def test_a_long_list_names_the_first_and_counts_the_rest() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([*"abcdef"]) == "a, b, c, d and 2 more"


def test_a_ratio_is_written_with_its_interval() -> None:
    assert times(Estimate(112.0, 108.0, 117.0)) == "112× [108, 117]"
