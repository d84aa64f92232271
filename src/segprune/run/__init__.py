"""One run: from its checked configuration to a finished chain."""
