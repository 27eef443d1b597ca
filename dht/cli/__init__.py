"""The ``dht`` command: what a person types. It needs click and rich, the extra ``cli``."""

# lazy imports: click and rich belong to an extra that may be absent
import sys
from collections.abc import Sequence
from typing import NoReturn

_EXTRA = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line (``sys.argv`` unless given) and exits with its status."""
    try:
        from .program import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print("The dht command needs click and rich: pip install 'dht[cli]'", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
