"""One command that shows on the first GPU it meets whether what was only read and emulated before is true."""
