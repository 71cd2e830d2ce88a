"""The training loop on a toy whose every step is quick."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from bench.models.body import Body
from bench.models.network import Network
from bench.objectives import supervised
from bench.spec import Attack, Recipe
from bench.training import checkpoint
from bench.training.loop import Diverged, Interrupted, Run, train
from bench.training.optimizers import learning_rate
from bench.training.seeding import seed_step

RECIPE = Recipe(epochs=3, batch_size=8, lr=0.1, schedule="cosine", warmup_epochs=1)


@dataclass
class Batch:
    inputs: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor


class Toy:
    """20 random vectors in batches of 8, their order a function of the epoch."""

    n_examples, steps_per_epoch = 20, 3

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(20, 5, generator=generator), torch.randint(0, 3, (20,), generator=generator)

    def batches(self, epoch, start_step=0):
        order = torch.from_numpy(np.random.default_rng((7, epoch)).permutation(20))
        for chosen in order.split(8)[start_step:]:
            yield Batch(self.x[chosen], self.y[chosen], chosen)


def network():
    torch.manual_seed(1)
    # Dropout and batch normalisation: both have state that a resume must restore.
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def accuracy(model):
    toy = Toy()
    return float((model(toy.x).argmax(1) == toy.y).float().mean())


VALIDATE = {"validation_accuracy": accuracy, "robust_validation_accuracy": lambda model: 1 - accuracy(model)}


def fit(tmp_path, recipe=RECIPE, stop_at=None, **options):
    """Train; with stop_at, stop after that many looks at the stop flag and go on in a fresh network, as a new process would."""
    looks = 0

    def stop():
        nonlocal looks
        looks += 1
        return looks == stop_at

    model = network()
    run = Run(scratch=tmp_path, stop=stop)
    try:
        history = train(
            model, Toy(), recipe, loss=supervised.loss, seed=3, run=run, validate=VALIDATE, **options
        ).history
    except Interrupted:
        model = network()
        history = train(
            model, Toy(), recipe, loss=supervised.loss, seed=3, run=Run(scratch=tmp_path), validate=VALIDATE, **options
        ).history
    return model, history


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("select", [("last",), ("best_validation", "best_robust_validation")])
def test_a_resumed_run_ends_bit_identical_wherever_it_stopped(tmp_path, optimizer, select):
    recipe = replace(RECIPE, optimizer=optimizer, select=select, validation_attack=Attack())
    whole, whole_history = fit(tmp_path / "whole", recipe)
    # A look at the stop flag after each of 9 steps but the very last; the tenth look never comes.
    for stop_at in range(1, 10):
        resumed, history = fit(tmp_path / f"{stop_at}", recipe, stop_at)
        assert history == whole_history, stop_at
        for name, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), (stop_at, name)


def test_a_damaged_checkpoint_costs_a_fresh_start_and_no_number(tmp_path):
    whole, _ = fit(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(network(), Toy(), RECIPE, loss=supervised.loss, seed=3, run=Run(scratch=tmp_path, stop=lambda: True))
    (tmp_path / checkpoint.NAME).write_bytes((tmp_path / checkpoint.NAME).read_bytes()[:100])
    again, _ = fit(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_training_learns_and_records_every_epoch(tmp_path):
    model, history = fit(tmp_path, replace(RECIPE, epochs=60, lr=0.2))
    assert [record["epoch"] for record in history] == list(range(1, 61))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["validation_accuracy"] == accuracy(model) > 0.6
    assert not model.training


def test_best_validation_returns_the_network_of_the_best_epoch(tmp_path):
    model, states, _ = selected(tmp_path, select=("best_validation",))
    # Of equal values the earlier epoch.
    assert same(model.state_dict(), states[1])


def selected(tmp_path, **fields):
    """The network after six epochs of these clean and robust accuracies, its states by epoch, and what was trained."""
    recipe = replace(RECIPE, epochs=6, validation_attack=Attack(), **fields)
    clean, robust = iter([0.1, 0.9, 0.3, 0.9, 0.2, 0.1]), [0.8, 0.1, 0.2, 0.3, 0.7, 0.2]
    states = []

    def validate(model):
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(clean)

    validators = {"validation_accuracy": validate, "robust_validation_accuracy": lambda _: robust[len(states) - 1]}
    model = network()
    trained = train(model, Toy(), recipe, loss=supervised.loss, seed=3, run=Run(scratch=tmp_path), validate=validators)
    return model, states, trained


def same(left, right):
    return all(torch.equal(value, right[name]) for name, value in left.items())


def test_every_selection_of_a_recipe_is_kept_and_the_first_is_the_network(tmp_path):
    model, states, trained = selected(tmp_path, select=("best_validation", "best_robust_validation", "last"))
    assert same(model.state_dict(), states[1])
    assert same(trained.others["best_robust_validation"], states[0])
    assert same(trained.others["last"], states[5])
    assert [record["robust_validation_accuracy"] for record in trained.history] == [0.8, 0.1, 0.2, 0.3, 0.7, 0.2]


def test_no_epoch_before_the_first_that_may_be_selected_is_validated(tmp_path):
    _, states, trained = selected(tmp_path, select=("best_robust_validation", "best_validation"), select_from=4)
    assert len(states) == 3
    assert ["validation_accuracy" in record for record in trained.history] == [False] * 3 + [True] * 3


def test_training_may_end_before_its_schedule_does(tmp_path):
    """What early rewinding returns to: the first epochs of the whole recipe, not a shorter recipe."""
    part, history = fit(tmp_path / "part", epochs=2)
    whole, whole_history = fit(tmp_path / "whole")
    assert [record["lr"] for record in history] == [record["lr"] for record in whole_history[:2]]
    assert [record["loss"] for record in history] == [record["loss"] for record in whole_history[:2]]
    assert not same(part.state_dict(), whole.state_dict())


def test_frozen_training_moves_only_the_given_parameters_and_no_statistics(tmp_path):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(
        model, Toy(), RECIPE, loss=supervised.loss, seed=3, run=Run(scratch=tmp_path),
        parameters=list(model[4].parameters()), frozen=True,
    )  # fmt: skip
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"4.weight", "4.bias"}


def test_no_epochs_leave_the_network_as_it_was(tmp_path):
    model, history = fit(tmp_path, replace(RECIPE, epochs=0))
    assert history == []
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in network().state_dict().items())


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    with pytest.raises(Diverged, match="the training loss became nan in epoch 1 of 3; lower the learning rate"):
        fit(tmp_path, replace(RECIPE, lr=1e30))


def test_learning_rates_by_hand():
    recipe = Recipe(epochs=10, lr=1.0, schedule="constant", warmup_epochs=1)
    assert [learning_rate(recipe, step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    step = replace(recipe, schedule="step", warmup_epochs=0, milestones=(2, 5), gamma=0.1)
    assert [learning_rate(step, k, 4) for k in (0, 7, 8, 19, 20)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    cosine = replace(recipe, schedule="cosine", warmup_epochs=0)
    assert [learning_rate(cosine, k, 4) for k in (0, 20, 40)] == pytest.approx([1, 0.5, 0], abs=1e-12)
    linear = replace(recipe, schedule="linear", warmup_epochs=0)
    assert [learning_rate(linear, k, 4) for k in (0, 10, 40)] == pytest.approx([1, 0.75, 0])


def test_the_global_generator_decides_nothing(tmp_path):
    torch.manual_seed(11)
    one, _ = fit(tmp_path / "a")
    model = network()
    torch.manual_seed(12)
    train(model, Toy(), RECIPE, loss=supervised.loss, seed=3, run=Run(scratch=tmp_path / "b"), validate=VALIDATE)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in one.state_dict().items())


def test_no_batches_are_an_error_and_no_untrained_network(tmp_path):
    class Empty(Toy):
        n_examples, steps_per_epoch = 3, 0

    with pytest.raises(ValueError, match="3 examples make no batch of 8 with drop_last; lower batch_size"):
        train(network(), Empty(), RECIPE, loss=supervised.loss, seed=3, run=Run(scratch=tmp_path))


def test_a_checkpoint_of_another_number_of_threads_is_not_used(tmp_path):
    _, history = fit(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(network(), Toy(), RECIPE, loss=supervised.loss, seed=4, run=Run(scratch=tmp_path, stop=lambda: True))
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        # The checkpoint is of seed 4: had it been used, the first step would differ.
        assert fit(tmp_path)[1][0] == pytest.approx(history[0])
    finally:
        torch.set_num_threads(threads)


def test_a_stop_at_the_end_of_an_epoch_is_saved_before_anything_is_told(tmp_path):
    looks = iter(range(100))

    def gone(record):
        raise BrokenPipeError

    # Two steps within the epoch, then its end.
    run = Run(scratch=tmp_path, stop=lambda: next(looks) == 2, progress=gone)
    with pytest.raises(Interrupted):
        train(network(), Toy(), RECIPE, loss=supervised.loss, seed=3, run=run)
    assert (checkpoint.load(tmp_path) or {})["step"] == 3


class Bodied(nn.Module):
    """A network as masks know it."""

    def __init__(self, body):
        super().__init__()
        self.body, self.label = body, "toy"

    def forward(self, x):
        return self.body(x)


def test_steps_scaled_by_the_norm_of_a_gradient_leave_out_what_is_pruned(tmp_path):
    """Reference: a hook takes the pruned weights out of the gradient as soon as there is one."""
    mask = {"0.weight": torch.rand(16, 5, generator=torch.Generator().manual_seed(5)) < 0.3}
    recipe = replace(RECIPE, optimizer="lars", lr=5.0)
    ends = []
    for hooked in (False, True):
        model = Bodied(network())
        weight = model.body[0].weight
        if hooked:
            weight.register_hook(lambda gradient: gradient * mask["0.weight"])
        train(model, Toy(), recipe, loss=supervised.loss, seed=3, run=Run(scratch=tmp_path / str(hooked)), masks=mask)
        assert (weight[~mask["0.weight"]] == 0).all()
        ends.append(weight.detach().clone())
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], network()[0].weight * mask["0.weight"])


def test_an_epoch_may_end_after_some_of_its_steps(tmp_path):
    """The first two of three batches of each epoch's own order; the schedule is laid over what is trained."""
    recipe = replace(RECIPE, epoch_steps=2, warmup_epochs=0.0, schedule="linear")
    model, history = fit(tmp_path / "whole", recipe)
    by_hand = network()
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for step in range(6):
        epoch, position = divmod(step, 2)
        batch = list(Toy().batches(epoch))[position]
        seed_step(3, step)
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 6)
        loss = nn.functional.cross_entropy(by_hand.train()(batch.inputs), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), by_hand.parameters(), strict=True))
    again, _ = fit(tmp_path / "stopped", recipe, stop_at=3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_more_steps_than_an_epoch_has_are_all_of_them(tmp_path):
    ours, theirs = (fit(tmp_path / str(n), replace(RECIPE, epoch_steps=n))[0] for n in (3, 100))
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("clip", [0.01, 100.0])
def test_the_gradient_is_no_longer_than_the_recipe_says(tmp_path, clip):
    """One step of plain descent moves the weights by at most lr times the norm, exactly so where it is clipped."""
    recipe = Recipe(
        epochs=1,
        epoch_steps=1,
        batch_size=8,
        lr=0.5,
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
        clip_norm=clip,
    )
    model, _ = fit(tmp_path, recipe)
    moved = torch.cat([(a - b).flatten() for a, b in zip(model.parameters(), network().parameters(), strict=True)])
    length = float(moved.norm()) / 0.5
    assert length == pytest.approx(clip, rel=1e-3) if clip < 1 else length < clip


def test_pruned_weights_are_no_part_of_the_norm_that_is_clipped(tmp_path):
    """Kept weights move as if the pruned ones were not there: by lr times the norm in all."""
    torch.manual_seed(1)
    body = Body(module=nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3)), head="2", reads="texts")
    model = Network(body, label="toy", mean=(), std=())
    masks = {"0.weight": torch.arange(80).view(16, 5) % 10 == 0}
    before = [p.detach().clone() for p in model.parameters()]
    before[0] *= masks["0.weight"]
    recipe = Recipe(
        epochs=1,
        epoch_steps=1,
        batch_size=8,
        lr=0.5,
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
        clip_norm=0.01,
    )
    train(model, Toy(), recipe, loss=supervised.loss, seed=3, run=Run(scratch=tmp_path), masks=masks)
    moved = torch.cat([(a.detach() - b).flatten() for a, b in zip(model.parameters(), before, strict=True)])
    assert float(moved.norm()) == pytest.approx(0.5 * 0.01, rel=1e-3)
