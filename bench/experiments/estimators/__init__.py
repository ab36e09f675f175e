"""The time to equal validation error of pyfnn's estimators, scikit-learn's and PyTorch."""
