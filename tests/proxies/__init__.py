"""Real reverse proxies with the configuration that `zt hook` prints, for tests and benchmarks."""
