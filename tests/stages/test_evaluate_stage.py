"""Numbers of the evaluate stage against a recomputation from the stored files alone."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from bench import models
from bench.data import sources
from bench.spec import Word


@pytest.fixture(scope="module")
def computed(lab, pick):
    """Transfer artifact and {metric: artifact} of the fine-tuned OMP ticket of round 3."""
    planned = lab.plan(
        source=["digit_glyphs"], dataset=["digits"], transfer=["finetune"], evaluate=["accuracy", "pgd"], override={"attack": {"steps": 3, "epsilon_255": 32}},
    )  # fmt: skip
    stages = pick(planned, pruner="omp")
    metrics = {planned.stages[key].parameters.metric.name: lab.artifact(planned, key) for key in stages.evaluate}
    return lab.artifact(planned, stages.transfer), metrics


def stored_state(folder):
    """The network's tensors from sparse.safetensors and the packed bits of mask.safetensors, by numpy alone."""
    values, bits = load_file(folder / "sparse.safetensors"), load_file(folder / "mask.safetensors")
    for name in {key.split(":")[0] for key in bits}:
        shape = tuple(bits[f"{name}:shape"])
        whole = np.zeros(np.prod(shape), dtype=np.float32)
        whole[np.unpackbits(bits[f"{name}:bits"])[: whole.size] == 1] = values[name]
        values[name] = whole.reshape(shape)
    return {name: torch.from_numpy(np.array(value)) for name, value in values.items()}


@pytest.fixture(scope="module")
def recomputed(computed):
    """(logits, labels) of the test images, read from their source and not from the prepared files."""
    transfer, _ = computed
    body = models.build(Word("resnet8"), classes=10, mean=(0.0,) * 3, std=(1.0,) * 3, seed=1).body.eval()
    body.load_state_dict(stored_state(transfer.path))
    images = sources.digits("test", transfer.path)
    pixels = np.stack([images.image(i) for i in range(len(images.labels))])
    with torch.no_grad():
        logits = body((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5).double()
    return logits.numpy(), images.labels


def test_accuracy_and_likelihood_equal_a_recomputation_from_the_stored_files(computed, recomputed):
    metrics = computed[1]["accuracy"].json("metrics.json")
    logits, labels = recomputed
    correct = logits.argmax(axis=1) == labels
    shifted = logits - logits.max(axis=1, keepdims=True)
    nll = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(500), labels]
    assert metrics["n_examples"] == len(labels) == 500
    assert metrics["metrics"]["accuracy"] == correct.mean()
    # The normaliser is applied in another order of operations: single precision, some ten layers.
    examples = load_file(computed[1]["accuracy"].file("examples.safetensors"))
    np.testing.assert_array_equal(examples["correct"], correct)
    np.testing.assert_allclose(examples["nll"], nll, rtol=1e-3, atol=1e-4)
    # A network that learned nothing would make this comparison empty.
    assert 0.15 < correct.mean() < 1


@pytest.mark.parametrize(("metric", "number"), [("accuracy", "accuracy"), ("pgd", "pgd_accuracy")])
def test_the_examples_stored_average_to_the_number_reported(computed, metric, number):
    artifact = computed[1][metric]
    correct = load_file(artifact.file("examples.safetensors"))["correct"]
    assert correct.shape == (500,)
    assert correct.mean() == artifact.json("metrics.json")["metrics"][number]


def test_an_attack_only_breaks_what_was_right(computed):
    clean, robust = (
        load_file(computed[1][metric].file("examples.safetensors"))["correct"] for metric in ("accuracy", "pgd")
    )
    assert (robust <= clean).all()
    assert robust.sum() < clean.sum()


def test_the_achieved_sparsity_travels_with_the_numbers(computed):
    for artifact in computed[1].values():
        ticket = artifact.json("metrics.json")["ticket"]
        counts = {"kept", "prunable", "sparsity", "parameters", "dense_parameters", "macs", "dense_macs"}
        assert set(ticket) == counts
        assert ticket["sparsity"] == pytest.approx(1 - 0.8**3, abs=1e-4)
