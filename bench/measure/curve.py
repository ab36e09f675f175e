"""The training curve: loss against training time at epoch ends."""

CURVE_SHARE = 0.05  # of a case's budget
CURVE_EPOCHS = 40
