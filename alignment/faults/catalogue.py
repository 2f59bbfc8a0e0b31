"""All faults, and where each is planted."""
from __future__ import annotations

from alignment.faults import data, layers, training
from alignment.faults.fault import Fault, Place

FAULTS: tuple[Fault, ...] = (*layers.FAULTS, *training.FAULTS, *data.FAULTS)
Planted = dict[tuple[str, str], list[tuple[Fault, Place]]]  # by (system, case)

# What the reduced form runs: few processes, and yet every fault and every system.
REDUCED = (("mvf", "faults_small"), ("mvf", "faults_pooling"), ("actionclip", "faults_small"), ("xclip", "data"),
           ("avs", "faults_small"), ("avs", "log_mel"), ("mivos", "faults_data"), ("dff", "full_zeros_scale"),
           ("dff", "pspnet_v1c"))


def place(fault: str, system: str) -> Place:
    """The place of a fault in a system.

    Raises:
        KeyError: if there is none.
    """
    for entry in FAULTS:
        for found in entry.places:
            if (entry.name, found.system) == (fault, system):
                return found
    raise KeyError(f"no fault {fault!r} in {system}")


def planted(systems: list[str], only: str | None = None, case: str | None = None) -> Planted:
    """Faults by (system, case): what one session plants; ``only`` names a single fault, ``case`` a single case.

    Raises:
        ValueError: if that fault does not exist or occurs in none of the systems, or in no such case.
    """
    found: Planted = {}
    for fault in FAULTS:
        for where in fault.places:
            if where.system in systems and only in (None, fault.name) and case in (None, where.case):
                found.setdefault((where.system, where.case), []).append((fault, where))
    if not found:
        place = f"case {case!r} of {', '.join(systems)}" if case else ", ".join(systems)
        raise ValueError(f"no fault {only or ''!r} in {place}; there are {', '.join(fault.name for fault in FAULTS)}")
    return dict(sorted(found.items(), key=lambda item: (systems.index(item[0][0]), item[0][1])))


def reduced(systems: list[str]) -> Planted:
    """The reduced form: each fault that occurs in the sessions of ``REDUCED``, in one system."""
    found: Planted = {}
    for fault in FAULTS:
        choices = [where for where in fault.places if (where.system, where.case) in REDUCED and where.system in systems]
        if choices:  # the session that has least to do so far
            where = min(choices, key=lambda one: len(found.get((one.system, one.case), [])))
            found.setdefault((where.system, where.case), []).append((fault, where))
    return found
