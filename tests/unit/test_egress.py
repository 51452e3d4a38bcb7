"""Which links and addresses are allowed: the tables of what people try."""

from __future__ import annotations

import pytest

from receiver import egress
from receiver.errors import Hopeless, Unfinished

BUCKET = "https://videos-example.s3.us-east-1.amazonaws.com"

CLOSED_ADDRESSES = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.0.0.53", "127.1.2.3", "127.255.255.254", "168.63.129.16",
    "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255",
    "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "224.0.0.251",
    "232.1.1.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::2", "::127.0.0.1",
    "::10.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:93.184.216.34", "::ffff:0:127.0.0.1", "64:ff9b::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "100:0:0:1::1", "2001::1", "2001:0:7f00:1::1",
    "2001:2::1", "2001:3::1", "2001:10::1", "2001:20::1", "2001:1ff::1", "2001:db8::1",
    "2001:db8:ffff::1", "2002::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1", "2002:808:808::1", "3fff::1",
    "3fff:fff::1", "4000::1", "5f00::1", "8000::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fdff::1",
    "fe80::1", "fe80::1%eth0", "2606:4700::1%1", "febf::1", "fec0::1", "ff02::1", "ff05::2", "ff0e::1",
    "0.255.255.255", "10.1.2.3", "10.128.0.1", "100.64.0.10", "100.65.1.1", "100.127.0.1", "127.0.0.2",
    "127.0.1.1", "127.127.127.127", "169.254.1.1", "169.254.169.253", "169.254.255.255", "172.17.0.1",
    "172.20.10.1", "172.30.0.1", "192.0.0.170", "192.0.0.171", "192.0.0.255", "192.0.2.255",
    "192.88.99.2", "192.168.1.1", "192.168.100.1", "198.18.255.255", "198.51.100.255", "203.0.113.0",
    "203.0.113.255", "224.0.0.22", "224.0.1.1", "233.252.0.1", "234.1.1.1", "239.0.0.1", "247.0.0.1",
    "254.255.255.255", "255.255.255.254", "0::0", "::3", "::ffff", "::1.2.3.4", "::8.8.8.8",
    "::ffff:0.0.0.0", "::ffff:8.8.8.8", "::ffff:7f00:1", "::ffff:a9fe:a9fe", "::ffff:c0a8:1",
    "::ffff:100.64.0.1", "::ffff:0:8.8.8.8", "64:ff9b::", "64:ff9b::10.0.0.1", "64:ff9b::192.168.0.1",
    "64:ff9b::ffff:ffff", "64:ff9b:1::", "64:ff9b:1:ffff::1", "100::", "100::ffff:ffff", "200::1",
    "400::1", "1000::1", "1fff:ffff::1", "2001:0:4136:e378::1", "2001::ffff", "2001:5::1", "2001:1::1",
    "2001:1::2", "2001:4:112::1", "2001:30::1", "2001:100::1", "2001:db8::", "2001:db8:a9fe:a9fe::1",
    "2002::", "2002:a00:1::1", "2002:c0a8:1::1", "2002:e000:1::1", "2002:ffff:ffff::1", "3fff:0:0:1::1",
    "5fff::1", "6000::1", "a000::1", "c000::1", "e000::1", "f000::1", "f800::1", "fbff::1", "fc01::1",
    "fd12:3456:789a::1", "fdff:ffff::1", "fe00::1", "fe7f::1", "fe80::", "fe80::a9fe:a9fe", "fe80::1%1",
    "fe80::1%lo", "fea0::1", "fec0::ffff", "feff::1", "ff00::1", "ff01::1", "ff02::2", "ff02::fb",
    "ff0e::101", "ff3e::1", "ffff::1", "::1%lo", "2001:4860:4860::8888%eth0",
    "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001",
    "127.0.0.1.", "localhost", "example.com", "1.2.3", "1.2.3.4.5", "256.1.1.1",
    "", " 8.8.8.8", "8.8.8.8 ",
]  # fmt: skip

OPEN_ADDRESSES = [
    "8.8.8.8", "1.1.1.1", "52.216.1.1", "93.184.216.34", "100.63.255.255", "100.128.0.1", "172.15.0.1",
    "172.32.0.1", "192.0.1.1", "198.17.0.1", "198.20.0.1", "223.255.255.254",
    "2001:200::1", "2001:4860:4860::8888", "2600:1f18::1", "2606:4700::6810:1", "2a00:1450::1",
]  # fmt: skip


def test_the_corpus_is_large_and_has_no_address_twice() -> None:
    assert len(set(CLOSED_ADDRESSES)) == len(CLOSED_ADDRESSES) >= 200


@pytest.mark.fault("S1")
@pytest.mark.parametrize("address", CLOSED_ADDRESSES)
def test_an_address_that_is_not_ordinary_public_unicast_is_closed(address: str) -> None:
    assert not egress.is_public(address)


