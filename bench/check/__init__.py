"""The conformance kit: whether an implementation keeps the contract of docs/add-a-language.md, claim by claim.

    python -m bench.check PATH/backend.toml

It proves nothing that is then timed: that is the gate's business, in every run. It tells an author what to mend.
"""
