"""Run a backend on sequences in files, as XFusion's `inference` does, and write what it writes."""
