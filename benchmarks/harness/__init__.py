"""What every benchmark shares: descriptions, worker processes, comparison, statistics, tables."""
