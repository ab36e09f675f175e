"""The conformance kit: checks that an implementation keeps the contract of docs/add-a-language.md, claim by claim.

    python -m bench.check PATH/backend.toml

The kit shows an author what to fix. It does not replace the parity gate, which checks every backend in every run.
"""
