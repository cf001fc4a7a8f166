# SPDX-License-Identifier: Apache-2.0
"""rankd.integrations.sentence_transformers inside the real library: small transformers with random
weights, made from a config, and the library's trainers. Nothing is downloaded."""
import os

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", WANDB_MODE="disabled", TOKENIZERS_PARALLELISM="false")

import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer, Trainer, TrainingArguments

import rankd.torch
from bad_uses import refused
from rankd.integrations.sentence_transformers import BiEncoderLoss, RerankerLoss

ANIMALS = ["fox", "cat", "dog", "bee", "ant", "owl", "cow", "hen"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "old", "small", *ANIMALS]
SMALL = {"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
         "max_position_embeddings": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A transformer with its tokenizer, in the layout of a hub."""
    there = tmp_path_factory.mktemp("transformer")
    (there / "words.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    BertModel(BertConfig(**SMALL)).save_pretrained(there)
    BertTokenizer(str(there / "words.txt")).save_pretrained(there)
    return there


@pytest.fixture(scope="module")
def reranker_folder(tmp_path_factory, folder):
    there = tmp_path_factory.mktemp("reranker")
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(**SMALL, num_labels=1)).save_pretrained(there)
    BertTokenizer(str(folder / "words.txt")).save_pretrained(there)
    return there


@pytest.fixture
def encoder(folder):
    part = Transformer(str(folder))
    return SentenceTransformer(modules=[part, Pooling(SMALL["hidden_size"], "mean")], device="cpu")


def pairs():
    return Dataset.from_dict({"anchor": [f"a {one}" for one in ANIMALS], "positive": [f"a red {one}" for one in ANIMALS],
                              "negative": [f"old {one}" for one in reversed(ANIMALS)]})


def fit(encoder, loss, folder, steps=25, **more):
    settings = SentenceTransformerTrainingArguments(str(folder), max_steps=steps, per_device_train_batch_size=8,
                                                    learning_rate=5e-3, report_to=[], logging_steps=1, save_strategy="no",
                                                    use_cpu=True, **more)
    trainer = SentenceTransformerTrainer(encoder, settings, train_dataset=pairs(), loss=loss)
    trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize("parts", [None, 3])
def test_the_librarys_trainer_trains_a_bi_encoder(encoder, client, tmp_path, parts):
    loss = BiEncoderLoss(encoder, margin=0.02, margin_warmup=0, gradient_scale="unit", mini_batch_size=parts, client=client)
    told = fit(encoder, loss, tmp_path)
    assert sum(told[-3:]) < 0.6 * sum(told[:3]), told
    assert loss.info.lists == 8


def test_the_trainer_saves_a_model_that_loads_again(encoder, client, tmp_path):
    loss = BiEncoderLoss(encoder, margin=0.02, client=client)
    fit(encoder, loss, tmp_path / "run", steps=2)
    encoder.save(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    torch.testing.assert_close(again.encode("a fox", convert_to_tensor=True), encoder.encode("a fox", convert_to_tensor=True))
    assert "rankd" not in "".join(again.state_dict())


def test_a_bank_and_gradient_accumulation(encoder, client, tmp_path):
    client.banks.create("texts", dim=SMALL["hidden_size"], capacity=100, durability="none")
    loss = BiEncoderLoss(encoder, bank="texts", bank_start=0, client=client)
    fit(encoder, loss, tmp_path, steps=3, gradient_accumulation_steps=2)
    assert client.banks.get("texts").items == 48 and loss.rank.schedule.steps == 3  # an epoch has one batch
    client.banks.delete("texts")


def test_the_gradient_of_small_parts_is_that_of_the_whole(encoder, client):
    features = [encoder.preprocess([f"a {one}" for one in ANIMALS]), encoder.preprocess([f"a red {one}" for one in ANIMALS])]
    encoder.eval()  # no dropout
    gradients = []
    for parts in (None, 3):
        encoder.zero_grad()
        loss = BiEncoderLoss(encoder, margin=0.02, margin_warmup=0, mini_batch_size=parts, client=client)
        loss.train()
        encoder.eval()
        loss(features, None).backward()
        gradients.append([one.grad.clone() for one in encoder.parameters() if one.grad is not None])
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert any(one.any() for one in gradients[0])


def test_the_librarys_trainer_trains_a_cross_encoder(reranker_folder, client, tmp_path):
    model = CrossEncoder(str(reranker_folder), num_labels=1, device="cpu")
    rows = {"query": [f"a {one}" for one in ANIMALS], "docs": [[f"red {one}", f"old {ANIMALS[i - 1]}", f"small {ANIMALS[i - 2]}"]
                                                              for i, one in enumerate(ANIMALS)],
            "labels": [[2, 0, 1]] * len(ANIMALS)}
    loss = RerankerLoss(model, "ndcg", margin=0.1, gradient_scale="unit", client=client)
    settings = CrossEncoderTrainingArguments(str(tmp_path), max_steps=30, per_device_train_batch_size=8, learning_rate=5e-3,
                                             report_to=[], logging_steps=1, save_strategy="no", use_cpu=True)
    trainer = CrossEncoderTrainer(model, settings, train_dataset=Dataset.from_dict(rows), loss=loss)
    trainer.train()
    told = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert sum(told[-3:]) < 0.6 * sum(told[:3]), told
    assert loss.info.lists == 8
    scores = model.predict([("a fox", "red fox"), ("a fox", "old hen")])
    assert scores[0] > scores[1]


def test_what_cannot_be_honoured_is_refused_on_the_real_models(encoder, reranker_folder, client, tmp_path):
    one = encoder.preprocess(["a fox", "a cat"])
    loss = BiEncoderLoss(encoder, client=client)
    cases = [
        (lambda: loss([one], None), "sentence_features has 1 column; it must have two or more"),
        (lambda: loss([one, encoder.preprocess(["a bee"])], None), r"sentence_features has columns of \[2, 1\] texts; all must "
                                                                   r"be of one length"),
        (lambda: loss([one, one], torch.tensor([0.3, 0.9])), "labels holds .*; pairs need none"),
        (lambda: BiEncoderLoss(encoder, labelled=True, client=client)([one, one], None), "labels is None; with labelled=True"),
        (lambda: BiEncoderLoss(encoder, "map", client=client), "'map'"),
        (lambda: BiEncoderLoss(encoder, gallery="all", client=client), "gallery is given; anchors rank documents here"),
        (lambda: BiEncoderLoss(encoder, mini_batch_size=0, client=client), "mini_batch_size is 0; it must be a whole number, 1 "
                                                                           "or more"),
        (lambda: BiEncoderLoss(encoder, bank="missing", bank_start=0, client=client)([one, one], None), "bank 'missing'|missing"),
        (lambda: BiEncoderLoss(encoder, temperature=0.05, client=client), "temperature"),
        (lambda: BiEncoderLoss("a model", client=client)([one, one], None), "model is a str; it must be a torch.nn.Module"),
    ]
    refused(cases)
    model = CrossEncoder(str(reranker_folder), num_labels=1, device="cpu")
    rerank = RerankerLoss(model, client=client)
    BertForSequenceClassification(BertConfig(**SMALL, num_labels=2)).save_pretrained(tmp_path)
    BertTokenizer.from_pretrained(reranker_folder).save_pretrained(tmp_path)
    texts, grades = [["a fox"], [["red fox", "old hen"]]], [torch.tensor([1, 0])]
    assert rerank(texts, grades).item() >= 0
    cases = [
        (lambda: RerankerLoss(CrossEncoder(str(tmp_path), num_labels=2, device="cpu"), client=client),
         "num_labels=2; it must be 1"),
        (lambda: rerank([["a fox"], ["red fox"]], torch.tensor([1.0])), "labels is a Tensor"),
        (lambda: rerank(texts, [torch.tensor([1])]), r"1 queries with \[2\] documents, and labels has \[1\] grades"),
        (lambda: rerank([["a fox"]], grades), "inputs has 1 column "),
        (lambda: rerank(texts, [[1, 0]]), r"labels\[0\] is a list; it must be a torch.Tensor"),
        (lambda: rerank(texts, [torch.tensor([1.5, 0.0])]), "1.5"),
        (lambda: rerank([["a fox"], ["red fox"]], [torch.tensor([1])]), r"documents of query 0 are a str; they must be a list of "
                                                                        r"texts"),
        (lambda: RerankerLoss(model, mini_batch_size=-1, client=client), "mini_batch_size is -1"),
        (lambda: RerankerLoss(model, bank="x", client=client), "bank"),
    ]
    refused(cases)
    assert rerank(texts, grades, prompt="small ").item() >= 0


class Classes(torch.nn.Module):
    """A model of the Trainer's kind: it returns its loss."""

    def __init__(self, client):
        super().__init__()
        self.layer, self.crit = torch.nn.Linear(4, 1), rankd.torch.APLoss(margin=0.1, gradient_scale="unit", client=client)

    def forward(self, x, labels):
        scores = self.layer(x).squeeze(-1)
        return {"loss": self.crit(scores, labels), "logits": scores}


def test_the_trainer_of_transformers_trains_saves_and_resumes(client, tmp_path):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(64, 20, 4, generator=rng)
    data = [{"x": row, "labels": (row[:, 0] > 0.8).int()} for row in x]
    told = []
    for resume in (False, True):
        torch.manual_seed(0)
        model = Classes(client)
        settings = TrainingArguments(str(tmp_path), max_steps=24 if resume else 12, per_device_train_batch_size=16,
                                     learning_rate=0.1, report_to=[], logging_steps=1, save_steps=12, use_cpu=True,
                                     label_names=["labels"])
        trainer = Trainer(model, settings, train_dataset=data)
        trainer.train(resume_from_checkpoint=resume)
        told = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert model.crit.schedule.steps == 24 and sum(told[-3:]) < 0.5 * sum(told[:3]), told
