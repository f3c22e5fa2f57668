"""What `REDIS_URL` may say, and how it is refused."""

import pytest

from service.store.address import StoreAddress, Topology, parse_url

WORD, SPECIAL = "pw", "p@ss"

GOOD = {
    "redis://store": StoreAddress(topology=Topology.SINGLE, hosts=(("store", 6379),)),
    "redis://store:6380/3": StoreAddress(topology=Topology.SINGLE, hosts=(("store", 6380),), db=3),
    "redis://store?db=3": StoreAddress(topology=Topology.SINGLE, hosts=(("store", 6379),), db=3),
    "redis://[::1]:6380": StoreAddress(topology=Topology.SINGLE, hosts=(("::1", 6380),)),
    "redis://:p%40ss@store": StoreAddress(topology=Topology.SINGLE, hosts=(("store", 6379),), password=SPECIAL),
    "rediss://me:pw@store?ssl_ca_certs=/ca.pem": StoreAddress(
        topology=Topology.SINGLE,
        hosts=(("store", 6379),),
        tls=True,
        username="me",
        password=WORD,
        tls_options=(("ssl_ca_certs", "/ca.pem"),),
    ),
    "unix:///run/store.sock?db=1": StoreAddress(topology=Topology.UNIX, path="/run/store.sock", db=1),
    "unix://me:pw@/run/store.sock": StoreAddress(
        topology=Topology.UNIX, path="/run/store.sock", username="me", password=WORD
    ),
    "redis+sentinel://a:1,b/mymaster?db=2&sentinel_password=pw": StoreAddress(
        topology=Topology.SENTINEL,
        hosts=(("a", 1), ("b", 26379)),
        service="mymaster",
        db=2,
        sentinel_password=WORD,
    ),
    "rediss+cluster://me:pw@a:1,b:2": StoreAddress(
        topology=Topology.CLUSTER, hosts=(("a", 1), ("b", 2)), tls=True, username="me", password=WORD
    ),
}

BAD = {
    "": "must start with one of redis://",
    "store:6379": "must start with one of redis://",
    "http://store": "must start with one of redis://",
    "redis://": "names no host",
    "redis://:secret@": "names no host",
    "redis://:secret@store:port": "bad port",
    "redis://:secret@store:0": "bad port",
    "redis://:secret@store:99999999999999": "bad port",
    "redis://:secret@store:70000": "bad port",
    "redis://:sec#ret@store": "write %23",
    "redis://:secret@[::1": "is not a URL",
    "redis://:secret@[::1]6379": "",  # newer versions of Python refuse it themselves
    "redis://:secret@store/first": "bad database number",
    "redis://:secret@store/-1": "bad database number",
    "redis://:secret@store?timeout=9": "has an option that it cannot have here; it may have: db",
    "redis://:secret@store?ssl_ca_certs=/ca.pem": "it may have: db",
    "rediss://:secret@store?ssl_cert_reqs=maybe": "bad ssl_cert_reqs",
    "rediss://:secret@store?ssl_check_hostname=no": "bad ssl_check_hostname",
    "redis://:secret@store?ssl_check_hostname=false": "it may have: db",
    "redis://:secret@a,b": "names several hosts",
    "redis+sentinel://:secret@a": "must name the sentinel's service",
    "redis+cluster://:secret@a/2": "other than 0",
    "unix://run/store.sock": "absolute path",
    "unix://": "absolute path",
    "redis://:secret\u2100@store": "is not a URL",
}


@pytest.mark.parametrize("url", GOOD)
def test_every_form_is_understood(url: str) -> None:
    """Hosts, ports, databases, credentials with percent-encoding, options."""
    assert parse_url(url) == GOOD[url]


@pytest.mark.parametrize("url", BAD)
def test_a_bad_url_is_refused_with_one_line_that_tells_no_secret(url: str) -> None:
    """The line names the variable and what is wrong; neither it nor its context has the password."""
    with pytest.raises(ValueError, match="REDIS_URL") as refused:
        parse_url(url)
    line = str(refused.value)
    assert BAD[url] in line
    assert "\n" not in line
    assert "secret" not in line
    assert refused.value.__suppress_context__


def test_neither_the_text_nor_the_repr_of_an_address_tells_a_password() -> None:
    """Both end in logs."""
    address = parse_url("redis+sentinel://me:secret@a,b:2/main?sentinel_password=secret")
    assert str(address) == "sentinel:a:26379,b:2/main"
    assert "secret" not in repr(address)
