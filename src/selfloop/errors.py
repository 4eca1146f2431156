"""Errors that are meant for the user's eyes."""


class UserError(Exception):
    """A message for the user, shown as it is and without a traceback: what was wrong, what it held, what is allowed."""
