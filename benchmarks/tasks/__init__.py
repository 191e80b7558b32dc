"""The benchmarks: one file each, data only."""