@pytest.mark.parametrize("address", OPEN_ADDRESSES)
def test_an_ordinary_public_address_is_open(address: str) -> None:
    assert egress.is_public(address)


@pytest.mark.fault("S1", "S4")
@pytest.mark.parametrize("address", CLOSED_ADDRESSES[:-3])
def test_one_closed_answer_among_public_ones_spoils_all(address: str) -> None:
    with pytest.raises(Hopeless, match="not a public"):
        egress.permitted("videos.example", ["8.8.8.8", address, "1.1.1.1"])


def test_public_answers_are_returned_in_their_order() -> None:
    assert egress.permitted("videos.example", ["8.8.8.8", "1.1.1.1"]) == ["8.8.8.8", "1.1.1.1"]


@pytest.mark.fault("S1")
def test_a_host_that_names_loopback_has_to_stay_there() -> None:
    assert egress.permitted("localhost", ["::1", "127.0.0.1"]) == ["::1", "127.0.0.1"]
    with pytest.raises(Hopeless):
        egress.permitted("localhost", ["127.0.0.1", "8.8.8.8"])


PRIVATE = ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1", "fd12:3456::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_for_those_who_say_so(address: str) -> None:
    addresses = [address, "8.8.8.8"]

    assert egress.permitted("hooks.example", addresses, allow_private=True) == addresses
    with pytest.raises(Hopeless, match="not a public one"):
        egress.permitted("hooks.example", addresses)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "fd12::1%eth0", "224.0.0.1"),
        *("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
        *("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "255.255.255.255"),
        *("10.1", "", "hooks.example"),
    ],
)
def test_this_machine_and_what_gives_out_a_clouds_keys_stay_closed_to_them_too(address: str) -> None:
    with pytest.raises(Hopeless, match="neither a public nor a private one"):
        egress.permitted("hooks.example", ["10.0.0.1", address], allow_private=True)


def test_a_loopback_host_stays_on_loopback_whoever_asks() -> None:
    assert egress.permitted("localhost", ["127.0.0.1"], allow_private=True) == ["127.0.0.1"]
    with pytest.raises(Hopeless):
        egress.permitted("localhost", ["10.0.0.1"], allow_private=True)


def test_a_host_without_an_address_may_have_one_later() -> None:
    with pytest.raises(Unfinished):
        egress.permitted("videos.example", [])


