"""The content-addressed store of finished results."""
