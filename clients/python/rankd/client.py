# SPDX-License-Identifier: Apache-2.0
"""The client: one method per operation of the daemon."""
from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from . import _names
from .answers import document, documents, member, parse
from .banks import Banks
from .errors import ProtocolError, RankdError
from .find import FoundTransport, open_transport
from .names import segment
from .parameters import number, unexpected
from .reply import check_reply
from .results import LossResult, info_from
from .retry import with_retries
from .tensors import BF16, FLOATS, LABELS, TARGETS, OnDevice, Tensor, tensor
from .transport import InferReply, InferRequest, Transport


def connect(url: str | None = None, token: str | None = None, *, timeout: float = 60.0, retry_for: float = 60.0,
            ssl_context: Any = None) -> Client:
    """A client for the daemon at `url`: http://host:port, https://host:port, or unix:PATH (shared
    memory, same machine).

    The first request connects. The default of `url` is RANKD_URL. Without that, the first request
    looks for the daemon of this machine (/run/rankd/rankd.sock), and then for one of this user's
    own, which it starts if there is none (find.py). The default of `token` is RANKD_TOKEN.
    `timeout`: longest time of one attempt in seconds, from connecting to the last byte of the
    answer. `retry_for`: seconds of retries while the daemon restarts or is overloaded; keep it well
    below the timeout of the collectives of the job, so that the wait of one trainer does not become
    an error of all. `ssl_context` is an ssl.SSLContext for https.
    """
    if url is not None and not isinstance(url, str):
        raise TypeError(f"url is {url!r}; it must be a text: http://HOST[:PORT], https://HOST[:PORT] or unix:PATH")
    return Client(_transport(url, token, ssl_context), timeout=timeout, retry_for=retry_for)


def client_of(client: Client | str | None) -> Client:
    """A client as an argument of a loss: itself, one for its URL, or the one that connect()
    finds."""
    if client is not None and not isinstance(client, (Client, str)):
        raise TypeError(f"client is a {type(client).__name__}; it must be a rankd.Client, a URL or None")
    return client if isinstance(client, Client) else connect(client)


def _transport(url: str | None = None, token: str | None = None, ssl_context: Any = None) -> Transport:
    url = url or os.environ.get("RANKD_URL")
    token = token or os.environ.get("RANKD_TOKEN") or None
    return open_transport(url, token, ssl_context) if url else FoundTransport(token, ssl_context)


