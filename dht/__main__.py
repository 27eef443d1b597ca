"""``python -m dht`` is the ``dht`` command."""

from .cli import main

if __name__ == "__main__":
    main()
