"""Tickets of files in the prune stage."""

import dataclasses

import pytest
import torch

from bench import models
from bench.spec import Prunable, Word, make_stage
from bench.stages import weights

RESNET8 = models.build(Word("resnet8"), classes=10, mean=(0.0,) * 3, std=(1.0,) * 3, seed=0)
# What the demo's protocol prunes: every convolution but the first.
NAMES = models.prunable(RESNET8, Prunable(first_conv=False))


def bits(sparsity):
    """Masks by name that keep the first weights of every layer, as few as the sparsity says."""
    state = models.state(RESNET8)
    kept = {name: round((1 - sparsity) * state[name].numel()) for name in NAMES}
    return {name: (torch.arange(state[name].numel()) < kept[name]).float().view_as(state[name]) for name in NAMES}


def published(path, sparsity):
    """A checkpoint of a released script: masked state, the masks, the weights that they were found from."""
    masks = {f"{name}_mask": mask for name, mask in bits(sparsity).items()}
    torch.save({"state_dict": models.state(RESNET8), "mask": masks, "init_weight": models.state(RESNET8)}, path)


@pytest.fixture
def planned(lab, pick, tmp_path):
    """(sparsity of the file) -> the ticket's stage, the pre-training computed; the file is 3.pt."""

    def planned(sparsity):
        published(tmp_path / "3.pt", sparsity)
        found = lab.plan(pruner=[f"ticket(path={tmp_path}/{{round}}.pt)"])
        (key,) = {
            stages.ticket
            for cell, stages in zip(found.grid.cells, found.cells, strict=True)
            if cell.pruner.name == "ticket"
        }
        for _, source in found.stages[key].inputs:
            lab.artifact(found, source)
        return found.stages[key]

    return planned


def test_the_mask_is_that_of_the_file(lab, planned):
    artifact = lab.compute(planned(1 - 0.8**3))
    mask = weights.load_masks(artifact)
    assert set(mask) == set(NAMES)
    for name, expected in bits(1 - 0.8**3).items():
        assert mask[name].equal(expected.bool())
    assert artifact.json("ticket.json")["sparsity"] == pytest.approx(1 - 0.8**3, abs=1e-4)


def test_a_file_of_another_sparsity_fails_with_both_numbers(lab, planned, tmp_path):
    outcome, _ = lab.afresh(planned(0.2), tmp_path / "runs")
    assert outcome.status == "failed"
    assert f"{tmp_path}/3.pt holds a mask of sparsity 0.2000, the cell asks for 0.4880" in outcome.message
    assert "give the file of that round" in outcome.message


def test_a_file_replaced_after_planning_is_refused(lab, planned, tmp_path):
    stage = planned(1 - 0.8**3)
    published(tmp_path / "3.pt", 0.5)
    outcome, _ = lab.afresh(stage, tmp_path / "runs")
    assert outcome.status == "failed"
    assert "3.pt was replaced after this stage was planned; submit again to plan anew" in outcome.message
    (tmp_path / "3.pt").unlink()
    outcome, _ = lab.afresh(stage, tmp_path / "again")
    assert "3.pt cannot be read (No such file or directory); put it back, or submit again" in outcome.message


def test_where_the_file_lies_changes_no_key(lab, planned, tmp_path):
    stage = planned(1 - 0.8**3)
    assert stage.parameters.path == f"{tmp_path}/3.pt"
    moved = dataclasses.replace(stage.parameters, path="/elsewhere.pt")
    assert make_stage("prune", moved, dict(stage.inputs)).key == stage.key
