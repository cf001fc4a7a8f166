# SPDX-License-Identifier: Apache-2.0
"""The loss modules."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from .._names import LOSSES, METRICS
from ..client import Client, client_of
from ..parameters import check, known_model, number
from ..results import LossInfo, LossResult
from ..tensors import BF16
from . import functional, joint_scores, operators
from .device_memory import device_path, fits
from .convert import exact_targets, expect_tensor, from_wire, loss_type, to_wire
from .gradient import PrecomputedLoss
from .distributed import trainers
from .learning import Learning, pairs_in_scores, reason_for
from .lists import flatten, pairs_in_lists
from .memory import Memory
from .reach import ListWatch, Reach
from .schedule import Schedule, Step
from .state import pack, unpack
from .team import Team, team_of, together
from .tracing import traceable
from .warn import warn
from .wording import Place, in_lists, in_words_of

_KEY = "_extra_state"  # torch's name for it in a state_dict
_OPTIONAL = ("ids", "enqueue_mask", "ref_labels", "ref_ids", "labels", "relevance", "offsets",
             "list_weight")  # what may be None
_Answer = tuple[LossResult, tuple[Any, ...], Step]  # the gradients are torch.Tensor or None, one per input


class RankLoss(nn.Module):
    """Common base of the losses.

    client           a rankd.Client or a URL; None: as rankd.connect() finds it
    lambda_val       strength of the perturbation (the paper's lambda), in units of the scores
        margin           in units of the scores; grows from 0 over the first `margin_warmup`
                         training
                     steps (calls in training mode with a gradient)
    average          "macro": mean over lists; "micro": weighted by their relevant items; "sum"
    loss_weight      factor on the loss
    on_nan           behaviour for values without a ranking (NaN among the scores; NaN, infinity or
                     a zero vector among embeddings): "raise", or "propagate": loss and gradient are
                     NaN and nothing is sent, so that GradScaler skips the step
    bank_start       training steps during which the batch is appended to the bank but the bank is
                     not ranked, so that the bank does not contain mostly items of an untrained
                     network when it is first ranked
    bank_max_age     N: only items of the newest N versions of the bank are ranked
    fresh            True: the bank is cleared at the first training step of a loss without a loaded
                     state, unless it is empty; False: it is taken over as it is; None: taken over,
                     with a warning
    lambda_scope, lambda_units: see docs/reference/parameters.md
    distributed      True, or a torch.distributed.ProcessGroup: its ranks compute one loss over the
                     items of all ("balanced": on embeddings, each rank has its own queries ranked),
                     and each gets its share of the gradient times their number, because
                     DistributedDataParallel divides by it. Every rank has to call, with a shard of
                     any size
    gradient_scale   "lambda" (default): rank changes divided by lambda, as in the paper; "unit": by
                     the sum of their absolute values in the list, so that badly ranked lists do not
                     dominate the others
    persistent_state whether the state of the loss (steps of the warm-up, version of its bank) is
                     part of a state_dict

    `info` (a rankd.LossInfo) describes the latest call.
    """

    info: LossInfo | None = None
    gallery: str = "all"
    over: str = "scores"  # or "embeddings": what is ranked
    by_query: bool = False  # a loss for each query, whose gradients meet in the embeddings (queries.py)
    _in_store: tuple[str | None, bool] | None = None  # the name of the bank, and whether several daemons share it in a store
    _answered: Any = None  # the latest step with distributed="balanced" and a bank

    def __init__(self, model: str, client: Client | str | None, *, lambda_val: float, margin: float, margin_warmup: int,
                 average: str, loss_weight: float, bank: str | None, on_nan: str, lambda_scope: str | None,
                 lambda_units: str | None, gradient_scale: str | None, persistent_state: bool, distributed: Any,
                 bank_start: int, bank_max_age: int | None, fresh: bool | None, learning: Learning) -> None:
        super().__init__()
        if on_nan not in ("raise", "propagate"):
            raise ValueError(f"on_nan is {on_nan!r}; it may be 'raise' or 'propagate'")
        self.model = model
        self.options: dict[str, Any] = {"lambda_val": number("lambda_val", lambda_val)}
        if self.options["lambda_val"] != 1.0:  # the default, which is not sent: a metric takes none
            self._set(lambda_val=lambda_val)
        self._set(lambda_scope=lambda_scope, lambda_units=lambda_units, gradient_scale=gradient_scale)
        self.average = check(model, {"average": average}, self.over)["average"] or "macro"
        self.client = client_of(client)
        self.loss_weight, self.on_nan = number("loss_weight", loss_weight), on_nan
        if self.loss_weight < 0:
            raise ValueError(f"loss_weight is {self.loss_weight:g}; it must be 0 or more")
        self.persistent_state = bool(persistent_state)
        self.team, self.balanced = team_of(distributed)
        self.schedule, self.memory = Schedule(margin, margin_warmup, bank_start), Memory(bank, bank_max_age, fresh)
        self.learning, self.reach, self.lists = learning, Reach(), ListWatch()
        self.operator_name = operators.name_of(self)

    def _set(self, **options: Any) -> None:
        """Arguments of the client for every request; checked here, so that no training begins with
        one that is refused."""
        self.options.update(check(self.model, options, self.over))

    def __setstate__(self, state: dict[str, Any]) -> None:  # a copy, or from a file: compiled code must not find the original
        super().__setstate__(state)
        self.operator_name = operators.name_of(self)

    @property
    def bank(self) -> str | None:
        """Name of the bank."""
        return self.memory.bank

    @bank.setter
    def bank(self, name: str | None) -> None:
        self.memory.bank = name

    def not_remembering(self) -> AbstractContextManager[None]:
        """`with crit.not_remembering():` calls within rank against the bank and give gradients as
        always, but the batch is not appended and the margin warm-up does not advance: for passes
        that are not training steps (an LR finder, the second pass of SAM, closures of LBFGS). May
        be nested."""
        return self.memory.held()

    def extra_repr(self) -> str:
        said = (f"{self.model!r}, lambda_val={self.options['lambda_val']:g}, margin={self.schedule.margin:g}, "
                f"margin_warmup={self.schedule.warmup}, average={self.average!r}")
        more = {"bank": self.bank, "gallery": None if self.gallery == "all" else self.gallery, **self._shown_options(),
                "reduction": getattr(self, "reduction", None), "loss_weight": None if self.loss_weight == 1 else self.loss_weight,
                "bank_start": self.schedule.bank_start if self.bank is not None else None,
                "distributed": None if self.team is None else "balanced" if self.balanced else True}
        return said + "".join(f", {name}={value!r}" for name, value in more.items() if value is not None)

    def _shown_options(self) -> dict[str, Any]:
        """Those beside lambda_val that extra_repr shows; 0 is how interclass is switched off."""
        return {name: value for name, value in self.options.items()
                if name not in ("lambda_val", "list_loss") and (name, value) != ("interclass", 0.0)}

    def get_extra_state(self) -> torch.Tensor:
        """The state as one uint8 tensor, for state_dict."""
        return pack({"steps": self.schedule.steps, "stalled": self.learning.streak, "reach": self.reach.streak,
                     **self.memory.state()})

    def set_extra_state(self, state: Any) -> None:
        """Restores the state from such a tensor, or from the dict of older versions."""
        known = unpack(state)
        if known is None:
            warn(f"the state that was loaded into {type(self).__name__} is not a state that a loss saved, as after an average "
                 "over models: its margin warm-up begins anew")
        self._take_state(known or {})

    def _take_state(self, state: dict[str, Any]) -> None:
        self.schedule.load(int(state.get("steps", 0)))
        self.learning.load(int(state.get("stalled", 0)))
        self.reach.load(int(state.get("reach", 0)))
        self.memory.load(state)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if not self.persistent_state:
            destination.pop(prefix + _KEY, None)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str],
                              unexpected_keys: list[str], error_msgs: list[str]) -> None:
        key = prefix + _KEY
        there = key in state_dict
        if there and not self.persistent_state:
            state_dict = {name: value for name, value in state_dict.items() if name != key}
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        if key in missing_keys:  # a state saved before the loss was part of the model is complete without it
            missing_keys.remove(key)
        if not there and self.persistent_state:
            self._take_state({})

    def _evaluate(self, differentiable: dict[str, Any], rest: dict[str, Any], avg_factor: float | torch.Tensor | None,
                  called: Mapping[str, str] | None = None, place: Callable[[Place], Place] | None = None) -> torch.Tensor:
        """One call: `differentiable` and `rest` are the client's arguments by name, the first of
        them the one whose device and type the loss takes. `called` and `place`: names and positions
        of the caller's, where they are others."""
        way = functional.way(*differentiable.values()) if self.team is None else None
        if way is not None:
            return way.evaluate(self, differentiable, rest, avg_factor)  # type: ignore[no-any-return]
        with in_words_of(called or {}, place):
            return self._computed(differentiable, rest, avg_factor)

    def _computed(self, differentiable: dict[str, Any], rest: dict[str, Any],
                  avg_factor: float | torch.Tensor | None) -> torch.Tensor:
        tensors = {name: expect_tensor(name, value) for name, value in {**differentiable, **rest}.items()
                   if value is not None or name not in _OPTIONAL}
        inputs = [tensors[name] for name in differentiable]
        if torch.is_grad_enabled() and "list_weight" in tensors and tensors["list_weight"].requires_grad:
            raise ValueError("list_weight requires a gradient, and the loss has none for it; give list_weight.detach()")
        if self.team is not None:
            if avg_factor is not None:
                raise ValueError("avg_factor is given, but with distributed the loss is divided by the number of lists of all "
                                 "ranks: leave one of the two out")
            if self.team.size > 1:
                return self._together(self.team, tensors, inputs)
        wants = [torch.is_grad_enabled() and x.requires_grad for x in inputs]
        value, gradients, factor, margin = self._answer(tensors, wants, avg_factor)
        return (self._attach(value, gradients, tensors, inputs, margin) if any(wants) else value) * factor

    def _answer(self, tensors: dict[str, torch.Tensor], wants: list[bool],
                avg_factor: float | torch.Tensor | None) -> tuple[torch.Tensor, tuple[Any, ...], float, float]:
        """The loss before its factor, the gradients of the first tensors for which `wants` is true,
        the factor and the margin."""
        average, factor = self._average(avg_factor)
        inputs = list(tensors.values())[:len(wants)]
        value = torch.full((), float("nan"), dtype=loss_type(inputs[0]), device=inputs[0].device)
        if self.on_nan == "propagate" and self._without_ranking(tensors):
            gradients: tuple[Any, ...] = tuple(torch.full(x.shape, float("nan"), device=x.device) for x in inputs)
            return value.expand(self._lists(tensors)).clone(), gradients, factor, 0.0
        result, gradients, step = self._on_device(tensors, average, any(wants)) or self._by_host(tensors, wants, average)
        self._note(result, step, average, factor, tensors)
        return self._value(value, result, tensors), gradients, factor, step.margin

    def _attach(self, value: torch.Tensor, gradients: tuple[Any, ...], tensors: dict[str, torch.Tensor],
                inputs: list[torch.Tensor], margin: float) -> torch.Tensor:
        """`value` with its backward pass: `gradients` are the inputs', at upstream 1."""
        return PrecomputedLoss.apply(value, gradients, self._spread(tensors), *inputs)

    def _without_graph(self, tensors: dict[str, torch.Tensor], wants: list[bool],
                       avg_factor: float | torch.Tensor | None) -> tuple[torch.Tensor, list[Any]]:
        """Loss and gradients at upstream 1, for an operator."""
        value, gradients, factor, _ = self._answer(tensors, wants, avg_factor)
        return value * factor, [None if g is None else g * factor for g in gradients]

    def _value(self, value: torch.Tensor, result: LossResult, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """The value that the loss returns, before its factor; `value` is a scalar of the right type
        and device."""
        return value.fill_(result.loss)

    def _spread(self, tensors: dict[str, torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """See PrecomputedLoss."""
        return None

    def _lists(self, tensors: dict[str, torch.Tensor]) -> tuple[int, ...]:
        """The shape of the value that the loss returns: () or [lists]."""
        return ()

    def _options(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the client beside the inputs. The daemon's own default of lambda is not
        sent: a metric takes none."""
        return {**self.options, "lambda_val": None} if self.options["lambda_val"] == 1.0 else self.options

    def _together(self, team: Team, tensors: dict[str, torch.Tensor], inputs: list[torch.Tensor]) -> torch.Tensor:
        """One call of a loss that the ranks of a job compute together."""
        raise NotImplementedError

    def _begin(self, content: list[Any], wanted: bool, **agreed: Any) -> Step:
        """The settings of a call. A call that must not count is remembered as well, with or without
        a gradient: activation checkpointing may recompute it later, outside of the block that
        excluded it. `agreed`: see Schedule.begin."""
        held, content = self.memory.held_back, [*content, self.bank]
        if not wanted and not held:
            return self.schedule.plain(content)
        return self.schedule.begin(content, counts=wanted and self.training and not held, known=self.bank is not None, **agreed)

    def _by_host(self, tensors: dict[str, torch.Tensor], wants: list[bool], average: str) -> _Answer:
        wanted = any(wants)
        arguments = {name: to_wire(name, value) for name, value in tensors.items()}
        step = self._begin([*arguments.values(), average], wanted)
        result = self._ask(arguments, step, average, wanted)
        if step.counts and not step.again:
            self.lists.saw(result)
        arrays = (result.gradient, result.ref_gradient)
        return result, tuple(from_wire(array, like) if array is not None and want else None
                             for array, like, want in zip(arrays, tensors.values(), wants)), step

    def _ask(self, arguments: dict[str, Any], step: Step, average: str, wanted: bool, **more: Any) -> LossResult:
        """The daemon's answer over arrays in host memory, by the client's names. `more` goes before
        the loss's own options."""
        enqueue = self.bank is not None and wanted and step.counts
        if enqueue:
            self.memory.meet(self.client, self._row_count(arguments), self._alone())
        return self.client.loss(
            self.model, **arguments, **{**self._options(arguments), **more}, margin=step.margin, average=average,
            **self.memory.arguments(step, enqueue), gradient="dense" if wanted else False,
            list_stalled=wanted and step.counts and self._names_lists(arguments))

    def _row_count(self, arguments: dict[str, Any]) -> int:
        """Items that a call appends, roughly."""
        return max(len(array.bits if isinstance(array, BF16) else array) for array in arguments.values())

    def _alone(self) -> bool:
        """Whether no other process of the job appends to the bank."""
        return trainers() == 1

    def _names_lists(self, arguments: dict[str, Any]) -> bool:
        """Whether list number k is the same from call to call."""
        return False

    def _on_device(self, tensors: dict[str, torch.Tensor], average: str, wanted: bool) -> _Answer | None:
        """The answer through memory shared on the device; None if that is not possible."""
        if set(tensors) != {"scores", "targets"} or self.bank is not None or self.memory.max_age:
            return None
        scores, targets = tensors["scores"], exact_targets(tensors["targets"])
        if targets is None or not fits({"scores": scores, "targets": targets}):
            return None
        path = device_path(self.client, scores.device)
        if path is None:
            return None
        step = self._begin([tuple(scores.shape), average], wanted)
        rooms = {"gradient": (scores.shape, torch.float32)} if wanted else {}
        done = path.run({"scores": scores, "targets": targets}, rooms, lambda at: self.client.loss(
            self.model, at["scores"], at["targets"], **self._options(tensors), margin=step.margin, average=average,
            gradient=at["gradient"] if wanted else False))
        if done is None:
            return None
        result, there = done
        return result, (there["gradient"] if wanted else None,), step

    def _note(self, result: LossResult, step: Step, average: str, factor: float, tensors: dict[str, torch.Tensor]) -> None:
        """Stores the numbers of the reply in `info` and the state."""
        mean = result.loss / max(result.info.lists_valid, 1) if average == "sum" else result.loss
        uncounted = factor == 0 and self.loss_weight != 0  # a weight of 0 is a wish
        self._keep(result.info, step, lambda: reason_for(result.info, result.loss, lambda: self._has_pairs(tensors), uncounted),
                   mean)

    def _keep(self, info: LossInfo, step: Step, reason: Callable[[], str | None], mean: float | None = None) -> None:
        """Stores the numbers of an answer. Counts, for the warnings, the reason if nothing can be
        learnt from the step, and the mean loss of a list if it is known."""
        self.info = info
        self.memory.seen(info, step.bank_read)
        if self.schedule.end(step):
            why = reason()
            self.learning.saw(why, step.margin)
            if mean is not None and why is None:  # one warning is enough, and a larger lambda does not help all of these
                self.reach.saw(info, mean, self.options["lambda_val"])

    def _has_pairs(self, tensors: dict[str, torch.Tensor]) -> bool:
        """Whether a list of this batch has a relevant and an irrelevant item."""
        raise NotImplementedError

    def _without_ranking(self, tensors: dict[str, torch.Tensor]) -> bool:
        """Whether the values have no ranking (NaN, …), so that the daemon would refuse them."""
        raise NotImplementedError

    def _average(self, avg_factor: float | torch.Tensor | None) -> tuple[str, float]:
        if avg_factor is None:
            return self.average, self.loss_weight
        if self.average == "micro":
            raise ValueError("avg_factor divides a sum over lists; it can't be had together with average='micro'")
        try:
            number = float(avg_factor)
        except (TypeError, ValueError, RuntimeError):  # a text, or a tensor of several numbers
            raise TypeError(f"avg_factor is {repr(avg_factor)[:60]}; it must be one number, or a tensor of one") from None
        if not 0 <= number < math.inf:
            raise ValueError(f"avg_factor is {number:g}; it must be the number of valid lists of all trainers, 0 or more")
        return "sum", self.loss_weight / number if number > 0 else 0.0


class _ScoresLoss(RankLoss):
    """On scores and targets."""

    def __init__(self, model: str, client: Client | str | None, *, margin: float | None, axis: int, interclass: float,
                 reduction: str | None, **common: Any) -> None:
        known_model("model", model, LOSSES + METRICS)
        if margin is None:
            raise TypeError("margin must be given: its unit is the scores'. Starting points: 0.02 to 0.1 for cosines, 1 for "
                            "logits (rank the logits, not sigmoid outputs), 0 for none")
        super().__init__(model, client, margin=margin, learning=Learning.of_scores(), **common)
        if reduction not in (None, "none"):
            raise ValueError(f"reduction is {reduction!r}; it may be 'none', or left out: average says how lists are averaged")
        self._set(axis=1 if axis is None else axis, interclass=0.0 if interclass is None else interclass)
        if reduction == "none" and (self.average == "micro" or self.options["interclass"] > 0):
            raise ValueError("reduction='none' gives a loss for each list; neither average='micro' nor interclass goes with it")
        self.reduction = reduction
        self.valid: torch.Tensor | None = None
        if reduction == "none" and self.team is not None:
            raise ValueError("reduction is 'none' and distributed is set: the ranks share one loss, and each list has its own; "
                             "leave one of the two out")
        self._set(list_loss=reduction == "none")
        if self.team is not None:
            joint_scores.check(self)

    @traceable(operators.READY, operators.has_one_gradient)
    @together
    def forward(self, scores: torch.Tensor | Sequence[torch.Tensor], targets: torch.Tensor | Sequence[torch.Tensor],
                avg_factor: float | torch.Tensor | None = None, *, offsets: torch.Tensor | Sequence[int] | None = None,
                weight: torch.Tensor | None = None, list_weight: torch.Tensor | None = None) -> torch.Tensor:
        """The loss, a scalar tensor on the scores' device, float32 (float64 for float64 scores).
        With reduction="none" the loss of each list instead, [lists]: 0 where a list is skipped
        (`valid`, bool [lists], tells), multiplied by the weight of the list. Its backward takes any
        upstream.

        scores      [Q, N], any float type; each row is a ranking problem (axis=1; with axis=0 each
                    column). Lists of different lengths: a sequence of tensors [n], or flat, [N],
                    with `offsets`
        targets     likewise, bool, integer or any float type: 1 relevant, 0 irrelevant, -1 ignored
        offsets     [Q + 1] integers: list q is items offsets[q] to offsets[q + 1] - 1. Not with
                    axis=0, interclass, a bank
        weight      [lists], 0 or more: multiplies the weight of each list in the loss; 0 skips it.
                    Also by the daemon's name for it, `list_weight`. There is no gradient for it:
                    one that requires a gradient is refused
        avg_factor  as in mmdetection: the sum over lists is divided by it instead of by the number
                    of lists here. The number of valid lists over all trainers, divided by the
                    number of trainers where DDP averages gradients. 0: no valid list anywhere, and
                    the loss is 0
        """
        if weight is not None and list_weight is not None:
            raise TypeError("weight and list_weight are the same; give one of them")
        if self.reduction == "none" and avg_factor is not None:
            raise TypeError("avg_factor divides a sum over lists; reduction='none' sums nothing")
        pieces = scores
        offsets, (scores, targets) = flatten(offsets, scores=scores, targets=targets)
        if offsets is not None and (self.options["axis"] != 1 or self.options["interclass"] > 0 or self.bank is not None):
            raise ValueError("lists of different lengths (offsets, or a sequence of tensors) go with axis=1 only, and with "
                             "neither interclass nor a bank")
        rest = {"targets": targets, "offsets": offsets, "list_weight": weight if list_weight is None else list_weight}
        called = {} if weight is None else {"list_weight": "weight"}
        if offsets is None or not isinstance(pieces, Sequence):
            return self._evaluate({"scores": scores}, rest, avg_factor, called)
        called.update(scores="scores", targets="targets")
        return self._evaluate({"scores": scores}, rest, avg_factor, called, in_lists([len(piece) for piece in pieces]))

    def _average(self, avg_factor: float | torch.Tensor | None) -> tuple[str, float]:
        return ("sum", self.loss_weight) if self.reduction == "none" else super()._average(avg_factor)

    def _options(self, inputs: dict[str, Any]) -> dict[str, Any]:
        options = super()._options(inputs)
        return {**options, "axis": None, "interclass": None} if "offsets" in inputs else options

    def _names_lists(self, arguments: dict[str, Any]) -> bool:
        return "offsets" not in arguments and (self.options["axis"] == 0 or self.bank is not None)

    def _value(self, value: torch.Tensor, result: LossResult, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        if result.list_loss is None or self.reduction is None:
            return super()._value(value, result, tensors)
        each = from_wire(result.list_loss, value).to(value.dtype)
        self.valid = ~each.isnan()
        weight = tensors.get("list_weight")
        each = each.nan_to_num(0.0)
        return each if weight is None else each * weight.detach().to(each)

    def _spread(self, tensors: dict[str, torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor] | None:
        if self.reduction is None:
            return None
        if "offsets" in tensors:
            sizes = tensors["offsets"].diff()
            return lambda above: above.repeat_interleave(sizes.to(above.device))
        return lambda above: above.unsqueeze(self.options["axis"])

    def _lists(self, tensors: dict[str, torch.Tensor]) -> tuple[int, ...]:
        if self.reduction is None:
            return super()._lists(tensors)
        scores = tensors["scores"]
        return (len(tensors["offsets"]) - 1,) if "offsets" in tensors else (scores.shape[1 - self.options["axis"]],)

    def _together(self, team: Team, tensors: dict[str, torch.Tensor], inputs: list[torch.Tensor]) -> torch.Tensor:
        return joint_scores.evaluate(self, team, tensors, inputs)

    def _has_pairs(self, tensors: dict[str, torch.Tensor]) -> bool:
        if "offsets" in tensors:
            return pairs_in_lists(tensors["targets"], tensors["offsets"])
        return pairs_in_scores(tensors["targets"], self.options["axis"], self.options["interclass"])

    def _without_ranking(self, tensors: dict[str, torch.Tensor]) -> bool:
        scores, targets = tensors["scores"], tensors["targets"]
        if scores.shape != targets.shape:
            return False # the daemon reports that
        return bool((torch.isnan(scores) & (targets != -1).to(scores.device)).any())
