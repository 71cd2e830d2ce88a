import torch

from bench.training.seeding import derive, seed_step


def test_seeds_are_functions_of_purpose_and_fit_every_generator():
    assert derive(0, "head") == derive(0, "head")
    seeds = {derive(seed, purpose) for seed in range(100) for purpose in ("head", "transfer", "scores")}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_parts_of_a_purpose_do_not_run_together():
    assert derive(1, "ab", "c") != derive(1, "a", "bc")
    assert derive(1, 23) != derive(12, 3)


def test_a_step_has_one_stream():
    seed_step(5, 17)
    first = torch.rand(3)
    seed_step(5, 18)
    torch.rand(3)
    seed_step(5, 17)
    assert torch.equal(first, torch.rand(3))