ODD_LINKS = [
    "http://videos-example.s3.us-east-1.amazonaws.com/a.mp4",
    "ftp://videos-example.s3.us-east-1.amazonaws.com/a.mp4",
    "file:///etc/passwd",
    "//videos-example.s3.us-east-1.amazonaws.com/a.mp4",
    "videos-example.s3.us-east-1.amazonaws.com/a.mp4",
    "https:/videos-example.s3.us-east-1.amazonaws.com/a.mp4",
    "https:///videos-example.s3.us-east-1.amazonaws.com/a.mp4",
    f"{BUCKET}@evil.example/a.mp4",
    f"{BUCKET}:443@evil.example/a.mp4",
    "https://user:pass@videos-example.s3.us-east-1.amazonaws.com/a.mp4",
    "https://@videos-example.s3.us-east-1.amazonaws.com/a.mp4",
    f"{BUCKET}.evil.example/a.mp4",
    f"{BUCKET}evil.example/a.mp4",
    f"{BUCKET}./a.mp4",
    f"{BUCKET}../a.mp4",
    f"{BUCKET}\\a.mp4",
    f"{BUCKET}\\@evil.example/a.mp4",
    "https:\\\\videos-example.s3.us-east-1.amazonaws.com\\a.mp4",
    "https://evil.example#@videos-example.s3.us-east-1.amazonaws.com/a.mp4",
    f"{BUCKET}/a.mp4#part",
    f"{BUCKET}/a.mp4#",
    f"{BUCKET}:444/a.mp4",
    f"{BUCKET}:80/a.mp4",
    f"{BUCKET}:0/a.mp4",
    f"{BUCKET}:99999/a.mp4",
    f"{BUCKET}:-1/a.mp4",
    f"{BUCKET}:４４３/a.mp4",
    "https://videos-example．s3.us-east-1.amazonaws.com/a.mp4",
    "https://videos-example。s3.us-east-1.amazonaws.com/a.mp4",
    "https://videos-exampl\u0435.s3.us-east-1.amazonaws.com/a.mp4",
    "https://videos-example.s3.us-east-1.amazonaws.com\u200b/a.mp4",
    "https://videos-example.s3.us-east-1.amazonaws.com\u202e/a.mp4",
    "https://videos-example%2es3.us-east-1.amazonaws.com/a.mp4",
    "https://videos-example.s3.us-east-1.amazonaws.com%00.evil.example/a.mp4",
    "https://videos-example.s3.us-east-1.amazonaws.com%2f@evil.example/a.mp4",
    f" {BUCKET}/a.mp4",
    f"{BUCKET}/a.mp4 ",
    f"{BUCKET}/a b.mp4",
    f"\t{BUCKET}/a.mp4",
    f"{BUCKET}/a\t.mp4",
    f"{BUCKET}/a\r\nHost: evil.example",
    f"{BUCKET}/a\x00.mp4",
    f"{BUCKET}/a\u00a0.mp4",
    f"{BUCKET}/../a.mp4",
    f"{BUCKET}/x/./a.mp4",
    f"{BUCKET}/x/%2e%2e/a.mp4",
    f"{BUCKET}/x/.%2E/a.mp4",
    f"{BUCKET}/x%2f..%2fa.mp4",
    f"{BUCKET}/x%5c..%5ca.mp4",
    f"{BUCKET}/x%0d%0aHost:%20evil",
    f"{BUCKET}/a.mp4?{'x' * 9000}",
    "https://[::1]/a.mp4",
    "https://[::ffff:127.0.0.1]/a.mp4",
    "https://[fe80::1%25eth0]/a.mp4",
    "https://[/a.mp4",
    "https://127.0.0.1/a.mp4",
    "https://2130706433/a.mp4",
    "",
    "https://",
    "https",
]
LOOK_ALIKES = [
    "https://s3.us-east-1.amazonaws.com/videos-example/a.mp4",
    "https://s3.amazonaws.com/videos-example/a.mp4",
    "https://videos-example.s3.amazonaws.com/a.mp4",
    "https://videos-example.s3.us-west-2.amazonaws.com/a.mp4",
    "https://videos-example.s3-us-east-1.amazonaws.com/a.mp4",
    "https://videos-example.s3-website-us-east-1.amazonaws.com/a.mp4",
    "https://videos-example.s3-accelerate.amazonaws.com/a.mp4",
    "https://videos-example.s3.dualstack.us-east-1.amazonaws.com/a.mp4",
    "https://videos-examp1e.s3.us-east-1.amazonaws.com/a.mp4",
    "https://videos-example2.s3.us-east-1.amazonaws.com/a.mp4",
    "https://x.videos-example.s3.us-east-1.amazonaws.com/a.mp4",
    "https://videos-example-s3.us-east-1.amazonaws.com/a.mp4",
    "https://videos-example.s3.us-east-1.amazonaws.com.cn/a.mp4",
    "https://videos-example.s3.us-east-1.amazonaws.co/a.mp4",
]


@pytest.mark.fault("S2", "S3")
@pytest.mark.parametrize("link", ODD_LINKS + LOOK_ALIKES)
def test_a_link_that_is_not_plainly_in_the_bucket_is_refused(link: str) -> None:
    with pytest.raises(Hopeless):
        egress.under(link, base=BUCKET)


@pytest.mark.fault("S14")
@pytest.mark.parametrize("link", ODD_LINKS + LOOK_ALIKES)
def test_a_refusal_does_not_repeat_the_link(link: str) -> None:
    with pytest.raises(Hopeless) as refused:
        egress.under(f"{link}secret", base=BUCKET)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "link",
    [
        f"{BUCKET}/a.mp4",
        f"{BUCKET}:443/a.mp4",
        f"{BUCKET.upper()}/a.mp4",
        f"{BUCKET}/a/b..c/.hidden/a%20b.mp4?X-Amz-Signature=%2F..%2F&x=/../y",
        f"{BUCKET}/日本.mp4",
        f"{BUCKET}/",
        BUCKET,
    ],
)
def test_a_plain_link_in_the_bucket_is_followed(link: str) -> None:
    assert egress.under(link, base=BUCKET).host == "videos-example.s3.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("path", "is_under"),
    [
        ("/v1", True),
        ("/v1/", True),
        ("/v1/x", True),
        ("/v1?x", True),
        ("/v1x", False),
        ("/v", False),
        ("/", False),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_path_continues_its_base_at_a_slash_only(path: str, is_under: bool, slash: str) -> None:
    base = f"https://api.example/v1{slash}"
    if is_under:
        egress.under(f"https://api.example{path}", base=base)
        return
    with pytest.raises(Hopeless, match="base URL"):
        egress.under(f"https://api.example{path}", base=base)


@pytest.mark.parametrize("host", ["127.0.0.1:8100", "localhost:8100", "[::1]:8100", "127.0.0.2"])
def test_plain_http_is_for_loopback_hosts(host: str) -> None:
    egress.under(f"http://{host}/a.mp4", base=f"http://{host}")


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost.example", "example.com"]
)
def test_a_base_that_is_plain_http_elsewhere_is_refused(host: str) -> None:
    with pytest.raises(Hopeless):
        egress.under(f"http://{host}/a.mp4", base=f"http://{host}")
