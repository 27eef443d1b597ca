"""`python -m fuzz --seconds 60`: search for bytes that raise what they must not.

The rule is one for the whole package: what reads the network's bytes is a function whose name ends
in ``_untrusted``, and it can raise only RemoteError. So the targets need no list: they are every
such function of dht/ that takes nothing but bytes. Coverage guides the search; what it finds is
printed by the fuzzer, and belongs in a test before it is mended.
"""

import argparse
import contextlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable

import atheris

# Longer inputs find nothing more: no datagram is larger.
INPUT_BYTES_MAX = 1500

Target = Callable[..., object]


def targets() -> list[Target]:
    """Import the package, watched by the fuzzer, and collect its readers in order of name."""
    with atheris.instrument_imports(include=["dht"]):
        package = importlib.import_module("dht")
        for module in pkgutil.walk_packages(package.__path__, "dht."):
            # The shell opens sockets and the command line needs its extra; neither parses bytes.
            if module.name.split(".")[1] in {"wire", "core", "records", "contacts"}:
                importlib.import_module(module.name)
    found = {
        f"{function.__module__}.{function.__name__}": function
        for name, module_ in sys.modules.items()
        if name.startswith("dht.")
        for function in vars(module_).values()
        if inspect.isfunction(function)
        and function.__name__.endswith("_untrusted")
        and all(
            each.annotation is bytes and each.kind is each.POSITIONAL_OR_KEYWORD
            for each in inspect.signature(function).parameters.values()
        )
    }
    return [found[name] for name in sorted(found)]


def main() -> None:
    """Fuzz all targets at once: the first byte chooses one, the rest is cut into its arguments."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds

    functions = targets()
    remote_error: type[Exception] = importlib.import_module("dht.errors").RemoteError
    if not functions:
        sys.exit("nothing in dht/ ends in _untrusted and takes bytes alone: nothing to fuzz")
    for function in functions:
        print(f"{function.__module__}.{function.__name__}", file=sys.stderr)

    def try_one(data: bytes) -> None:
        if not data:
            return
        function = functions[data[0] % len(functions)]
        count = len(inspect.signature(function).parameters)
        size = -(-(len(data) - 1) // count)
        # The one thing that it may raise; the fuzzer stops at anything else.
        with contextlib.suppress(remote_error):
            function(*(data[1 + at * size : 1 + (at + 1) * size] for at in range(count)))

    limits = [f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
