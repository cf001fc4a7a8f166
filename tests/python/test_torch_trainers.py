# SPDX-License-Identifier: Apache-2.0
"""Jobs of several processes under torch.distributed: shards of unequal size, and what must not be combined."""
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from rankd.torch import RetrievalLoss

ROOT = Path(__file__).resolve().parents[2]
SIZES = (32, 20)


def start(rank, rendezvous):
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)


def together(worker, tmp_path, *arguments):
    """What worker(rank, *arguments) returns in two processes of one group."""
    context = mp.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_run, args=(worker, rank, str(tmp_path / "rendezvous"), results, arguments)) for rank in range(2)]
    [p.start() for p in processes]
    found = dict(results.get(timeout=120) for _ in processes)
    [p.join(60) for p in processes]
    assert [p.exitcode for p in processes] == [0, 0], found
    return found


def _run(worker, rank, rendezvous, results, arguments):
    import torch.distributed as dist

    start(rank, rendezvous)
    results.put((rank, worker(rank, *arguments)))
    dist.barrier()
    dist.destroy_process_group()


def documented_gather():
    """The function that gathers shards, as it stands on the page."""
    found = re.search(r"^def gather.*?(?=^\S)", (ROOT / "docs/howto/ddp.md").read_text(), re.M | re.S)
    space = {}
    exec("import torch, torch.distributed as dist, torch.distributed.nn.functional as dist_nn\n" + found[0], space)
    return space["gather"]


def whole():
    make = torch.Generator().manual_seed(3)
    return torch.randn(sum(SIZES), 8, generator=make), torch.randint(0, 9, (sum(SIZES),), generator=make)


def shard(rank, url):
    import torch.distributed as dist

    gather = documented_gather()
    torch.manual_seed(0)
    net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 16))
    crit = RetrievalLoss("ap", margin=0.05, margin_warmup=0, client=url)
    points, labels = (x[:SIZES[0]] if rank == 0 else x[SIZES[0]:] for x in whole())
    embeddings = net(points)
    shards, label_shards = gather(embeddings), gather(labels)
    assert [len(s) for s in shards] == [len(s) for s in label_shards] == list(SIZES)
    everybody = torch.cat(label_shards)
    valid = ((everybody[:, None] == everybody[None, :]).sum(1) > 1).sum()
    loss = crit(embeddings, labels, ref_emb=shards[1 - rank], ref_labels=label_shards[1 - rank], avg_factor=valid / 2)
    loss.backward()
    dist.all_reduce(total := loss.detach().clone())
    return (total / 2).item(), net.module.weight.grad.numpy()


def test_shards_of_unequal_size_equal_one_trainer(daemon, client, tmp_path):
    found = together(shard, tmp_path, daemon.url)
    torch.manual_seed(0)
    net, (points, labels) = torch.nn.Linear(8, 16), whole()
    loss = RetrievalLoss("ap", margin=0.05, margin_warmup=0, client=client)(net(points), labels)
    loss.backward()
    for total, gradient in found.values():
        assert total == pytest.approx(loss.item(), rel=1e-5)
        np.testing.assert_allclose(gradient, net.weight.grad.numpy(), rtol=1e-3, atol=1e-5)


def refused(rank, url, bank):
    crit = RetrievalLoss("ap", bank=bank, client=url)
    embeddings, labels = torch.randn(8, 16, requires_grad=True), torch.arange(8) % 3
    refs = {"ref_emb": torch.randn(4, 16), "ref_labels": torch.arange(4)}
    said = []
    for mode in (True, False):
        crit.train(mode)
        try:
            crit(embeddings, labels, **refs)
        except ValueError as error:
            said.append(str(error))
    crit.train()
    crit(embeddings, labels)  # the bank alone
    crit.bank = None
    crit(embeddings, labels, **refs)  # the references alone
    return said


def test_gathered_shards_and_a_bank_are_refused_with_the_reason(daemon, client, bank, tmp_path):
    for said in together(refused, tmp_path, daemon.url, bank).values():
        assert len(said) == 2
        assert all("2 trainers" in s and "twice" in s and repr(bank) in s and "Give one of the two" in s for s in said)
    assert client.banks.get(bank).items == 16


def test_one_trainer_may_have_both(client, bank):
    crit = RetrievalLoss("ap", bank=bank, client=client)
    refs = {"ref_emb": torch.randn(4, 16), "ref_labels": torch.arange(4)}
    assert crit(torch.randn(8, 16, requires_grad=True), torch.arange(8) % 3, **refs).isfinite()
