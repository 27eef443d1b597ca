"""What every test shares: how Hypothesis looks for examples, and a Control-C that arrives."""

import os
import signal

from hypothesis import settings

pytest_plugins = ["dht.testing.plugin"]

# The per-test timeout judges slowness; a deadline for each example only makes a busy machine fail.
settings.register_profile("local", deadline=None)
# The same examples each time, so that a red build is about the change and not about luck; what a
# developer's runs find at random becomes a test of its own (CONTRIBUTING.md). Half as many as
# usual: those who look for new ones are the developers and `make fuzz`.
settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, print_blob=True, max_examples=50
)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# Whoever starts the tests in the background of a script (`make test &`) has them ignore Control-C,
# and the programs that they start; several of them are about what a Control-C does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
