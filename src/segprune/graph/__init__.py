"""Channels that must be removed together, and cutting them."""
