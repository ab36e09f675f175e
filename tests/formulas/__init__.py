"""The checks of the formulas of docs/backpropagation.md. `tests/test_backpropagation.py` runs them.

`ours` has those of the oracle, `others` those of other conventions and of the article.
"""
