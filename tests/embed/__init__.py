"""Decisions inside a Python application."""
