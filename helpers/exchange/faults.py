"""Faults of a received state: its organization, the tensor, and the reason for refusing it."""

import dataclasses


def escape(text: str) -> str:
    r"""Escape characters that do not print: line breaks, and codes that a terminal would obey.

    Parameters
    ----------
    text : str
        Untrusted text.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> print(escape("dense\nkernel \x1b[31m"))
    dense\nkernel \x1b[31m
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclasses.dataclass(frozen=True)
class Fault:
    """One reason to refuse a shared state.

    Its parts are as they were received; as text it is one line of printable characters.

    Parameters
    ----------
    organization : str
        Where the state comes from, as far as the receiver knows.
    tensor : str
        Name of the tensor at fault; empty when it is the state as a whole.
    reason : str
        What was expected and what was received.
    """

    organization: str
    tensor: str
    reason: str

    def __str__(self) -> str:
        """Write the fault as one line, for messages and logs."""
        place = f"{self.organization}, {self.tensor}" if self.tensor else self.organization
        return escape(f"{place}: {self.reason}")


class UpdateError(ValueError):
    """A shared state was refused.

    Parameters
    ----------
    *faults : Fault
        At least one.

    Attributes
    ----------
    faults : tuple of Fault
        All of them.
    organization, tensor, reason : str
        Those of the first.
    """

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)  # for pickling
        self.faults = faults
        self.organization, self.tensor, self.reason = dataclasses.astuple(faults[0])

    def __str__(self) -> str:
        """List the faults, one a line."""
        if len(self.faults) == 1:
            return f"Refused an update: {self.faults[0]}"
        lines = "\n  ".join(str(fault) for fault in self.faults)
        return f"Refused {len(self.faults)} updates:\n  {lines}"
