"""Driver side of the worker protocol: the protocol, the launcher, worker processes, and their models and ensembles.

The Python child that answers the protocol is `pyfnn.worker`; it imports `protocol` alone.
"""
