"""The protocol of one node: values in, values out. No socket, clock, entropy or async."""
