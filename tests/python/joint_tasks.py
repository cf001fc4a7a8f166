# SPDX-License-Identifier: Apache-2.0
"""Functions that each rank of a crew runs: joint steps, and the faults of a single rank."""
import copy
import functools

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
from torch.utils.checkpoint import checkpoint

from rankd.torch import APLoss, RecallLoss, RetrievalLoss

MATRICES = ("embeddings", "ref_emb")
LOSSES = {"ap": APLoss, "recall": RecallLoss}


@functools.lru_cache(None)
def group_of(size):
    """The first ranks of the job; all ranks must ask."""
    return dist.new_group(list(range(size)))


def part(values, sizes, rank=None):
    """A rank's rows of the whole."""
    rank = dist.get_rank() if rank is None else rank
    start = sum(sizes[:rank])
    return values[start:start + sizes[rank]]


def batch(seed, rows, dim=16, classes=5, dtype=torch.float32):
    make = torch.Generator().manual_seed(seed)
    return {"embeddings": torch.randn(rows, dim, generator=make).to(dtype),
            "labels": torch.randint(0, classes, (rows,), generator=make),
            "ids": torch.randint(0, rows + 1, (rows,), generator=make), "enqueue_mask": torch.rand(rows, generator=make) < 0.7,
            "ref_emb": torch.randn(rows // 2, dim, generator=make).to(dtype),
            "ref_labels": torch.randint(0, classes, (rows // 2,), generator=make),
            "ref_ids": torch.randint(0, rows + 1, (rows // 2,), generator=make), "list_weight": torch.rand(rows, generator=make)}


def answer(crit, given, scale=1):
    """The loss, the gradients of `scale` times the loss, and the daemon's numbers, for tensors by
    the names of forward()."""
    given = {name: value.clone().requires_grad_() if name in MATRICES else value for name, value in given.items()}
    loss = crit(**given)
    (loss * scale).backward()
    return {"loss": loss.item(), "info": vars(crit.info) if crit.info else None, "bank_version": crit.memory.version,
            **{name: value.grad for name, value in given.items() if name in MATRICES}}


def steps(url, wholes, sizes, ref_sizes, options, group=None, mode=True):
    """Steps of one loss over shards of the batches `wholes`. `url` may be one for each rank."""
    rank = dist.get_rank()
    chosen = group_of(group) if group else mode
    if group and rank >= group:
        return []
    crit = RetrievalLoss(client=url[rank] if isinstance(url, list) else url, distributed=chosen, **options)
    return [answer(crit, {name: part(value, ref_sizes if name.startswith("ref") else sizes) for name, value in whole.items()})
            for whole in wholes]


def documents(url, wholes, sizes, ref_sizes, options, mode):
    """As steps(), where the mask is of the references."""
    crit = RetrievalLoss(client=url, distributed=mode, **options)
    by_row = {"embeddings": sizes, "labels": sizes}
    return [answer(crit, {name: part(value, by_row.get(name, ref_sizes)) for name, value in whole.items()}) for whole in wholes]


def fresh(url, sizes, bank, mode):
    """The first step of a loss over a bank that a former run has filled."""
    crit, whole = RetrievalLoss(client=url, distributed=mode, bank=bank, bank_start=0, fresh=True), batch(1, sum(sizes))
    crit(part(whole["embeddings"], sizes).requires_grad_(), part(whole["labels"], sizes)).backward()
    return crit.info.bank_items


def score_steps(url, scores, targets, rows, model, options, weight=None, flat=False):
    """`flat`: the rows go as lists of different lengths, each without its last items, one more from
    row to row."""
    crit = LOSSES[model](client=url, distributed=True, **options)
    mine = part(scores, rows).clone().requires_grad_()
    first = sum(rows[:dist.get_rank()])
    given = [mine, part(targets, rows)]
    if flat:
        given = [[row[:shortened(len(row), first + i)] for i, row in enumerate(rows_of)] for rows_of in given]
    loss = crit(*given, weight=None if weight is None else part(weight, rows))
    loss.backward()
    return {"loss": loss.item(), "info": vars(crit.info) if crit.info else None, "scores": mine.grad}


def shortened(columns, row):
    return max(0, columns - row)


def bad_step(url, where, what, bank=None, mode=True):
    """A step in which the rank `where` does something wrong; then a good one, which must work on
    all ranks."""
    rank = dist.get_rank()
    options = {"lambda_val": 3.0} if what == "settings" and rank == where else {}
    crit = RetrievalLoss(client=url, distributed=mode, bank_start=0, bank=bank, **options)
    given = {name: value for name, value in batch(rank, 6).items() if name in ("embeddings", "labels")}
    if rank == where:
        spoil(what, given, crit)
    told = None
    try:
        crit(**given)
    except Exception as error:
        told = error
    RetrievalLoss(client=url, distributed=True)(**batch_of_two(rank)).backward()
    if told:
        raise told


def batch_of_two(rank):
    return {name: value.requires_grad_() if value.is_floating_point() else value for name, value in batch(rank, 6).items()
            if name in ("embeddings", "labels")}


def spoil(what, given, crit):
    if what == "labels":
        given["labels"] = given["labels"] + 0.5
    elif what == "too few labels":
        given["labels"] = given["labels"][:-1]
    elif what == "NaN":
        given["embeddings"][2, 3] = float("nan")
    elif what == "zero vector":
        given["embeddings"][4] = 0
    elif what == "NaN among references":
        given["ref_emb"], given["ref_labels"] = given["embeddings"].clone(), given["labels"]
        given["ref_emb"][1, 2] = float("nan")
    elif what == "dimensions":
        given["embeddings"] = given["embeddings"][:, :15]
    elif what == "type":
        given["embeddings"] = given["embeddings"].half()
    elif what == "missing argument":
        del given["labels"]
    elif what == "lone references":
        given["ref_emb"] = given["embeddings"]
    elif what == "avg_factor":
        given["avg_factor"] = 3.0
    elif what == "eval":
        crit.eval()
    elif what == "own exception":
        crit.client = Broken()


class Strange(Exception):
    """An exception that can't be pickled."""

    def __init__(self, number, lock):
        super().__init__(f"strange {number}")
        self.lock = lock


class Broken:
    """A client that fails like a user's script."""

    transport = type("Nothing", (), {})()

    def metadata(self):
        raise Strange(7, open("/dev/null"))


def without_ranking(url, bank):
    """NaN on rank 1, to be propagated."""
    rank = dist.get_rank()
    crit = RetrievalLoss(client=url, distributed=True, bank_start=0, bank=bank, on_nan="propagate")
    given = {name: value for name, value in batch(rank, 6).items() if name in ("embeddings", "labels")}
    if rank == 1:
        given["embeddings"][0, 0] = float("inf")
    return answer(crit, given)


def without_ranking_scores(url):
    rank = dist.get_rank()
    crit = APLoss(client=url, distributed=True, margin=0.1, on_nan="propagate")
    scores = torch.zeros(2, 3)
    scores[0, 0] = float("nan") if rank == 1 else 0
    found = [answer_scores(crit, scores)]
    if rank == 1:
        scores[0, 0] = 0
    return [*found, answer_scores(crit, scores)]


def answer_scores(crit, scores):
    mine = scores.clone().requires_grad_()
    loss = crit(mine, torch.tensor([[1, 0, 0], [0, 1, 0]]))
    loss.backward()
    return loss.item(), mine.grad


def bad_scores(url, where):
    rank = dist.get_rank()
    crit = APLoss(client=url, distributed=True, margin=0.1)
    scores, targets = torch.zeros(2, 3, requires_grad=True), torch.tensor([[1, 0, 0], [0, 1, 0]])
    if rank == where:
        targets = targets * 5
    try:
        crit(scores, targets)
    finally:
        dist.barrier()


def under_a_dying_daemon(url, sizes):
    """Steps until one fails."""
    import rankd

    with rankd.connect(url, retry_for=0) as client:
        crit = RetrievalLoss(client=client, distributed=True)
        for step in range(100_000):
            whole = batch(step, sum(sizes), dim=64)
            crit(part(whole["embeddings"], sizes).requires_grad_(), part(whole["labels"], sizes)).backward()


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16))


def points(seed, rows):
    make = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 8, generator=make), torch.randint(0, 4, (rows,), generator=make)


def trained(url, sizes, bank, micro_batches, scale, mode):
    """Gradients of the weights under DistributedDataParallel, over several batches of which only
    the last is synchronized, with the losses scaled as GradScaler does it."""
    net = torch.nn.parallel.DistributedDataParallel(network())
    crit = RetrievalLoss(client=url, bank_start=0, bank=bank, distributed=mode, margin_warmup=0)
    losses = []
    for number in range(micro_batches):
        values, labels = (part(x, sizes) for x in points(number, sum(sizes)))
        with net.no_sync() if number < micro_batches - 1 else torch.enable_grad():
            loss = crit(net(values), labels)
            (loss * scale).backward()
        losses.append(loss.item())
    return losses, [p.grad / scale for p in net.parameters()]


def recomputed(url, sizes, bank, reentrant, mode):
    """The loss within a region that activation checkpointing computes twice."""
    net = torch.nn.parallel.DistributedDataParallel(network())
    crit = RetrievalLoss(client=url, bank_start=0, bank=bank, distributed=mode, margin_warmup=0)
    versions = []
    for number in range(3):
        values, labels = (part(x, sizes) for x in points(number, sum(sizes)))
        net.zero_grad()
        embeddings = net(values)
        checkpoint(crit, embeddings, labels, use_reentrant=reentrant).backward()
        versions.append(crit.info.bank_version_appended)
    return versions, [p.grad for p in net.parameters()]


def warmed_up(url, sizes):
    """The state of the loss is loaded on rank 0 only. The margin is that of step 50 of 100, and
    then of 51."""
    crit = RetrievalLoss(client=url, distributed=True, margin=0.2, margin_warmup=100)
    if dist.get_rank() == 0:
        crit.schedule.load(50)
    values, labels = points(1, sum(sizes))
    embeddings = torch.nn.functional.pad(values, (0, 8))
    losses = []
    for _ in range(2):
        losses.append(crit(part(embeddings, sizes).clone().requires_grad_(), part(labels, sizes)).item())
    return losses, crit.schedule.steps


def copied(url, sizes):
    crit = copy.deepcopy(RetrievalLoss(client=url, distributed=group_of(4)))
    whole = batch(5, sum(sizes))
    return crit(part(whole["embeddings"], sizes), part(whole["labels"], sizes)).item()


def gather(tensor):
    """The tensors of all ranks, of any lengths; each rank gets the gradients of its own."""
    sizes = [torch.zeros(1, dtype=torch.long) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(tensor)]))
    padding = tensor.new_zeros(int(max(sizes)) - len(tensor), *tensor.shape[1:])
    shards = dist_nn.all_gather(torch.cat([tensor, padding]))
    return [shard[:size] for shard, size in zip(shards, sizes)]


def by_hand(url, sizes):
    """The joint step as scripts write it without distributed: the other shards as references, and
    the number of lists."""
    rank, net = dist.get_rank(), torch.nn.parallel.DistributedDataParallel(network())
    values, labels = (part(x, sizes) for x in points(0, sum(sizes)))
    embeddings = net(values)
    shards, label_shards = gather(embeddings), gather(labels)
    everybody = torch.cat(label_shards)
    valid = ((everybody[:, None] == everybody[None, :]).sum(1) > 1).sum()
    loss = RetrievalLoss(client=url, margin_warmup=0)(
        embeddings, labels, ref_emb=torch.cat([s for r, s in enumerate(shards) if r != rank]),
        ref_labels=torch.cat([s for r, s in enumerate(label_shards) if r != rank]), avg_factor=valid / dist.get_world_size())
    loss.backward()
    dist.all_reduce(total := loss.detach().clone())
    return [(total / dist.get_world_size()).item()], [p.grad for p in net.parameters()]


def refused_by_hand(url, bank, with_itself=False):
    """Shards gathered by hand, and a bank. `with_itself`: by a loss whose team is each rank for
    itself."""
    groups = [dist.new_group([rank]) for rank in range(dist.get_world_size())] if with_itself else None
    crit = RetrievalLoss("ap", bank_start=0, bank=bank, client=url, distributed=groups and groups[dist.get_rank()])
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


def evaluated(url, sizes, bank, mode):
    """Ranked against the bank, not appended, no gradient."""
    crit = RetrievalLoss(client=url, distributed=mode, bank_start=0, bank=bank).eval()
    whole = batch(9, sum(sizes))
    with torch.no_grad():
        return crit(part(whole["embeddings"], sizes), part(whole["labels"], sizes)).item(), crit.info.bank_version_appended


def sharded(url, sizes):
    """The change of the weights by one step of an encoder that FSDP shards: their gradient, because
    the rate is 1."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    before = [p.detach().flatten().clone() for p in network().parameters()]
    net = FullyShardedDataParallel(network(), device_id=torch.device("cpu"))
    crit = RetrievalLoss(client=url, distributed=True, margin_warmup=0)
    values, labels = (part(x, sizes) for x in points(0, sum(sizes)))
    loss = crit(net(values), labels)
    loss.backward()
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    with FullyShardedDataParallel.summon_full_params(net):
        after = torch.cat([p.detach().flatten() for p in net.parameters()])
    return loss.item(), torch.cat(before) - after
