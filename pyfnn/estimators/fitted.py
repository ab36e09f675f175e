"""The attributes of a fitted estimator, by scikit-learn's names: views of θ, and the course of the training."""

from pyfnn.estimators.plan import Course
from pyfnn.network import Network
from pyfnn.validation import Array

ALIASES = {"logistic": "sigmoid"}  # scikit-learn's names of activations that have another name here


class Fitted:
    """Attributes that show the network and the training; `NetworkEstimator` documents each."""

    network_: Network
    theta_: Array
    _course: Course

    def __sklearn_is_fitted__(self) -> bool:
        return "theta_" in vars(self)

    @property
    def coefs_(self) -> list[Array]:
        """Views of each layer's weights, (m_{l-1}, m_l)."""
        return [layer.W for layer in self.network_.layers(self.theta_)]

    @property
    def intercepts_(self) -> list[Array]:
        """Views of each layer's biases, (m_l,)."""
        return [layer.b for layer in self.network_.layers(self.theta_)]

    @property
    def n_layers_(self) -> int:
        """Number of layers, inputs included."""
        return len(self.network_.sizes)

    @property
    def n_outputs_(self) -> int:
        """Number of outputs of the network."""
        return self.network_.sizes[-1]

    @property
    def out_activation_(self) -> str:
        """Activation of the last layer, by scikit-learn's name."""
        name = str(self.network_.output_activation)
        return next((alias for alias, ours in ALIASES.items() if ours == name), name)

    @property
    def loss_curve_(self) -> list[float]:
        """Losses of the training rows in each epoch: the running loss, or that at its end where there is none."""
        return self._course.losses

    @property
    def loss_(self) -> float:
        """Last entry of `loss_curve_`."""
        return self._course.losses[-1]

    @property
    def best_loss_(self) -> float | None:
        """Lowest entry of `loss_curve_`; None with early stopping."""
        return None if self._course.scores else self._course.best_loss

    @property
    def validation_scores_(self) -> list[float] | None:
        """Scores of the validation rows after each epoch; None without early stopping."""
        return self._course.scores or None

    @property
    def best_validation_score_(self) -> float | None:
        """Highest of these; None without early stopping."""
        return self._course.best_score if self._course.scores else None

    @property
    def t_(self) -> int:
        """Rows in all training steps."""
        return self._course.rows
