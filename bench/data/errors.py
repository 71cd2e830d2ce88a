"""The one error that leaves the data package."""


class DataError(ValueError):
    """A data set that is missing, damaged or does not fit what is asked; the message says what to do."""
