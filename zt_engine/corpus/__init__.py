"""The request-integrity corpus: what is sent to get past a reverse proxy, and a runner that proves it does not."""
