"""One timing suite on every host of a Dask cluster; the folders of results are compared by host, never across."""
