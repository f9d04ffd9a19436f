"""Decisions inside a Python application: what it asks with, and middleware for ASGI and WSGI.

`zt_engine.Engine` makes the decisions; everything here only needs something that decides (`Decides`).
"""

from zt_engine.embed.asgi import ZeroTrustASGI
from zt_engine.embed.ruling import Asked, Decides, Ruling
from zt_engine.embed.wsgi import ZeroTrustWSGI

__all__ = ["Asked", "Decides", "Ruling", "ZeroTrustASGI", "ZeroTrustWSGI"]
