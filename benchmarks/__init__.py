"""Benchmarks: each prints its figure beside a reference from the same run, since only the ratio means anything."""
