"""Traefik: `forwardAuth` in files of the static and the dynamic configuration, YAML or TOML."""
