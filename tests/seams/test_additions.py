# SPDX-License-Identifier: Apache-2.0
"""A loss is added by a file and a row, a parameter and an input by a row each: the promises of the
tables, in a copy of the tree. The loss and its parameter are the blocks of
docs/adding-a-loss.md."""
import json
import re
import sys
import urllib.error
import urllib.request

import pytest
from conftest import assert_ended_well
from tree import Tree, blocks

SCORES, TARGETS = [[0.9, 0.8, 0.7, 0.6]], [[0, 1, 0, 1]]  # one and two irrelevant items above
WANT = (1 / 3 + 2 / 4) / 2  # with scale 2
PARAMETER = 'RK_CHOICE(toy_word, "toy_word", 0, "plain|odd", RK_USE_LOSS, "A parameter that nothing reads.")\n'
INPUT = 'RANKD_INPUT(TOY, "toy", LOSS_OPTIONAL, FP32, 1, "[B]", "An input that nothing reads.")\n'

# Prints the loss, over the transport of its argument: of scores with the parameter, then of
# embeddings with the input.
PROGRAM = """
#include <stdio.h>
#include "rankd.h"

static int ask(rankd_client *client, struct rankd_tensor *inputs, size_t count)
{
    struct rankd_tensor loss = {.port = RANKD_OUT_LOSS};
    struct rankd_parameter scale = {.name = "scale", .type = RANKD_NUMBER, .number = 2};
    struct rankd_request request = {.model = "saturated", .inputs = inputs, .input_count = count, .outputs = &loss,
                                    .output_count = 1, .parameters = &scale, .parameter_count = 1};
    struct rankd_reply reply = {0};
    struct rankd_error error = {0};
    uint64_t tag;
    int status = rankd_submit(client, &request, &tag, &error);
    if (status == RANKD_OK)
        status = rankd_wait(client, tag, 60000000000u, &reply);
    printf("%d %.17g %s%s\\n", status, reply.loss, error.text, reply.error);
    rankd_reply_clear(client, &reply);
    return status;
}

int main(int argc, char **argv)
{
    float scores[] = {.9f, .8f, .7f, .6f}, rows[] = {1, 0, 1, 0}, toy[] = {1, 2};
    unsigned char targets[] = {0, 1, 0, 1};
    long long labels[] = {1, 1};
    rankd_client *client = NULL;
    struct rankd_error error = {0};
    if (argc < 2 || rankd_open(argv[1], NULL, &client, &error) != RANKD_OK)
        return 1;
    struct rankd_tensor on_scores[] = {{RANKD_IN_SCORES, RANKD_FP32, 2, {1, 4}, scores, sizeof scores},
                                       {RANKD_IN_TARGETS, RANKD_UINT8, 2, {1, 4}, targets, sizeof targets}};
    struct rankd_tensor on_rows[] = {{RANKD_IN_EMBEDDINGS, RANKD_FP32, 2, {2, 2}, rows, sizeof rows},
                                     {RANKD_IN_LABELS, RANKD_INT64, 1, {2}, labels, sizeof labels},
                                     {RANKD_IN_TOY, RANKD_FP32, 1, {2}, toy, sizeof toy}};
    int status = ask(client, on_scores, 2) || ask(client, on_rows, 3);
    rankd_close(client);
    return status;
}
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = Tree(tmp_path_factory.mktemp("tree"))
    for name, text in blocks("docs/adding-a-loss.md"):
        tree.add(name, text)
    tree.add("lib/request/param.def", PARAMETER)
    tree.add("proto/rankd_ports.def", INPUT)
    tree.make("build/rankd", "build/rankctl", "librankd-shared", "build/librankd.a", "build/emulated-device.so", "pages",
              "reference")
    return tree


@pytest.fixture(scope="module", params=["cpu", "device"])
def daemon(tree, request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    device = ("--device", "cuda:0", "--device-plugin",
              tree.build / "emulated-device.so") if request.param == "device" else ("--device", "cpu")
    daemon = tree.daemon(folder / "daemon", "--socket", folder / "socket", *device)
    daemon.socket, daemon.on_device = folder / "socket", request.param == "device"
    yield daemon
    assert_ended_well(daemon)


def ask(daemon, path, document=None):
    try:
        with urllib.request.urlopen(daemon.url + path, json.dumps(document).encode() if document else None, 30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def infer(daemon, model, **parameters):
    return ask(daemon, f"/v2/models/{model}/infer", {"parameters": parameters, "inputs": [
        {"name": "scores", "shape": [1, 4], "datatype": "FP32", "data": SCORES},
        {"name": "targets", "shape": [1, 4], "datatype": "INT8", "data": TARGETS}]})


def engines(daemon, model):
    """The numbers of requests computed by the CPU and by the device."""
    _, text = ask(daemon, "/metrics")
    counts = re.findall(rf'^rankd_engine_requests_total\{{model="{model}",engine="(\w+)"\}} (\d+)$', text, re.M)
    return tuple(int(dict(counts).get(engine, 0)) for engine in ("cpu", "device"))


def test_it_is_computed_over_http(daemon):
    status, body = infer(daemon, "saturated", scale=2)
    assert status == 200, body
    outputs = {o["name"]: o["data"] for o in json.loads(body)["outputs"]}
    assert outputs["loss"] == [pytest.approx(WANT,
                                             rel=1e-6)] and sum(outputs["gradient"]) == pytest.approx(0) and any(outputs["gradient"])


def test_a_device_declines_the_loss_and_the_parameter_and_computes_the_rest(daemon):
    for model, parameters, known in (("saturated", {}, False), ("ap", {}, True), ("ap", {"toy_word": "odd"}, False)):
        before, status, after = engines(daemon, model), infer(daemon, model, **parameters)[0], engines(daemon, model)
        there = daemon.on_device and known
        assert status == 200 and (after[0] - before[0], after[1] - before[1]) == (not there, there), (model, parameters, before,
            after)


def test_c_reaches_it_over_both_transports(tree, daemon):
    (tree.folder / "ask.c").write_text(PROGRAM)
    tree.run("gcc", "-Iproto", "-Iclients/c", "ask.c", "build/librankd.a", "-lcurl", "-ljansson", "-lm", "-pthread", "-o",
             "build/ask")
    for url in (daemon.url, f"unix:{daemon.socket}"):
        lines = tree.run("build/ask", url).split("\n")
        assert float(lines[0].split()[1]) == pytest.approx(WANT, rel=1e-6) and lines[1].split()[:2] == ["0", "0"], lines


def test_python_reaches_it_over_both_transports(tree, daemon):
    program = f"""
