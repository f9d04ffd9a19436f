"""A running proxy, asked from outside: a set of harmless requests, and what it lets through."""