class Client:
    """Talks to one daemon, by default the one that connect() finds. May be shared by threads, used
    after a fork, copied and pickled.

    Every method raises a subclass of RankdError (errors.py) with the error and a remedy.
    """

    def __init__(self, transport: Transport | None = None, *, timeout: float = 60.0, retry_for: float = 60.0) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout}; it must be above 0 seconds")
        if not retry_for >= 0:
            raise ValueError(f"retry_for is {retry_for}; it must be 0 seconds or more")
        self.transport = _transport() if transport is None else transport
        self.timeout = timeout
        self.retry_for = retry_for

    def __repr__(self) -> str:
        return f"rankd.Client({self.transport.url!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drops the connections. The client may be used again."""
        self.transport.close()

    # ---- losses ----

    def loss(self, model: str, scores: Any = None, targets: Any = None, *,
             embeddings: Any = None, labels: Any = None, ids: Any = None, enqueue_mask: Any = None,
             ref_embeddings: Any = None, ref_labels: Any = None, ref_ids: Any = None,
             relevance: Any = None, gallery: str | None = None,
             offsets: Any = None, list_weight: Any = None,
             lambda_val: float | None = None, margin: float | None = None, lambda_scope: str | None = None,
             lambda_units: str | None = None, gradient_scale: str | None = None, average: str | None = None,
             axis: int | None = None, interclass: float | None = None, weight: str | None = None, gain: str | None = None,
             top_k: int | None = None, normalize: bool | None = None, bank: str | None = None, bank_read: bool | None = None,
             bank_max_age: int | None = None, enqueue: bool | None = None, batch_id: str | None = None,
             gradient: str | bool | OnDevice = "dense", list_loss: bool = False, list_stalled: bool = False,
             **more: Any) -> LossResult:
        """The rank loss `model` (rankd.LOSSES: "ap", "recall", "ndcg", "mrr", …) of a batch, and
        its gradient at unit upstream.

        Either `scores` [Q, N] (float64, float32, float16, BF16) with `targets` [Q, N] (1 relevant,
        0 irrelevant, -1 ignored; any type), or `embeddings` [B, dim] with integer `labels` [B] (-1:
        relevant to nothing). With embeddings, optional: `ids` [B] (a query ignores items with its
        own id; -1 = none), `enqueue_mask` [B] bool, and more items to rank that are not queries:
        `ref_embeddings` [R, dim], `ref_labels` [R], `ref_ids` [R].

        `gallery` "all" (default) or "references": each query ranks the references and the bank, not
        the other queries (queries and documents). It is then the references that are appended to
        the bank, and `enqueue_mask` is [R].
        `relevance` [B, B + R] ([B, R] with gallery "references"), in place of both labels and
        without a bank: a target, as above, of each item for each query; the batch comes before the
        references, and a query's own column is ignored.
        Lists of different lengths come flat, without padding: `scores` [N], `targets` [N] and
        integer `offsets` [Q + 1]; list q is items offsets[q] to offsets[q + 1] - 1, and may be
        empty. `offsets` begin with 0, do not descend and end with N. `axis`, `interclass` and
        `bank` do not go with them. `list_weight` [lists], finite and 0 or more, multiplies the
        weight of each list (with embeddings, of each query) in the loss; 0 skips the list.

        The targets of "ndcg" are grades, 0 irrelevant: whole ones up to 31 with `gain` "exp2"
        (default: a grade is worth 2^grade - 1), any finite number with "linear" (it is worth
        itself; float64 is rounded to float32). `top_k`, for "ap", "ndcg" and "mrr": the loss counts
        ranks up to this one only, its gradient is that of the loss without the cut.

        A parameter that is None is not sent: the default of the daemon applies. `margin` and
        `lambda_val` are in units of the scores.

        `gradient`: "dense" (an array of the shape of the input), "sparse" (indices and values of
        non-zero elements), False (only the loss), or a place on the device (tensors.OnDevice) to
        which a dense gradient is written; scores and targets may be such places too.

        `bank` names a memory bank whose items extend the lists, and to which the batch is appended
        unless `enqueue` is False; a `batch_id` is then generated, so that a repeated attempt
        appends only once. With `bank_read` False the batch is appended and the bank is not ranked;
        `bank_max_age` N leaves out items that are older than the newest N versions.

        `list_loss` asks for the loss of each list, `list_stalled` for it and for the lists that are
        stalled: with a loss above 0, but no irrelevant item changed its rank (only with a
        gradient).

        `more`: further inputs and parameters of the daemon, by their names (rankd._names).
        """
        places = {"gradient": gradient} if isinstance(gradient, OnDevice) else {}
        if not places and not (isinstance(gradient, bool) or (isinstance(gradient, str) and gradient in ("dense", "sparse"))):
            raise ValueError(f"gradient is {gradient!r}; it may be 'dense', 'sparse' or False")
        if gain == "linear":
            targets, relevance = _gains("targets", targets), _gains("relevance", relevance)
        inputs = _inputs(scores, targets, embeddings, labels, ids, enqueue_mask, ref_embeddings, ref_labels, ref_ids,
                         relevance)
        more_inputs, more_parameters = _more(more)
        inputs += _offsets(offsets) + more_inputs
        if list_weight is not None:
            inputs.append(tensor("list_weight", _float32(list_weight), ("FP32",)))
        if bank is not None and enqueue is not False and batch_id is None:
            batch_id = new_batch_id()
        parameters = _parameters(
            {"lambda": lambda_val, "margin": margin, "lambda_scope": lambda_scope, "lambda_units": lambda_units,
             "gradient_scale": gradient_scale, "average": average, "axis": axis, "interclass": interclass, "weight": weight,
             "gain": gain, "top_k": top_k, "normalize": normalize, "gallery": gallery, "bank": bank, "bank_read": bank_read,
             "bank_max_age": bank_max_age, "enqueue": enqueue, "batch_id": batch_id,
             "mark_stalled": True if list_stalled else None, **more_parameters})
        outputs = ["loss"]
        if gradient:
            outputs += ["gradient_indices", "gradient_values"] if gradient == "sparse" else ["gradient"]
            outputs += ["ref_gradient"] if ref_embeddings is not None else []
        outputs += ["list_loss"] if list_loss or list_stalled else []
        # Without a bank a request changes no state; with one its batch_id makes a repetition
        # harmless.
        reply = self._infer(InferRequest(model, inputs, outputs, parameters, places),
                            repeatable=bank is None or enqueue is False or batch_id is not None)
        each, stalled = reply.outputs.get("list_loss"), None
        if each is not None and list_stalled:
            each, stalled = np.abs(each), np.signbit(each) & ~np.isnan(each)
        return LossResult(
            loss=float(_output(reply, "loss").reshape(-1)[0]), gradient=reply.outputs.get("gradient"),
            ref_gradient=reply.outputs.get("ref_gradient"), gradient_indices=reply.outputs.get("gradient_indices"),
            gradient_values=reply.outputs.get("gradient_values"), list_loss=each, list_stalled=stalled,
            info=info_from(reply.parameters), batch_id=batch_id)

    @overload
    def rank(self, scores: Any, *, offsets: Any = None) -> NDArray[Any]: ...
    @overload
    def rank(self, scores: Any, *, offsets: Any = None, ranks: OnDevice) -> None: ...
    def rank(self, scores: Any, *, offsets: Any = None, ranks: OnDevice | None = None) -> NDArray[Any] | None:
        """Ranks (1 = best) of each row of `scores` [Q, N], as int64 [Q, N]: by score, at equal
        scores by index. With `offsets` [Q + 1] (see loss) `scores` are flat, [N], and so are the
        ranks.

        `scores` may be a place on the device (tensors.OnDevice). With a place for `ranks` they are
        written there, and the method returns None.
        """
        places = {"ranks": ranks} if ranks else {}
        reply = self._infer(InferRequest("rank", [tensor("scores", scores, FLOATS), *_offsets(offsets)], ["ranks"], {}, places))
        return None if ranks else _output(reply, "ranks")

    @overload
    def rank_vjp(self, scores: Any, upstream: Any, *, lambda_val: float | None = None, lambda_units: str | None = None,
                 offsets: Any = None) -> NDArray[Any]: ...
    @overload
    def rank_vjp(self, scores: Any, upstream: Any, *, lambda_val: float | None = None, lambda_units: str | None = None,
                 offsets: Any = None, gradient: OnDevice) -> None: ...
    def rank_vjp(self, scores: Any, upstream: Any, *, lambda_val: float | None = None, lambda_units: str | None = None,
                 offsets: Any = None, gradient: OnDevice | None = None) -> NDArray[Any] | None:
        """Blackbox differentiation of the ranking itself: the gradient with respect to `scores`,
        float32 [Q, N].

        `upstream` [Q, N] is d loss / d (rank/n), or d loss / d rank with lambda_units="rank". With
        `offsets` [Q + 1] (see loss) `scores`, `upstream` and the gradient are flat, [N]. `scores`
        and `upstream` may be places on the device (tensors.OnDevice), and so may `gradient`; then
        it is written there, and the method returns None.
        """
        inputs = [tensor("scores", scores, FLOATS), tensor("upstream", _float32(upstream), ("FP32",)), *_offsets(offsets)]
        parameters = _parameters({"lambda": lambda_val, "lambda_units": lambda_units})
        places = {"gradient": gradient} if gradient else {}
        reply = self._infer(InferRequest("rank_vjp", inputs, ["gradient"], parameters, places))
        return None if gradient else _output(reply, "gradient")

    def empty(self, shape: Any, dtype: Any = np.float32) -> np.ndarray:
        """An uninitialised array for inputs. Over shared memory (unix:PATH) the daemon reads it
        without a copy: compute scores into it with `out=`, or as a CPU tensor with
        torch.from_numpy(). Over HTTP it is a plain numpy array."""
        make = getattr(self.transport, "empty", np.empty)
        return make(shape, dtype)

    # ---- about the daemon ----

    @property
    def banks(self) -> Banks:
        """The cross-batch memory banks."""
        return Banks(self)

    def metadata(self, model: str | None = None) -> dict[str, Any]:
        """Name, version and extensions of the daemon, or inputs, outputs and parameters of a
        model."""
        return self._document("GET", f"/v2/models/{segment('model', model)}" if model else "/v2")

    def config(self, model: str) -> dict[str, Any]:
        """The configuration of a model in the format of Triton."""
        return self._document("GET", f"/v2/models/{segment('model', model)}/config")

    def stats(self, model: str | None = None) -> list[dict[str, Any]]:
        """Counts and times per model since the start of the daemon, in the format of Triton."""
        path = f"/v2/models/{segment('model', model)}/stats" if model else "/v2/models/stats"
        return documents(self._document("GET", path).get("model_stats"), "model_stats")

    def models(self) -> list[str]:
        """Names of the models."""
        index = self.control("POST", "/v2/repository/index", repeatable=True)
        return [member(entry, "name", str, "a model") for entry in documents(index, "the index of models")]

    def ready(self) -> bool:
        """True if the daemon takes requests. Neither waits nor raises if it does not answer."""
        try:
            self.transport.call("GET", "/v2/health/ready", b"", self.timeout)
        except RankdError:
            return False
        return True

    def control(self, method: str, path: str, document: Mapping[str, Any] | None = None, *,
                repeatable: bool | None = None) -> Any:
        """A control request with bodies as in the HTTP API, for operations without a method.
        Returns the JSON of the answer, None if it is empty."""
        body = b"" if document is None else json.dumps(document, allow_nan=False).encode()
        answer = with_retries(lambda: self.transport.call(method, path, body, self.timeout), transport=self.transport,
                              what=f"{method} {path}", retry_for=self.retry_for,
                              repeatable=method == "GET" if repeatable is None else repeatable)
        return parse(answer, f"the answer to {method} {path}") if answer else None

    def _document(self, method: str, path: str) -> dict[str, Any]:
        return document(self.control(method, path), f"the answer to {method} {path}")

    def _infer(self, request: InferRequest, repeatable: bool = True) -> InferReply:
        segment("model", request.model)
        return with_retries(lambda: check_reply(self.transport.infer(request, self.timeout), request),
                            transport=self.transport, what=str(request), retry_for=self.retry_for, repeatable=repeatable)


