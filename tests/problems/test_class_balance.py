"""Class-balanced focal loss and macro-F1: against plain formulas, scikit-learn, and where they reach a run."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from reference import class_balance as slow
from sklearn.metrics import f1_score

from plora.backbones import Preparation
from plora.errors import DataError
from plora.problems import Batch
from plora.problems.class_balance import class_weights, focused
from plora.problems.image_classification import ImageClassification
from plora.problems.settings import ClassificationLoss, TextClassificationSettings
from plora.results import SCORES, ClassRankings
from plora.streams.images import ImageArray


def problem(**loss: object) -> ImageClassification:
    made = ImageClassification(Preparation((2, 2), (0.5,), (0.5,)))
    made.loss = ClassificationLoss.model_validate(loss)
    return made


def split(labels: list[int]) -> ImageArray:
    return ImageArray(np.zeros((len(labels), 2, 2, 1), np.uint8), np.array(labels))


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999])
def test_weights(beta: float) -> None:
    counts = [1, 40, 0, 7]
    found = class_weights(np.array(counts), beta)
    np.testing.assert_allclose(found, slow.weights(counts, beta), rtol=1e-6)
    assert found[2] == 0
    assert found[[0, 1, 3]].mean() == pytest.approx(1, rel=1e-6)


def test_ends_of_beta() -> None:
    np.testing.assert_allclose(class_weights(np.array([3, 1, 2]), 1 - 1e-12), np.array([2, 6, 3]) * 3 / 11, rtol=1e-3)
    np.testing.assert_allclose(class_weights(np.array([100_000, 50_000]), 0.9999), [1, 1], rtol=0.01)  # both saturated
    for wrong in ({"beta": 1.0}, {"beta": -0.1}, {"gamma": -1.0}):
        with pytest.raises(ValidationError):
            ClassificationLoss(**wrong)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("beta", [0.0, 0.99])
def test_loss_of_a_batch(gamma: float, beta: float) -> None:
    """Classes 0 and 1 belong to one task, 2 to 4 to another: each is weighed within its own, and competes with it."""
    made = problem(gamma=gamma, beta=beta)
    labels = ([0, 0, 0, 1], [2, 1, 1, 0, 1, 1])
    parts = [made.encode(split(own), first_row) for own, first_row in zip(labels, (0, 2), strict=True)]
    kept = made.restored(parts[1].tensors())
    examples = parts[0].followed_by([kept])
    chosen = np.array([9, 3, 0, 4])
    batch = examples.subset(chosen[::-1].copy()).collate(np.arange(4)[::-1].copy())
    competing = torch.block_diag(torch.ones(2, 2), torch.ones(3, 3)).bool()
    scores = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    found = made.losses({"scores": scores}, batch, competing)["cross_entropy"]
    by_class = [*slow.weights([3, 1], beta), *slow.weights([1, 4, 1], beta)]
    rows = examples.rows[chosen]
    expected = sum(
        slow.loss(z, row, competing[row].tolist(), by_class[row], gamma)
        for z, row in zip(scores.tolist(), rows.tolist(), strict=True)
    )
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert batch.weights == {"cross_entropy": 4}
    if not gamma and not beta:
        everything = scores.masked_fill(~competing[rows], -torch.inf)
        assert torch.equal(found, F.cross_entropy(everything, torch.from_numpy(rows), reduction="none").sum())


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_gradients_stay_finite_where_an_example_is_sure(gamma: float) -> None:
    nats = torch.tensor([0.0, 1e-12, 3.0], requires_grad=True)
    focused(nats, gamma).sum().backward()
    assert nats.grad is not None
    assert torch.isfinite(nats.grad).all()


def test_a_batch_without_weights_counts_one_each() -> None:
    made = problem(gamma=2.0, beta=0.9)
    scores, rows = torch.randn(3, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 1])
    found = made.losses({"scores": scores}, Batch({}, {"rows": rows}), torch.ones(2, 2, dtype=torch.bool))
    expected = sum(
        slow.loss(z, row, [True, True], 1.0, 2.0) for z, row in zip(scores.tolist(), rows.tolist(), strict=True)
    )
    assert found["cross_entropy"].item() == pytest.approx(expected, rel=1e-5)


def test_weights_of_classes_by_name() -> None:
    """They are torch's own weights, summed over examples; a class that no task has is refused."""
    made = problem(class_weights={"rare": 5.0})
    encoded = made.encode(split([0, 1, 1, 0]), 2)
    examples = made.weighed(encoded, ("often", "rare"), 2)
    batch = examples.subset(np.array([3, 1, 2])).collate(np.arange(3))
    scores = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    competing = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).bool()
    found = made.losses({"scores": scores}, batch, competing)["cross_entropy"]
    expected = F.cross_entropy(scores[:, 2:], torch.tensor([0, 1, 1]), torch.tensor([1.0, 5.0]), reduction="sum")
    torch.testing.assert_close(found, expected)
    made.loss.require_classes(["often", "rare"])
    with pytest.raises(DataError, match=r"no task has a class 'rare'; it differs from 'Rare' in case"):
        made.loss.require_classes(["often", "Rare"])
    assert ClassificationLoss.model_validate({"class_weights": {1: 2.0}}).class_weights == {"1": 2.0}
    with pytest.raises(ValidationError, match="a name, in quotes such as 'yes': YAML reads this one as true"):
        ClassificationLoss.model_validate({"class_weights": {True: 2.0}})
    with pytest.raises(ValidationError, match="class_weights and beta both say how much a class weighs"):
        ClassificationLoss(class_weights={"rare": 2.0}, beta=0.9)
    with pytest.raises(ValidationError, match=r"loss\.class_weights weighs them more"):
        TextClassificationSettings(sampling="balanced", loss=ClassificationLoss(class_weights={"rare": 2.0}))


def test_macro_f1_is_scikit_learns_with_declared_labels() -> None:
    """Over the whole set; a declared class that is neither a label nor predicted has no F1, and is left out."""
    generator = np.random.default_rng(0)
    label, said = generator.integers(0, 4, 50), generator.integers(0, 4, 50)
    ranking = np.full((50, 5), -1, np.int32)
    ranking[:, 0] = said
    probabilities = np.zeros((50, 5), np.float32)
    probabilities[:, 0] = 1
    names = ("a", "b", "c", "d", "never")
    record = ClassRankings(
        np.full(50, "t"), np.arange(50, dtype=np.int32), label.astype(np.int32), ranking, probabilities, names
    )
    expected = f1_score(label, said, labels=range(5), average="macro", zero_division=np.nan)
    assert record.value(SCORES["macro_f1"]) == pytest.approx(expected, abs=1e-12)
