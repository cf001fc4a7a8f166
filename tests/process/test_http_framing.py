# SPDX-License-Identifier: Apache-2.0
"""The framing of HTTP at a real daemon: every form of http_forms.txt, plain and over TLS, cut at
every byte."""
import re
import ssl
import subprocess
from pathlib import Path

import pytest

from support_http import GOOD, INFER, Answer, ask, connect, metric, request

FORMS = Path(__file__).parents[1] / "data/http_forms.txt"
CHUNKED = b"POST /v2/repository/index HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
FOLLOWER = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


def unescape(text):
    parts = re.findall(r"\\x(..)|\\(.)|(.)", text)
    return b"".join(bytes([int(x, 16)]) if x else ESCAPES[e] if e else c.encode("latin-1") for x, e, c in parts)


def forms():
    for line in FORMS.read_text().splitlines():
        found = re.fullmatch(r"(\d{3}(?: 200)?) (.*)", line)
        if found:
            message = unescape(found[2])
            yield [int(s) for s in found[1].split()], CHUNKED + message[1:] if message[:1] == b"$" else message


def answers(s):
    """All answers on the connection until the peer closes it, which it must."""
    data = b""
    while more := s.recv(65536):
        data += more
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
        size = int(headers["content-length"])
        found.append(Answer(int(first.split()[1]), headers, rest[:size]))
        data = rest[size:]
    return found


def assert_answered(found, wanted, message):
    assert [a.status for a in found] == wanted, (message, [(a.status, a.body) for a in found])
    for answer in found:
        if answer.status >= 400:
            assert set(answer.json()) == {"error"} and answer.headers["content-type"] == "application/json"
    if len(wanted) == 1:
        assert wanted[0] == 200 or found[0].headers["connection"] == "close"


