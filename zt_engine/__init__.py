"""Zero-trust access policy engine: an authorization sidecar for reverse proxies."""

__version__ = "0.1.0"
