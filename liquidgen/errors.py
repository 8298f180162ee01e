"""The one exception a user is meant to see."""


class LiquidgenError(Exception):
    """A mistake or fault that a person can mend.

    Args:
        message: what is wrong, naming the file or value and what was expected; one line.
        hint: the remedy, one line.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
