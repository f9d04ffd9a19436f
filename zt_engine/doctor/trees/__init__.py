"""YAML, JSON and TOML as one kind of tree whose every node knows its line."""
