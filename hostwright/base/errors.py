"""Errors that a person can act on.

A `UserError` is a mistake in the input or the environment. It is shown as one message with a hint, without a
traceback. Any other exception is a defect of Hostwright and keeps its traceback.
"""


class UserError(Exception):
    """What is wrong and where (`message`), and what to do about it (`hint`)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message
