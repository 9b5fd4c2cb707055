"""What the clients that wait by themselves do alike: members of a group take their turns until what is wanted holds."""

import time


def until(what, holds):
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"


def all_seen(members, count):
    def holds():
        for member in members:
            member.turn()
        return set().union(*(member.seen for member in members)) == {f"value {n}" for n in range(count)}

    return holds


def shared(members, shares):
    def holds():
        for member in members:
            member.turn()
        return sorted(member.holds() for member in members) == shares

    return holds
