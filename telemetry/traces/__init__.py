"""Which traces are recorded, how their context travels, and the spans of store calls."""