def send_pieces(s, pieces):
    """Piece by piece; a peer that refused has closed already."""
    try:
        for piece in pieces:
            s.sendall(piece)
    except OSError:
        pass


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Makes (certificate, key) files with that name in them."""
    folder = tmp_path_factory.mktemp("tls")

    def make(name):
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", key, "-out", certificate, "-days", "2", "-subj", f"/CN={name}"], check=True,
                        capture_output=True)
        return certificate, key

    return make


def tls(daemon, **versions):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, version in versions.items():
        setattr(context, name, version)
    return context.wrap_socket(connect(daemon))


def test_every_form_is_answered_as_the_table_says(daemon):
    table = list(forms())
    assert len(table) > 150
    for wanted, message in table:
        with connect(daemon) as s:
            send_pieces(s, [message + FOLLOWER])
            assert_answered(answers(s), wanted, message)


def test_every_form_is_answered_the_same_byte_by_byte_and_cut_anywhere(daemon):
    for wanted, message in forms():
        whole = message + FOLLOWER
        with connect(daemon) as s:
            send_pieces(s, [whole[i:i + 1] for i in range(len(whole))])
            assert_answered(answers(s), wanted, message)
        for cut in range(1, len(message), 1 + len(message) // 16):
            with connect(daemon) as s:
                send_pieces(s, [whole[:cut], whole[cut:]])
                assert_answered(answers(s), wanted, message)


def test_every_form_is_answered_the_same_over_tls(make_daemon, certificates):
    certificate, key = certificates("localhost")
    daemon = make_daemon("--tls-cert", certificate, "--tls-key", key)
    for wanted, message in forms():
        whole = message + FOLLOWER
        for pieces in ([whole], [whole[i:i + 1] for i in range(len(whole))]):
            with tls(daemon) as s:
                send_pieces(s, pieces)
                assert_answered(answers(s), wanted, message)


def test_a_refused_message_behind_good_ones_leaves_their_answers_whole(daemon):
    bad = b"GET /v2 HTTP/1.1\r\nHost : localhost\r\n\r\n"
    with connect(daemon) as s:
        s.sendall(request("POST", INFER, GOOD) * 3 + bad + FOLLOWER)
        found = answers(s)
    assert [a.status for a in found] == [200, 200, 200, 400]
    assert found[0].body == found[1].body == found[2].body and "Host" in found[3].error


def test_many_requests_sent_at_once_are_all_answered(daemon):
    count = 2000
    with connect(daemon) as s:
        s.settimeout(60)
        import threading
        sender = threading.Thread(target=s.sendall, args=(request("GET", "/v2/health/live") * count + FOLLOWER,))
        sender.start()
        found = answers(s)
        sender.join()
    assert [a.status for a in found] == [200] * (count + 1)


@pytest.mark.parametrize("limit", ["1K", "16K", "1M"])
def test_the_limit_of_the_header_holds_and_what_is_under_it_passes(make_daemon, limit):
    daemon = make_daemon("--header-bytes", limit)
    size = int(limit[:-1]) << (10 if limit[-1] == "K" else 20)
    begin, end = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n", b"Connection: close\r\n\r\n"
    room = size - len(begin) - len(end)
    fillers = {
        "one field": lambda n: b"X: " + b"x" * (n - 5) + b"\r\n",
        "many fields": lambda n: b"a:\r\n" * (n // 4 - 3) + b"b:" + b"x" * (n - 4 * (n // 4 - 3) - 4) + b"\r\n",
        "cookies": lambda n: b"Cookie: " + b"a=b; " * ((n - 10) // 5) + b"c" * ((n - 10) % 5) + b"\r\n",
        "a field that is passed on": lambda n: b"Accept-Encoding: " + b"x" * (n - 19) + b"\r\n",
    }
    for name, filler in fillers.items():
        for extra, wanted in ((0, 200), (1, 431), (size, 431)):
            head = begin + filler(room + extra) + end
            assert len(head) == size + extra
            with connect(daemon) as s:
                send_pieces(s, [head])
                found = answers(s)
            assert [a.status for a in found] == [wanted], (name, extra)
            if wanted == 431:
                assert "--header-bytes" in found[0].error and str(size) in found[0].error


def test_a_long_query_passes(daemon):
    assert ask(daemon, "GET", "/v2?" + "a&" * 8000).status == 200


def stall(s, start):
    s.sendall(start)
    return answers(s)


STALLED = {
    "body": (request("POST", INFER, b"{", length=1000), "body"),
    "chunks": (b"POST /v2/models/ap/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{", "body"),
    "header": (b"POST /v2/models/ap/infer HTTP/1.1\r\nHost: local", "header"),
}


@pytest.mark.parametrize("case", STALLED)
@pytest.mark.parametrize("idle", ["1s", "60s"])
def test_what_stalls_gets_its_408_also_where_other_timeouts_are_equal(make_daemon, certificates, case, idle):
    certificate, key = certificates("localhost")
    flags = ("--idle-timeout", idle, "--body-timeout", "1s", "--header-timeout", "1s")
    start, what = STALLED[case]
    for flags, connect_ in ((flags, connect), ((*flags, "--tls-cert", certificate, "--tls-key", key), tls)):
        daemon = make_daemon(*flags)
        with connect_(daemon) as s:
            found = stall(s, start)
            assert [a.status for a in found] == [408] and what in found[0].error and "1000 ms" in found[0].error
        if connect_ is connect:
            assert metric(daemon, "rankd_rejected_total", reason="timeout") == 1


def test_an_idle_connection_is_closed_without_a_word(make_daemon):
    daemon = make_daemon("--idle-timeout", "1s")
    with connect(daemon) as s:
        assert answers(s) == []
    with connect(daemon) as s:
        s.sendall(request("GET", "/v2"))
        assert [a.status for a in answers(s)] == [200]


def test_tls_is_1_2_at_least(make_daemon, certificates):
    certificate, key = certificates("localhost")
    daemon = make_daemon("--tls-cert", certificate, "--tls-key", key)
    for version in ("TLSv1_2", "TLSv1_3"):
        with tls(daemon, minimum_version=ssl.TLSVersion[version], maximum_version=ssl.TLSVersion[version]) as s:
            assert s.version() == version.replace("_", ".")
    for old in ("-tls1", "-tls1_1"):
        said = subprocess.run(["openssl", "s_client", "-connect", f"{daemon.host}:{daemon.port}", old, "-cipher",
                               "ALL:@SECLEVEL=0"],
                              input="", capture_output=True, text=True, timeout=30)
        assert "Cipher is (NONE)" in said.stdout, said


def shown(daemon):
    """The certificate that a new connection gets, in DER."""
    with tls(daemon) as s:
        s.sendall(FOLLOWER)
        assert [a.status for a in answers(s)] == [200]
        return s.getpeercert(binary_form=True)


def test_sighup_reads_the_certificate_again_and_keeps_the_old_where_the_new_is_bad(make_daemon, certificates, tmp_path):
    import signal
    old, new = certificates("old"), certificates("new")
    certificate, key = tmp_path / "cert", tmp_path / "key"
    certificate.write_bytes(old[0].read_bytes())
    key.write_bytes(old[1].read_bytes())
    daemon = make_daemon("--tls-cert", certificate, "--tls-key", key)
    first = shown(daemon)
    with tls(daemon) as open_already:
        for bad in (b"", b"nonsense", new[0].read_bytes()):  # the last: a certificate that does not match the key
            before = daemon.log_text().count("the certificate stays as it was")
            certificate.write_bytes(bad)
            daemon.signal(signal.SIGHUP)
            daemon.wait_for_log(r"(?s)(the certificate stays as it was.*){%d}" % (before + 1))
            assert shown(daemon) == first
        key.write_bytes(new[1].read_bytes())
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("the certificate was read again")
        assert shown(daemon) == ssl.PEM_cert_to_DER_cert(new[0].read_text())
        open_already.sendall(FOLLOWER)
        assert [a.status for a in answers(open_already)] == [200]
