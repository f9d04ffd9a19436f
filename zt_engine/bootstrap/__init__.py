"""The composition root: settings become wired programs. The only place that knows both ports and adapters."""
