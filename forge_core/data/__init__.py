"""Data: sources, download, archives, the `Example` schema, preprocessing, the sandbox and the benchmark."""
