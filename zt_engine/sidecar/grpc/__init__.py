"""gRPC, as far as Envoy's external authorization needs it: the wire format, two messages, one connection."""
