"""What the service costs, measured side by side with what one would write without it: `python -m benchmarks --help`.

A server under test has one core to itself; the load, the store and the OTLP receiver share the others. CPU per
request comes from the operating system's accounting of the server's processes, so that a noisy machine matters less.
Linux only.
"""
