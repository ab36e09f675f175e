"""Claims about a library behind fnn.h, which a child process of the kit calls directly, without pyfnn's host."""
