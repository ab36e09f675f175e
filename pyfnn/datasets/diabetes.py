"""Disease progression after one year, from scikit-learn: 442 rows, 10 features, one target from 25 to 346."""

from pyfnn.datasets.dataset import Table

CITATION = (
    "B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, Least Angle Regression, Annals of Statistics 32, 407-499, 2004."
)


def load(seed: int = 0) -> Table:
    """Load the patients, with features in their own units; the seed is not used."""
    from sklearn.datasets import load_diabetes

    del seed
    bunch = load_diabetes(scaled=False)
    return Table(bunch.data, bunch.target[:, None], "regression", tuple(bunch.feature_names), (), CITATION)
