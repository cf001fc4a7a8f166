# SPDX-License-Identifier: Apache-2.0
"""An error names the argument of the call, and the position in what was given, where the daemon has
another name for an input or sees it flat."""
import numpy as np
import pytest
import torch

import rankd
import rankd.torch as rt
from rankd.integrations.detection import RankDetectionLoss, targets_from_labels
from rankd.integrations.metric_learning import RankingLoss
from rankd.integrations.sentence_transformers import BiEncoderLoss, RerankerLoss

NAN = float("nan")
VECTORS, LABELS = torch.eye(4), torch.tensor([0, 0, 1, 1])


def says(sentence, ask, error=ValueError):
    with pytest.raises(error) as refused:
        ask()
    assert str(refused.value).startswith(sentence), refused.value
    return refused.value


def test_references_have_the_name_of_the_argument(client):
    crit = rt.RetrievalLoss("ap", client=client)
    says("input ref_emb has shape [3, 5]; its second dimension must be that of embeddings, 4",
         lambda: crit(VECTORS, LABELS, torch.ones(3, 5), LABELS[:3]), rankd.InvalidRequest)
    says("ref_emb[1, 2] is NaN", lambda: crit(VECTORS, LABELS, torch.where(torch.arange(12).reshape(3, 4) == 6, NAN, 1.0),
                                              LABELS[:3]))
    says("ref_emb is a ndarray; it must be a torch.Tensor", lambda: crit(VECTORS, LABELS, np.ones((3, 4)), LABELS[:3]), TypeError)


def test_a_weight_has_the_name_that_was_used(client):
    crit, scores = rt.APLoss(margin=0, client=client), torch.zeros(2, 3)
    bad = torch.tensor([1.0, -1.0])
    says("weight[1] is -1", lambda: crit(scores, scores, weight=bad))
    says("list_weight[1] is -1", lambda: crit(scores, scores, list_weight=bad))
    says("weight is a list; it must be a torch.Tensor", lambda: crit(scores, scores, weight=[1, 1]), TypeError)
    retrieval, detection = rt.RetrievalLoss("ap", client=client), rt.DetectionAPLoss(classes=3, points=2, batches=0,
        client=client)
    for call, lists in ((lambda **w: retrieval(VECTORS, LABELS, **w), 4), (lambda **w: detection(scores, scores.long(), **w), 3)):
        says("weight[0] is -1", lambda: call(weight=-torch.ones(lists)))
        says("weight and list_weight are the same", lambda: call(weight=torch.ones(lists), list_weight=torch.ones(lists)),
             TypeError)


def test_weights_of_queries_and_of_classes_may_be_called_weight(client):
    crit, weight = rt.RetrievalLoss("ap", margin=0, client=client), torch.tensor([1.0, 0.0, 3.0, 1.0])
    mixed = VECTORS + VECTORS.roll(1, 0) * 0.7
    assert torch.equal(crit(mixed, LABELS, weight=weight), crit(mixed, LABELS, list_weight=weight))
    detection = rt.DetectionAPLoss(classes=4, points=4, batches=0, client=client)
    assert torch.equal(detection(mixed, VECTORS, weight=weight), detection(mixed, VECTORS, list_weight=weight))


def test_a_position_in_a_detectors_batch(client):
    """Of logits [images, places, classes], from which the ignored places were left out."""
    crit = rt.DetectionAPLoss(classes=3, points=20, batches=0, client=client)
    logits, targets = torch.randn(2, 5, 3), torch.zeros(2, 5, 3)
    targets[0, 1:4], targets[1, 0] = -1, -1
    targets[1, 4, 2] = 1
    logits[1, 3, 1] = NAN
    says("logits[1, 3, 1] is NaN", lambda: crit(logits, targets), rankd.InvalidRequest)
    logits[1, 3, 1], targets[1, 2, 0] = 0, 7
    says("targets[1, 2, 0] is 7; it may be 1", lambda: crit(logits, targets))
    head, logits[0, 2, 2] = RankDetectionLoss(classes=3, points=20, batches=0, client=client), NAN
    says("pred[2, 2] is NaN", lambda: head(logits[0], torch.tensor([0, 3, 3, 1, 2])))
    says("avg_factor is -1; it must be the number of positives, 0 or more",
         lambda: head(logits[1], torch.zeros(5).long(), avg_factor=-1))
    says("classes is 0; it must be a whole number, 1 or more", lambda: targets_from_labels(torch.tensor([0]), 0))


