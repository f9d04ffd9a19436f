"""The agent on a person's machine: its key, its enrollment, its reports. It knows the device domain, not the engine."""
