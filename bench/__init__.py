"""`make bench`: what the engine can do, beside others on the same receivers (docs/how-to/run-the-benchmarks.md)."""
