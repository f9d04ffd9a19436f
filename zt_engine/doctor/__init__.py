"""What is unsafe in a proxy's configuration, or in what a running proxy lets through.

Text becomes a tree (`*/syntax`), the tree a small model that answers what a directive means where (`*/model`), and
rules are functions from a model to findings. Nothing here is trusted: files are bounded, and what cannot be read is
said.
"""
