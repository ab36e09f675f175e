"""Handwritten digits, 8 by 8 pixels from 0 to 16, from scikit-learn: 1797 rows, 64 features, 10 classes."""

from pyfnn.datasets.dataset import Table, one_hot

CITATION = (
    "E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, "
    "doi 10.24432/C50P49, CC BY 4.0; its test part, as scikit-learn ships it."
)


def load(seed: int = 0) -> Table:
    """Load the digits; the seed is not used."""
    from sklearn.datasets import load_digits

    del seed
    bunch = load_digits()
    names = tuple(str(name) for name in bunch.target_names)
    return Table(bunch.data, one_hot(bunch.target, 10), "classification", tuple(bunch.feature_names), names, CITATION)
