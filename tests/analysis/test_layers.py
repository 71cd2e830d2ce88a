import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.frame import frame
from analysis.layers import LAYERS_COLUMNS, kernel_map, layers, read, tickets
from bench.masks import pack
from bench.store import CorruptArtifact, StoreError


def convolution():
    """(2, 3, 2, 2): output 0 keeps one weight of input 0 and all of input 2; output 1 keeps nothing."""
    mask = torch.zeros(2, 3, 2, 2, dtype=torch.bool)
    mask[0, 0, 1, 0] = True
    mask[0, 2] = True
    return mask


MASKS = {"layer10.weight": torch.tensor([[True, False, True]]), "layer2.weight": convolution()}


def test_a_layer_is_counted_by_weights_kernels_and_channels(row, store):
    store.put("t-omp-0.9", {"mask.safetensors": pack(MASKS)})
    found = layers(frame([row(value=0.5)], grid="toy"), store).set_index("layer")
    counts = ["position", "kept", "total", "kernels", "zero_kernels", "channels", "zero_channels"]
    assert found.loc["layer2.weight", counts].tolist() == [0, 5, 24, 6, 4, 2, 1]
    assert found.loc["layer2.weight", "layer_sparsity"] == pytest.approx(19 / 24)
    # A matrix has no kernels; layer10 comes after layer2.
    assert found.loc["layer10.weight", ["position", "kept", "total", "channels", "zero_channels"]].tolist() == [
        1,
        2,
        3,
        1,
        0,
    ]
    assert found.loc["layer10.weight", ["kernels", "zero_kernels"]].isna().all()


def test_masks_are_those_that_were_packed(store):
    generator = torch.Generator().manual_seed(0)
    masks = {
        f"l{i}": torch.rand(shape, generator=generator) < 0.3 for i, shape in enumerate([(5, 3, 3, 3), (7, 11), (4,)])
    }
    store.put("t", {"mask.safetensors": pack(masks)})
    found = read(store, "t")
    assert {name: mask.kept for name, mask in found.items()} == {name: int(mask.sum()) for name, mask in masks.items()}
    for name, mask in masks.items():
        np.testing.assert_array_equal(found[name].unpacked(), mask.numpy())


def test_a_kernel_map_counts_the_weights_of_every_kernel(store):
    store.put("t", {"mask.safetensors": pack(MASKS)})
    assert kernel_map(store, "t", "layer2.weight").tolist() == [[1, 0, 4], [0, 0, 0]]
    assert kernel_map(store, "t", "layer10.weight").tolist() == [[1, 0, 1]]
    with pytest.raises(ValueError, match=r'ticket t masks no layer "conv1" \(known: layer2.weight, layer10.weight\)'):
        kernel_map(store, "t", "conv1")


def test_a_classifier_comes_after_the_features_it_reads(store):
    names = ["classifier.0.weight", "features.10.weight", "features.3.weight"]
    store.put("t", {"mask.safetensors": pack({name: torch.ones(1, 1, dtype=torch.bool) for name in names})})
    assert list(read(store, "t")) == ["features.3.weight", "features.10.weight", "classifier.0.weight"]


def test_a_ticket_that_cannot_be_read_is_a_row_with_a_reason(row, store):
    store.put("t-omp-0.9", {"mask.safetensors": pack(MASKS)})
    (store.folder("t-omp-0.9") / "mask.safetensors").write_bytes(b"")
    found = layers(frame([row(value=0.5), row("imp", status="missing")], grid="toy"), store).set_index("ticket")
    assert found["kept"].isna().all()
    assert "is corrupt: mask.safetensors has 0 bytes" in found.loc["t-omp-0.9", "note"]
    assert "it has not been computed" in found.loc["t-imp-0.9", "note"]


def test_bits_that_do_not_fit_the_shape_and_artifacts_that_are_no_tickets_are_refused(store):
    store.put("short", {"mask.safetensors": {"a:bits": np.zeros(1, np.uint8), "a:shape": np.array([3, 3])}})
    with pytest.raises(CorruptArtifact, match=r"the bits of a do not fit its shape \(3, 3\)"):
        read(store, "short")
    store.put("shapeless", {"mask.safetensors": {"a:bits": np.zeros(1, np.uint8)}})
    with pytest.raises(CorruptArtifact, match=r"unreadable \('a:shape'\)"):
        read(store, "shapeless")
    store.put("weights")
    with pytest.raises(StoreError, match=r"has no mask.safetensors: it is not a ticket"):
        read(store, "weights")


def test_names_say_what_found_a_ticket_and_not_where_it_went(row):
    def ticket(key, *args, **axes):
        return dataclasses.replace(row(*args, value=0.5, **axes), ticket=key)

    rows = [ticket("i", "imp", seed=seed, dataset=dataset) for seed in (0, 1) for dataset in ("digits", "svhn")]
    rows += [ticket(f"d{dataset}", "imp(on=downstream)", dataset=dataset) for dataset in ("digits", "svhn")]
    rows += [ticket(f"r{seed}", "random", seed=seed) for seed in (0, 1)]
    found = tickets(frame(rows, grid="toy")).set_index("ticket")["name"].to_dict()
    assert found == {
        "i": "imp",
        "ddigits": "imp(on=downstream), dataset digits",
        "dsvhn": "imp(on=downstream), dataset svhn",
        "r0": "random, seed 0",
        "r1": "random, seed 1",
    }


def test_dense_networks_are_no_tickets_and_no_store_means_no_rows(row, store):
    table = frame([row("dense", 0.0, value=0.5)], grid="toy")
    for found in (layers(table, store), layers(frame([row(value=0.5)], grid="toy"), None)):
        assert (list(found), len(found)) == (list(LAYERS_COLUMNS), 0)


def test_order_of_rows_does_not_matter(row, store):
    for key in ("t-omp-0.9", "t-omp-0.5"):
        store.put(key, {"mask.safetensors": pack(MASKS)})
    table = frame([row("omp", sparsity, value=0.5) for sparsity in (0.5, 0.9)], grid="toy")
    pd.testing.assert_frame_equal(layers(table, store), layers(table[::-1], store))
