"""Pages as people meet them: a real Chromium, driven by tests."""
