"""The report of a reading: what was repaired, what was noted and what is wrong.

Real collections have many small faults, and a reader that stops at the first one wastes its user's
time. A :class:`Report` collects all of them: repairs and notes are counted by kind, and faults are
listed with the names of the films concerned.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

_SHOWN = 3  # names shown for each kind of fault


@dataclass
class Report:
    """Everything that a reader repaired, noted or refused.

    Parameters
    ----------
    repairs : dict of str to int, default={}
        How many times each kind of repair was made.
    notes : dict of str to int, default={}
        Harmless facts worth saying, such as images that no csv names, counted by kind.
    faults : dict of str to list of str, default={}
        The names concerned by each kind of fault that could not be repaired.
    dropped : int, default=0
        Number of films left out of the table because of a fault.
    """

    repairs: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    dropped: int = 0

    def repair(self, kind: str, count: int = 1) -> None:
        """Count ``count`` more repairs of this kind; zero leaves no trace."""
        if count:
            self.repairs[kind] = self.repairs.get(kind, 0) + int(count)

    def note(self, kind: str, count: int = 1) -> None:
        """Count ``count`` more harmless facts of this kind; zero leaves no trace."""
        if count:
            self.notes[kind] = self.notes.get(kind, 0) + int(count)

    def fault(self, kind: str, names: Iterable[str]) -> None:
        """Add the names concerned by a fault of this kind; no name leaves no trace."""
        names = [str(name) for name in names]
        if names:
            self.faults.setdefault(kind, []).extend(names)

    @property
    def is_faulty(self) -> bool:
        """Whether at least one fault was found."""
        return bool(self.faults)

    def raise_if_faulty(self) -> None:
        """Refuse a faulty collection with everything that is wrong in one message.

        Raises
        ------
        ValueError
            If at least one fault was found.
        """
        if self.is_faulty:
            raise ValueError(
                "Expected radiographs without faults. Received:\n"
                + "\n".join(self.fault_lines())
                + "\nFix the files named above, or read with strict=False to leave these films "
                "out."
            )

    def summary(self) -> str:
        """Return repairs, notes and faults as one line, empty when there is nothing to say."""
        parts = []
        if self.repairs:
            parts.append("repaired: " + _counts(self.repairs))
        if self.notes:
            parts.append("noted: " + _counts(self.notes))
        if self.faults:
            faults = {kind: len(names) for kind, names in self.faults.items()}
            parts.append(f"wrong: {_counts(faults)}; films left out: {self.dropped:,}")
        return "; ".join(parts)

    def __str__(self) -> str:
        """Return the whole report, one kind a line."""
        lines = [f"- repaired: {kind} ({count:,})" for kind, count in self.repairs.items()]
        lines += [f"- noted: {kind} ({count:,})" for kind, count in self.notes.items()]
        lines += self.fault_lines()
        if self.dropped:
            lines.append(f"- films left out: {self.dropped:,}")
        return "\n".join(lines) if lines else "Nothing to repair and nothing wrong."

    def fault_lines(self) -> list[str]:
        """Return one line for each kind of fault, with the first few names."""
        lines = []
        for kind, names in self.faults.items():
            shown = ", ".join(names[:_SHOWN])
            more = f", … and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            lines.append(f"- wrong: {kind} ({len(names):,}): {shown}{more}")
        return lines


def _counts(kinds: dict[str, int]) -> str:
    return ", ".join(f"{kind} ({count:,})" for kind, count in kinds.items())
