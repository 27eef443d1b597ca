"""The only place with trio, sockets, clocks and entropy. Start reading at ``node``."""
