# SPDX-License-Identifier: Apache-2.0
"""Tokens and TLS, from the client's side."""
import ssl
import subprocess

import numpy as np
import pytest

import rankd

GOOD = ([[0.3, 0.2, 0.1]], [[0, 1, 0]])
INFER, BANKS = "a-token-that-may-infer", "a-token-that-may-do-banks"


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"trainer infer {INFER}\nkeeper banks {BANKS}\n")
    path.chmod(0o600)
    return path


def test_a_token_opens_what_its_scope_says(make_daemon, tokens):
    url = make_daemon("--tokens", tokens).url
    for missing in (None, "a-token-nobody-knows"):
        with pytest.raises(rankd.Unauthorized, match="token=") as caught:
            rankd.connect(url, missing, retry_for=5).loss("ap", *GOOD)
        assert caught.value.code == 401 and "a-token-nobody-knows" not in caught.value.sentence
    assert rankd.connect(url, INFER).loss("ap", *GOOD).loss > 0
    with pytest.raises(rankd.Forbidden, match="infer"):
        rankd.connect(url, BANKS).loss("ap", *GOOD)


def test_https_is_spoken_and_the_certificate_is_checked(make_daemon, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                    key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    url = make_daemon("--tls-cert", certificate, "--tls-key", key).url
    assert url.startswith("https://")
    trusting = rankd.connect(url, ssl_context=ssl.create_default_context(cafile=certificate), retry_for=0)
    scores = np.random.default_rng(1).permutation(3_000_000).astype(np.float32)[None]
    np.testing.assert_array_equal(trusting.rank(scores)[0], 3_000_000 - scores[0].astype(int))
    for _ in range(3):
        assert trusting.loss("ap", *GOOD).loss > 0
    with pytest.raises(rankd.Untrusted, match="self-signed.*ssl_context"):
        rankd.connect(url, retry_for=60).loss("ap", *GOOD)
