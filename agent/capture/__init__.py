"""From the kernel's tracepoints to arrays of records: probes, the loader that pins them, the rings they write to."""
