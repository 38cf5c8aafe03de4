"""Which URLs and numbers are good: attacks by spelling, one by one."""

from ipaddress import ip_network

import pytest

from perilune.errors import MediaError, RequestError
from perilune.media.address import LONGEST_URL, Address, Host, check_number, read_url

HOSTS = [Host.parse(text) for text in ("pictures.example", "*.cdn.example", "odd.example:8443")]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://pictures.example", Address("https", "pictures.example", 443, "/")),
        ("http://PICTURES.example:80/a/b.png?c=d#e", Address("http", "pictures.example", 80, "/a/b.png?c=d")),
        ("https://a.b.cdn.example/x", Address("https", "a.b.cdn.example", 443, "/x")),
        ("http://odd.example:8443/", Address("http", "odd.example", 8443, "/")),
    ],
)
def test_addresses_of_allowed_hosts_are_taken_apart(url, address):
    assert read_url(url, HOSTS) == address
    assert address.authority == address.host + (":8443" if address.port == 8443 else "")


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/",
        "https://cdn.example/",
        "https://xcdn.example/",
        "https://pictures.example.evil.example/",
        "https://pictures.example./",
        "https://sub.pictures.example/",
        "https://pictures.example:8443/",
        "https://pictures.example:80/",
        "https://pictures.example:0/",
        "https://odd.example/",
        "https://odd.example:8444/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://127.0.0.1/",
    ],
)
def test_other_hosts_and_ports_are_not(url):
    with pytest.raises(MediaError, match="does not allow that host"):
        read_url(url, HOSTS)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://me:secret@pictures.example/", "user name or a password"),
        ("https://@pictures.example/", "user name or a password"),
        ("https://pictures.example@evil.example/", "user name or a password"),
        ("ftp://pictures.example/", "begins with https"),
        ("file:///etc/passwd", "begins with https"),
        ("gopher://pictures.example/", "begins with https"),
        ("//pictures.example/", "begins with https"),
        ("pictures.example", "begins with https"),
        ("https:///x", "begins with https"),
        ("https://pictures.example\\@evil.example/", "printable"),
        ("https://pictures.example/a b", "printable"),
        ("https://pictures.example/\r\nHost: evil", "printable"),
        ("https://pictures.example/\t", "printable"),
        ("https://pictures․example/", "printable"),
        ("https://pictures.example/" + "x" * LONGEST_URL, "printable"),
        ("", "printable"),
        ("https://pictures.example:99999/", "is no address"),
        ("https://pictures.example:x/", "is no address"),
        ("https://[::1/", "is no address"),
    ],
)
def test_odd_addresses_are_refused(url, told):
    with pytest.raises(MediaError, match=told):
        read_url(url, HOSTS)


@pytest.mark.parametrize(
    "text", ["", "*", "*.", "a b", "https://a.example", "a.example/", "a.example:0", "a:70000", "a..b", "x@y", "*.*.a"]
)
def test_what_is_no_host_is_refused(text):
    with pytest.raises(RequestError):
        Host.parse(text)


@pytest.mark.parametrize(
    "number", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_numbers_of_the_public_network_are_good(number):
    check_number(number)


@pytest.mark.parametrize(
    "number",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "192.0.0.192", "192.0.2.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "168.63.129.16", "192.88.99.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "3fff::1"),
        *("::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::1", "2002:5db8:d822::1", "2001::1", "100::1", "4000::1"),
    ],
)
def test_all_others_are_not(number):
    with pytest.raises(MediaError, match="not one of the public network"):
        check_number(number)


def test_a_network_may_be_allowed_on_purpose():
    check_number("127.0.0.1", [ip_network("127.0.0.1/32")])
    with pytest.raises(MediaError):
        check_number("127.0.0.2", [ip_network("127.0.0.1/32")])