import sys
import rankd
client = rankd.connect(sys.argv[1])
assert "saturated" in rankd.LOSSES
print(client.loss("saturated", {SCORES}, {TARGETS}, scale=2).loss)
client.loss("ap", embeddings=[[1, 0], [0, 1]], labels=[1, 1], toy=[1, 2], toy_word="odd")
try:
    client.loss("ap", embeddings=[[1, 0], [0, 1]], labels=[1, 1], toy=[[[1, 2]]])
except rankd.InvalidRequest as error:
    assert "input toy has 3 dimensions; its shape must be [B]" in str(error), error
else:
    raise AssertionError("a toy with 3 dimensions was taken")
"""
    for url in (daemon.url, f"unix:{daemon.socket}"):
        assert float(tree.run(sys.executable, "-c", program, url)) == pytest.approx(WANT, rel=1e-6)


def test_pytorch_reaches_it(tree, daemon):
    program = f"""
import sys
import torch
import rankd.torch
scores = torch.tensor({SCORES}, requires_grad=True)
crit = rankd.torch.ScoresLoss("saturated", scale=2, margin=0, lambda_val=4, client=sys.argv[1])
loss = crit(scores, torch.tensor({TARGETS}))
loss.backward()
assert scores.grad.any() and rankd.torch.RetrievalLoss("saturated", scale=3, client=sys.argv[1]).options["scale"] == 3
print(loss.item())
"""
    assert float(tree.run(sys.executable, "-c", program, daemon.url)) == pytest.approx(WANT, rel=1e-6)


def test_rankctl_reaches_it(tree, daemon, tmp_path):
    (tmp_path / "scores").write_text(" ".join(map(str, SCORES[0])) + "\n")
    (tmp_path / "targets").write_text(" ".join(map(str, TARGETS[0])) + "\n")
    for way in (("--url", daemon.url), ("--socket", daemon.socket)):
        printed = tree.run("build/rankctl", "loss", "--model", "saturated", "--parameter", "scale=2", "--json", *way,
                           tmp_path / "scores", tmp_path / "targets")
        assert json.loads(printed)["loss"] == pytest.approx(WANT, rel=1e-6)


def test_the_daemon_describes_them(daemon):
    described = json.loads(ask(daemon, "/v2/models/saturated")[1])
    assert described["parameters"]["scale"]["default"] == 1 and "toy" in [i["name"] for i in described["inputs"]]
    assert "scale" not in json.loads(ask(daemon, "/v2/models/ap")[1])["parameters"]
    assert infer(daemon, "saturated", scale=0) == (400, '{"error":"parameter scale was 0; it must be a number from 1e-06 to '
                                                        '1e+06"}')
    assert infer(daemon, "ap", toy_word="even") == (400, '{"error":"parameter toy_word was \\"even\\"; it must be plain or odd"}')
    assert infer(daemon, "saturated", scael=2)[0] == 400 and "scale" in infer(daemon, "saturated", scael=2)[1]
    assert "it goes with saturated" in infer(daemon, "ap", scale=2)[1]
    assert "ap, recall" in infer(daemon, "saturatd")[1] and 'did you mean \\"saturated\\"' in infer(daemon, "saturatd")[1]


def test_documents_list_them(tree):
    assert "saturated" in tree.read("build/pages/rankctl.bash")
    assert "| `scale` | 1.0 |" in tree.read("docs/reference/parameters.md")
    models = tree.read("docs/reference/models.md")
    assert "| `saturated` |" in models and "| `toy` | FP32 | [B] |" in models
    page = tree.read("proto/openapi.yaml")
    assert page.count("saturated") == 1 and ", toy]" in page and "scale: {type: number}" in page
