# SPDX-License-Identifier: Apache-2.0
"""The state of a loss in a model's state_dict, and the code that handles it: timm, safetensors,
accelerate and torch itself, which know only tensors, and copy, cast and average them."""
import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from rankd.torch import APLoss, RecallLoss, RetrievalLoss, save_bank
from rankd.torch.state import SIZE, pack, unpack

KEY = "crit._extra_state"


class Model(nn.Module):
    """A model that has its loss as a part, and buffers of whole numbers and of floats."""

    def __init__(self, client, steps=0, **options):
        super().__init__()
        self.layer, self.norm = nn.Linear(8, 16), nn.BatchNorm1d(16)
        self.crit = RetrievalLoss("ap", client=client, **options)
        self.crit.schedule.steps = steps

    def forward(self, points, labels):
        return self.crit(self.norm(self.layer(points)), labels)


def training_step(model):
    model(torch.randn(12, 8), torch.arange(12) % 3).backward()


def timm_model_ema():
    """The file of the installed package, without the package itself, whose import needs
    torchvision."""
    package = Path(importlib.util.find_spec("timm").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("timm_model_ema", package / "utils/model_ema.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", [lambda c: APLoss(margin=1.0, client=c), lambda c: RecallLoss(margin=1.0, client=c),
                                  lambda c: RetrievalLoss("ap", client=c)])
def test_a_state_dict_holds_tensors_only(client, kind):
    crit = kind(client)
    state = crit.state_dict()
    assert list(state) == ["_extra_state"] and all(isinstance(value, torch.Tensor) for value in state.values())
    assert {k: v.cpu() for k, v in state.items()}["_extra_state"].shape == (SIZE,)


@pytest.mark.parametrize("name", ["ModelEma", "ModelEmaV2", "ModelEmaV3"])
def test_timms_averages_run_and_leave_the_loss_whole(client, name):
    model = Model(client, steps=41)
    average = getattr(timm_model_ema(), name)(model, decay=0.9)
    for _ in range(3):
        training_step(model)
        average.update(model)
    copied = average.ema if name == "ModelEma" else average.module
    Model(client).load_state_dict(copied.state_dict())  # intact, or it would warn
    assert model.crit.schedule.steps == 44


def test_timms_average_takes_a_loss_that_knows_a_checkpoint_of_its_bank(mortal_client):
    model = Model(mortal_client, bank="tagged")
    average = timm_model_ema().ModelEmaV3(model)
    training_step(model)
    save_bank(model.crit, "t" * 64)
    average.update(model)
    assert unpack(model.state_dict()[KEY])["bank_tag"] == "t" * 64


@pytest.fixture
def mortal_client(mortal):
    import rankd

    with rankd.connect(mortal.url) as client:
        client.banks.create("tagged", dim=16, capacity=64)
        yield client


@pytest.mark.parametrize("use_buffers", [True, False])
def test_torchs_averaged_model_leaves_the_loss_whole(client, use_buffers):
    model = Model(client, steps=7)
    average = AveragedModel(model, use_buffers=use_buffers)
    for _ in range(3):
        training_step(model)
        average.update_parameters(model)
    Model(client).load_state_dict(average.module.state_dict())
    assert average.module.crit.schedule.steps == 7  # as when the copy was made


def test_safetensors_saves_and_loads_a_model_with_its_loss(client, tmp_path):
    from safetensors.torch import load_file, load_model, save_file, save_model

    model = Model(client, steps=12345)
    save_model(model, tmp_path / "model.safetensors")
    other = Model(client)
    assert load_model(other, tmp_path / "model.safetensors") == (set(), [])
    assert other.crit.schedule.steps == 12345
    save_file(model.state_dict(), tmp_path / "dict.safetensors")
    another = Model(client)
    another.load_state_dict(load_file(tmp_path / "dict.safetensors"))
    assert another.crit.schedule.steps == 12345


@pytest.mark.parametrize("safe", [True, False])
def test_accelerate_saves_and_loads_its_state(client, tmp_path, safe):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(Model(client, steps=9), torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
    accelerator.save_state(tmp_path / "state", safe_serialization=safe)
    model.crit.schedule.steps = 0
    accelerator.load_state(tmp_path / "state")
    assert model.crit.schedule.steps == 9


@pytest.mark.parametrize("cast", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_a_cast_rounds_nothing_of_it(client, cast):
    model = Model(client, steps=123456789)
    other = Model(client)
    other.load_state_dict({k: v.to(cast) for k, v in model.state_dict().items()})
    assert other.crit.schedule.steps == 123456789
    assert unpack(model.to(torch.bfloat16).state_dict()[KEY])["steps"] == 123456789


def test_an_average_of_two_states_is_a_fresh_schedule_and_is_said(client):
    states = [Model(client, steps=steps).state_dict() for steps in (10, 21)]
    mixed = {k: (states[0][k].double() + states[1][k].double()) / 2 for k in states[0]}
    other = Model(client, steps=5)
    with pytest.warns(RuntimeWarning, match="average over models: its margin warm-up begins anew"):
        other.load_state_dict(mixed)
    assert other.crit.schedule.steps == 0
    rounded = {k: v.to(torch.uint8) if k == KEY else v for k, v in mixed.items()}
    with pytest.warns(RuntimeWarning, match="average over models"):
        other.load_state_dict(rounded)


def test_a_state_is_of_its_own_memory_and_does_not_change_with_the_training(client):
    model = Model(client, steps=3)
    state = model.state_dict()
    training_step(model)
    other = Model(client)
    other.load_state_dict(state)
    assert other.crit.schedule.steps == 3 and model.crit.schedule.steps == 4


def test_strict_loading_with_and_without_the_loss(client):
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(8, 16), nn.BatchNorm1d(16)

    model, bare = Model(client, steps=50), Bare()
    model.load_state_dict(bare.state_dict())  # a missing key is a fresh schedule
    assert model.crit.schedule.steps == 0
    with pytest.raises(RuntimeError, match="Unexpected key.*crit._extra_state"):
        bare.load_state_dict(Model(client).state_dict())
    assert bare.load_state_dict(Model(client).state_dict(), strict=False).unexpected_keys == [KEY]
    with pytest.raises(RuntimeError, match="Missing key.*layer.weight"):
        model.load_state_dict({KEY: model.state_dict()[KEY]})


def test_persistent_state_false_keeps_it_out_of_the_model(client):
    model = Model(client, steps=50, persistent_state=False)
    assert KEY not in model.state_dict()
    Model(client).load_state_dict(model.state_dict())
    model.load_state_dict(Model(client, steps=3).state_dict())  # one that has it is no error, and changes nothing here
    assert model.crit.schedule.steps == 50
    own = model.crit.get_extra_state()  # to be saved separately
    model.crit.schedule.steps = 0
    model.crit.set_extra_state(own)
    assert model.crit.schedule.steps == 50


@pytest.mark.parametrize("state, steps, stalled",
                         [({"steps": 7, "stalled": 3, "bank_tag": None}, 7, 3), ({"steps": 7}, 7, 0), ({}, 0, 0)])
def test_the_dicts_of_older_checkpoints_are_read(client, state, steps, stalled):
    model = Model(client)
    model.load_state_dict({**model.state_dict(), KEY: state})
    assert (model.crit.schedule.steps, model.crit.learning.streak) == (steps, stalled)
    with pytest.raises(TypeError, match="state of a loss is a list"):
        model.crit.set_extra_state([1])


def test_a_saved_file_is_read_back_as_weights_only_would(client, tmp_path):
    model = Model(client, steps=77)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = Model(client)
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert other.crit.schedule.steps == 77


def test_every_byte_of_a_state_is_guarded():
    state = {"steps": 2**53, "stalled": 2**53, "bank_tag": "t" * 64, "bank": "b" * 64, "bank_version": 2**53,
             "bank_generation": 2**53}
    whole = pack(state)
    assert whole.shape == (SIZE,) and whole.dtype == torch.uint8 and unpack(whole) == state
    for place in range(SIZE):
        other = whole.clone()
        other[place] ^= 1
        assert unpack(other) is None
    for broken in (whole[:4], whole.double() + 0.5, -whole.double(), whole.double() * float("nan"),
                   torch.empty(SIZE, device="meta")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert unpack(broken) is None