def test_a_position_in_a_sequence_of_lists(client):
    crit, pieces = rt.APLoss(margin=0, client=client), [torch.zeros(3), torch.zeros(0), torch.tensor([0.0, NAN])]
    says("scores[2, 1] is NaN", lambda: crit(pieces, [torch.zeros(3), torch.zeros(0), torch.ones(2)]))
    says("targets[0, 2] is 5", lambda: crit([p.nan_to_num() for p in pieces],
                                            [torch.tensor([0, 1, 5]), torch.zeros(0), torch.ones(2)]))
    says("scores[1] is a ndarray; it must be a torch.Tensor", lambda: crit([torch.zeros(3), np.zeros(3)], [torch.zeros(3)] * 2),
         TypeError)
    says("targets has 1 list, and not 2 like scores", lambda: crit([torch.zeros(3)] * 2, [torch.zeros(3)]))
    says("offsets is 'abc'; it must be [Q + 1] whole numbers", lambda: crit(torch.zeros(3), torch.zeros(3), offsets="abc"),
         TypeError)


class Words(torch.nn.Module):
    """A cross-encoder whose scores are lengths."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def tokenizer(self, pairs, **_):
        return {"lengths": torch.tensor([[float(len(text))] for _, text in pairs])}

    def forward(self, lengths):
        return (self.layer(lengths),)


def test_a_grade_of_a_document(client):
    crit, texts = RerankerLoss(Words(), client=client), [["a", "b"], [["x", "yy"], ["z"]]]
    says("labels[1, 0] is 40; it may be a whole grade", lambda: crit(texts, [torch.tensor([1, 0]), torch.tensor([40])]))
    says("labels[0] is [2, 1]; it must be [documents]", lambda: crit(texts, [torch.zeros(2, 1), torch.zeros(1)]))
    says("inputs has 1 column and labels is a list", lambda: crit(texts[:1], [torch.zeros(2)]))
    pairs = BiEncoderLoss(Words(), client=client)
    says("sentence_features is one dict; it must be a list", lambda: pairs({"input_ids": LABELS, "attention_mask": LABELS}),
         TypeError)
    says("labels is a list; it must be a torch.Tensor", lambda: pairs([{"input_ids": LABELS}] * 2, [0, 0]), TypeError)


def test_a_similarity_that_is_none(client):
    crit = RankingLoss("ap", client=client)
    says("distance(embeddings, ref_emb)[0, 1] is NaN", lambda: crit(VECTORS * NAN, LABELS), rankd.InvalidRequest)
    says("labels is a list; it must be a torch.Tensor", lambda: crit(VECTORS, [0, 0, 1, 1]), TypeError)


def test_what_is_no_tensor_has_its_name(client):
    says("scores is a ndarray", lambda: rt.blackbox_rank(np.zeros((1, 2)), client=client), TypeError)
    says("logits are [2, 3]; they must be [..., 4]", lambda: rt.Calibration(4)(torch.zeros(2, 3)))
    says("classes is 0; it must be a whole number", lambda: rt.Calibration(0))
    says("crit is a str; it must be a loss of rankd.torch", lambda: rt.save_bank("x"), TypeError)
    says("line is 3; it must be a function", lambda: rt.monitor(rt.APLoss(margin=0, client=client), line=3), TypeError)


def test_an_error_keeps_its_kind_and_its_cause(client):
    error = says("weight[0] is -1", lambda: rt.APLoss(margin=0, client=client)(torch.zeros(1, 2), torch.zeros(1, 2),
                                                                               weight=-torch.ones(1)))
    assert type(error) is rankd.InvalidRequest and error.code == 400 and error.sentence.startswith("weight[0]")
    assert "list_weight[0]" in str(error.__cause__)
