# SPDX-License-Identifier: Apache-2.0
"""Wrong uses of an adapter; all are tried before the test fails."""
import re


def refused(cases):
    """Each case is a call and a part of its error sentence: one line, of an exception that rankd
    raises on purpose."""
    wrong = []
    for call, sentence in cases:
        try:
            call()
        except Exception as error:
            if not re.search(sentence, str(error)) or "\n" in str(error) or isinstance(error,
                (KeyError, AttributeError, IndexError)):
                wrong.append(f"expected {sentence!r}, got {type(error).__name__}: {error}")
        else:
            wrong.append(f"expected {sentence!r}, and nothing was raised")
    assert not wrong, "\n" + "\n".join(wrong)
