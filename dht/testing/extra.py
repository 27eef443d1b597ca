"""What to say where the extra ``testing`` is not installed."""

_EXTRA = ("hypothesis", "pytest")


def missing_extra(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error to raise instead: it says what to install. Any other module's stays as it is."""
    if (error.name or "").partition(".")[0] not in _EXTRA:
        return error
    return ModuleNotFoundError(
        f"this part of dht.testing needs {error.name}: pip install 'dht[testing]'", name=error.name
    )
