"""Log lines: JSON on stdout with the trace they belong to, and the same lines by OTLP."""