def new_batch_id() -> str:
    """A name for a batch, unique over all trainers."""
    return uuid.uuid4().hex


def _inputs(scores: Any, targets: Any, embeddings: Any, labels: Any, ids: Any, enqueue_mask: Any, ref_embeddings: Any,
            ref_labels: Any, ref_ids: Any, relevance: Any) -> list[Tensor | OnDevice]:
    table = (("scores", scores, FLOATS), ("targets", targets, TARGETS), ("embeddings", embeddings, FLOATS),
             ("labels", labels, LABELS), ("ids", ids, ("INT64",)), ("enqueue_mask", enqueue_mask, ("BOOL",)),
             ("ref_embeddings", ref_embeddings, FLOATS), ("ref_labels", ref_labels, LABELS),
             ("ref_ids", ref_ids, ("INT64",)), ("relevance", relevance, TARGETS))
    inputs = [tensor(name, value, allowed) for name, value, allowed in table if value is not None]
    if not inputs:
        raise TypeError("loss() needs scores and targets, or embeddings= and labels= (or relevance=)")
    return inputs


def _gains(name: str, targets: Any) -> Any:
    """Targets that are gains. They are measurements, so float64, the type of any list of Python, is
    rounded to the float32 that the daemon takes. ValueError for a value beyond float32."""
    if targets is None or isinstance(targets, (OnDevice, BF16)):
        return targets
    array = np.asarray(targets)
    if array.dtype.kind != "f" or array.dtype.itemsize <= 4:
        return array
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    beyond = np.argwhere(np.isinf(narrow) & np.isfinite(array))  # the daemon would see infinities
    if len(beyond):
        raise ValueError(f"{name}{beyond[0].tolist()} is {array[tuple(beyond[0])].item()!r}; it may be a grade from 0 to "
                         f"{np.finfo(np.float32).max:.7g}, or -1 (ignored)")
    return narrow


