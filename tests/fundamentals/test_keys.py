"""Key names: in the shard's slot, free of user input, and the same for ever."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store import keys

NAMES = st.text(st.characters(codec="utf-8"))


@given(NAMES)
def test_an_escaped_name_comes_back(name: str) -> None:
    """Whatever the id, and only with characters that mean nothing in a key, a pattern or a hash tag."""
    escaped = keys.escape(name)
    assert keys.unescape(escaped) == name
    assert re.fullmatch(r"[A-Za-z0-9._~@:+=%-]*", escaped)


@given(NAMES, NAMES)
def test_two_names_are_two_keys(one: str, other: str) -> None:
    """Escaping joins no two names; an escaped name escaped again is another name."""
    assert (keys.escape(one) == keys.escape(other)) == (one == other)
    assert (keys.escape(keys.escape(one)) == keys.escape(one)) == ("%" not in keys.escape(one))


@given(NAMES, st.integers(1, keys.MAX_SHARDS))
def test_every_name_has_a_shard(name: str, shards: int) -> None:
    """One of those that there are."""
    assert 0 <= keys.shard_of(name, shards) < shards


@pytest.mark.parametrize(
    ("name", "shards", "shard"), [("iphone-15-pro", 4, 1), ("macbook-air-m3", 4, 1), ("phone", 16, 13), ("é", 100, 26)]
)
def test_a_names_shard_never_changes(name: str, shards: int, shard: int) -> None:
    """A version that computed another one would not find what the last one wrote."""
    assert keys.shard_of(name, shards) == shard


def test_every_key_of_a_shard_has_its_hash_tag() -> None:
    """The part in braces is all that a cluster hashes."""
    assert (keys.prefix(0), keys.prefix(99)) == ("{fs:00}:", "{fs:99}:")
    assert (keys.queue(7), keys.settings()) == ("{fs:07}:queue", "{fs:00}:settings")
    assert len({keys.prefix(shard) for shard in range(keys.MAX_SHARDS)}) == keys.MAX_SHARDS


@given(st.lists(NAMES), st.lists(NAMES))
def test_a_digest_stands_for_its_parts(one: list[str], other: list[str]) -> None:
    """32 hexadecimal digits; where a part ends makes a difference."""
    assert re.fullmatch(r"[0-9a-f]{32}", keys.digest(*one))
    assert (keys.digest(*one) == keys.digest(*other)) == (one == other)
    assert keys.digest("ab", "c") != keys.digest("a", "bc") != keys.digest("abc")


def test_a_digest_never_changes() -> None:
    """Idempotency keys outlive a version."""
    assert keys.digest("scope", "key") == "dc6cbdd3464b15d038742856fd64680f"


@pytest.mark.parametrize("nodes", [3, 5])
@pytest.mark.parametrize("shards", [3, 6, 9, 12, 16, 32, 48])
def test_shards_are_spread_over_the_nodes_of_a_cluster(shards: int, nodes: int) -> None:
    """No node with an equal share of the slots has two shards more than another; 0 is there, and none twice."""
    numbers = keys.spread(shards)
    homes = Counter(keys.slot(number) * nodes // keys.SLOTS for number in numbers)
    found = [homes[node] for node in range(nodes)]
    assert max(found) - min(found) <= 1
    assert 0 in numbers
    assert len(set(numbers)) == shards
