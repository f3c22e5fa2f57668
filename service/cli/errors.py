"""How a command ends that cannot do what it was asked for."""


class OperatorError(Exception):
    """A plain answer to the operator; the message is one line."""
