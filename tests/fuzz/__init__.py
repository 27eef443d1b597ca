"""Bytes that nobody meant to send, into every function that reads bytes: `make fuzz`."""
