"""Envoy: `ext_authz` over HTTP and gRPC, in a bootstrap or in files of resources."""
