"""Two interleaving half circles, from scikit-learn's generator: 400 rows, 2 features, 2 classes."""

from pyfnn.datasets.dataset import Table, one_hot

CITATION = "F. Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2825-2830, 2011: make_moons."


def load(seed: int = 0) -> Table:
    """Generate the moons of a seed, with noise of standard deviation 0.1."""
    from sklearn.datasets import make_moons

    x, labels = make_moons(n_samples=400, noise=0.1, random_state=seed)
    return Table(x, one_hot(labels, 2), "classification", ("x", "y"), ("upper", "lower"), CITATION)