def _offsets(offsets: Any) -> list[Tensor | OnDevice]:
    """The input `offsets`, if it is given."""
    return [] if offsets is None else [tensor("offsets", offsets, ("INT64",))]


def _float32(value: Any) -> Any:
    """Numbers of any type, rounded to float32, the only type that the daemon takes; a place on the
    device unchanged."""
    return value if isinstance(value, OnDevice) else np.asarray(value, np.float32)


def _more(values: dict[str, Any]) -> tuple[list[Tensor | OnDevice], dict[str, Any]]:
    """Inputs and parameters by the names of the daemon's tables; as everywhere in Python, an
    unknown one is a TypeError."""
    inputs: list[Tensor | OnDevice] = []
    parameters: dict[str, Any] = {}
    for name, value in values.items():
        if name in _names.INPUTS:
            inputs += [] if value is None else [tensor(name, value, _names.INPUTS[name])]
        elif name in _names.PARAMETERS and name != "lambda":  # lambda_val
            parameters[name] = value
        else:
            raise unexpected("loss()", name, Client.loss)
    return inputs, parameters


_SHOWN = {"lambda": "lambda_val"}  # names of arguments where the daemon's is another


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    """The parameters that are not None. JSON has no NaN and no infinity, so they are refused here
    and not by the daemon."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, np.generic):
            value = given[name] = value.item()
        elif not isinstance(value, (bool, int, float, str)):
            value = given[name] = number(_SHOWN.get(name, name), value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{_SHOWN.get(name, name)} is {value}; it must be a finite number")
    return given


def _output(reply: InferReply, name: str) -> NDArray[Any]:
    try:
        return reply.outputs[name]
    except KeyError:
        raise ProtocolError(f"the answer lacks the output {name}") from None
