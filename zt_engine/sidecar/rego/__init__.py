"""Rego that was written for `opa-envoy-plugin`: its input made of what Envoy asks, its result read, its decision."""
