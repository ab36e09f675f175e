"""The backends that Python hosts. Their rows are in backend.toml beside this file."""
