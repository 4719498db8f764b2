"""The report of a reading: what was repaired, what was noted and what is wrong.

Real collections have many small faults, and a reader that stops at the first one wastes its user's
time. A :class:`Report` collects all of them by kind, with their number, the first names concerned
and what to do.
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
        Facts worth saying, such as files that are not read, counted by kind.
    faults : dict of str to list of str, default={}
        The names concerned by each kind of fault that could not be repaired.
    dropped : int, default=0
        Number of films left out of the table because of a fault.
    """

    repairs: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    dropped: int = 0
    _shown: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False)
    _advice: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def repair(self, kind: str, found: int | Iterable[str] = 1, advice: str = "") -> None:
        """Count more repairs of this kind; none leaves no trace.

        Parameters
        ----------
        kind : str
            What was repaired.
        found : int or iterable of str, default=1
            How many, or the names concerned, of which the first few are shown.
        advice : str, default=""
            What to do, a sentence that ends the line.
        """
        self._count(self.repairs, kind, found, advice)

    def note(self, kind: str, found: int | Iterable[str] = 1, advice: str = "") -> None:
        """Count more facts of this kind, with the arguments of :meth:`repair`."""
        self._count(self.notes, kind, found, advice)

    def fault(self, kind: str, names: Iterable[str], advice: str = "") -> None:
        """Add the names concerned by a fault of this kind; no name leaves no trace."""
        names = [str(name) for name in names]
        if names:
            self.faults.setdefault(kind, []).extend(names)
            self._advice[kind] = advice

    def include(self, other: "Report", prefix: str) -> None:
        """Add all lines of another report, each kind after a prefix such as ``"North: "``."""
        for counts, found in ((self.repairs, other.repairs), (self.notes, other.notes)):
            for kind, count in found.items():
                self._count(counts, prefix + kind, count, other._advice.get(kind, ""))
                self._shown[prefix + kind] = other._shown.get(kind, [])
        for kind, names in other.faults.items():
            self.fault(prefix + kind, names, other._advice.get(kind, ""))

    def _count(self, counts: dict, kind: str, found: int | Iterable[str], advice: str) -> None:
        names = [str(name) for name in found] if isinstance(found, Iterable) else []
        count = len(names) if isinstance(found, Iterable) else int(found)
        if count:
            counts[kind] = counts.get(kind, 0) + count
            shown = dict.fromkeys([*self._shown.get(kind, []), *names])
            self._shown[kind] = list(shown)[: _SHOWN + 1]
            self._advice[kind] = advice

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
        lines = [*self._lines("repaired", self.repairs), *self._lines("noted", self.notes)]
        lines += self.fault_lines()
        if self.dropped:
            lines.append(f"- films left out: {self.dropped:,}")
        return "\n".join(lines) if lines else "Nothing to repair and nothing wrong."

    def named_lines(self) -> list[str]:
        """Return one line for each kind of note that has names, and of fault."""
        named = {kind: count for kind, count in self.notes.items() if self._shown.get(kind)}
        return self._lines("noted", named) + self.fault_lines()

    def fault_lines(self) -> list[str]:
        """Return one line for each kind of fault, with the first few names."""
        lines = []
        for kind, names in self.faults.items():
            shown = ", ".join(names[:_SHOWN])
            more = f", … and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            lines.append(f"- wrong: {kind} ({len(names):,}): {shown}{more}{self._end(kind)}")
        return lines

    def _lines(self, verb: str, counts: dict[str, int]) -> list[str]:
        """Return one line for each kind of repair or note, with the first different names."""
        lines = []
        for kind, count in counts.items():
            names = self._shown.get(kind, [])
            shown = ": " + ", ".join([*names[:_SHOWN], *["…"] * (len(names) > _SHOWN)])
            lines.append(f"- {verb}: {kind} ({count:,}){shown * bool(names)}{self._end(kind)}")
        return lines

    def _end(self, kind: str) -> str:
        advice = self._advice.get(kind)
        return f". {advice}" if advice else ""


def _counts(kinds: dict[str, int]) -> str:
    return ", ".join(f"{kind} ({count:,})" for kind, count in kinds.items())
