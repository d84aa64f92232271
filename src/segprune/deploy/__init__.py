"""Networks as files that other runtimes read: written, opened and compared."""
