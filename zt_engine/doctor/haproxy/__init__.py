"""HAProxy: an action in Lua that asks, and the rules around it that make its answer count."""
