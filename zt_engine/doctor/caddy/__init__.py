"""Caddy: `forward_auth` in a Caddyfile, or what it becomes in JSON."""
