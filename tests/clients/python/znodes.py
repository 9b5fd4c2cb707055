"""kazoo against a ZooKeeper server: znodes, watches, transactions, sequence and ephemeral nodes, recipes."""

import sys
import threading

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError, NotEmptyError, NoAuthError
from kazoo.security import make_digest_acl

servers, = sys.argv[1:]


def raises(error, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except error:
        return
    raise AssertionError(f"{call.__name__}{arguments} did not raise {error.__name__}")


one = KazooClient(hosts=servers, timeout=10)
two = KazooClient(hosts=servers, timeout=10)
one.start()
two.start()

# Data, versions, refusals.
assert one.create("/kazoo/deep/a", b"1", makepath=True) == "/kazoo/deep/a"
raises(NodeExistsError, one.create, "/kazoo/deep/a")
raises(NoNodeError, one.get, "/kazoo/none")
raises(NotEmptyError, one.delete, "/kazoo/deep")
assert one.set("/kazoo/deep/a", b"2").version == 1
raises(BadVersionError, one.set, "/kazoo/deep/a", b"3", version=0)
data, stat = two.get("/kazoo/deep/a")
assert (data, stat.version, stat.dataLength) == (b"2", 1, 1), (data, stat)
assert two.exists("/kazoo/none") is None
assert sorted(two.get_children("/kazoo")) == ["deep"]

# One-shot watches and the recipes built on them.
told = []
heard = threading.Event()
two.get("/kazoo/deep/a", watch=lambda event: (told.append((event.type, event.path)), heard.set()))
one.set("/kazoo/deep/a", b"4")
assert heard.wait(30) and told == [("CHANGED", "/kazoo/deep/a")], told
seen, enough = [], threading.Event()


@two.ChildrenWatch("/kazoo/deep")
def children(names):
    seen.append(sorted(names))
    if "c" in names:
        enough.set()


one.create("/kazoo/deep/b")
one.create("/kazoo/deep/c")
assert enough.wait(30) and seen[0] == ["a"] and seen[-1] == ["a", "b", "c"], seen

# All or nothing.
transaction = one.transaction()
transaction.create("/kazoo/t", b"x")
transaction.check("/kazoo/deep/a", version=7)
first, second = transaction.commit()
assert type(second).__name__ == "BadVersionError", (first, second)
assert one.exists("/kazoo/t") is None
transaction = one.transaction()
transaction.create("/kazoo/t", b"x")
transaction.set_data("/kazoo/t", b"y")
transaction.delete("/kazoo/deep/b")
done = transaction.commit()
assert done[0] == "/kazoo/t" and done[1].version == 1 and done[2] is True, done

# Access.
secret = [make_digest_acl("me", "word", all=True)]
one.create("/kazoo/mine", b"secret", acl=secret)
raises(NoAuthError, two.get, "/kazoo/mine")
two.add_auth("digest", "me:word")
assert two.get("/kazoo/mine")[0] == b"secret"

# Locks and elections, from sequential ephemeral znodes.
lock, other = one.Lock("/kazoo/lock", "one"), two.Lock("/kazoo/lock", "two")
assert lock.acquire(timeout=30)
assert not other.acquire(blocking=False)
assert other.contenders() == ["one"], other.contenders()
lock.release()
assert other.acquire(timeout=30)
other.release()
counter = one.Counter("/kazoo/counter")
for _ in range(20):
    counter += 1
assert two.Counter("/kazoo/counter").value == 20

# What is ephemeral goes with its session; a lost connection is not a lost session.
one.create("/kazoo/alive", ephemeral=True)
numbers = [int(one.create("/kazoo/n-", sequence=True)[-10:]) for _ in range(3)]
assert numbers == list(range(numbers[0], numbers[0] + 3)), numbers
gone = threading.Event()
two.exists("/kazoo/alive", watch=lambda event: event.type == "DELETED" and gone.set())
session, states, again = one.client_id, [], threading.Event()
one.add_listener(lambda state: (states.append(state), state == KazooState.CONNECTED and again.set()) and None)
one._connection._socket.shutdown(2)
assert again.wait(30), states
assert one.client_id == session and KazooState.LOST not in states, states
assert one.exists("/kazoo/alive").ephemeralOwner == session[0]
one.stop()
assert gone.wait(30), "the ephemeral znode outlived its session"

two.delete("/kazoo", recursive=True)
two.stop()
one.close()
two.close()
print("ok")
