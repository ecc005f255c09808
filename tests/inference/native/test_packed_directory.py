"""A quantised directory is what was packed: the same values in PyTorch, the same logits in the kernels, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import BASE, SHAPES, all_rows, blocks_for, draw, random_tokens, step

from genwerk.core.errors import ModelError
from genwerk.core.hashing import sha256_file
from genwerk.inference.backend import load_runner
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.packed_decoder import pack_decoder, unpack_decoder
from genwerk.inference.native.packed_directory import packed_precision, read_packed, write_packed
from genwerk.inference.runner import Chunk
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.huggingface import save_decoder, slots
from genwerk.models.weights import read_tensors, write_tensors


@pytest.mark.parametrize("shape", SHAPES)
def test_unpacking_float_weights_gives_them_back(shape: str) -> None:
    model = draw(DecoderConfig(**BASE | SHAPES[shape]))
    again = dict(slots(unpack_decoder(pack_decoder(model, "float32"))))
    for name, slot in slots(model):
        assert torch.equal(again[name], slot), name


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("shape", ["llama-biases", "everything", "head-48"])
def test_unpacked_integers_are_near_and_pack_to_themselves(shape: str, precision: str) -> None:
    model = draw(DecoderConfig(**BASE | SHAPES[shape]))
    packed = pack_decoder(model, precision)
    values = unpack_decoder(packed)
    for (name, slot), (_, value) in zip(slots(model), slots(values), strict=True):
        assert (slot - value).abs().max() <= 0.1 * slot.abs().max(), name
    again = unpack_decoder(pack_decoder(values, precision))
    for (name, value), (_, other) in zip(slots(values), slots(again), strict=True):
        turned = precision == "int8" or "embed" in name or "lm_head" in name
        most = 0.02 if turned else 1e-3  # turned back and cut off, int8's values lie beside their grid
        assert torch.allclose(value, other, atol=most * float(value.abs().max())), name


@pytest.fixture
def model() -> Decoder:
    return draw(DecoderConfig(**BASE))


@pytest.fixture
def directory(model: Decoder, tmp_path: Path) -> Path:
    save_decoder(model, tmp_path / "float")
    (tmp_path / "packed").mkdir()
    write_packed(pack_decoder(model, "int4"), tmp_path / "packed", tmp_path / "float")
    return tmp_path / "packed"


def test_the_engine_serves_the_directory_as_it_was_packed(model: Decoder, directory: Path) -> None:
    assert packed_precision(directory) == "int4" and packed_precision(directory.parent / "float") is None
    chunk = Chunk(random_tokens(50, 97), 0, blocks_for(50))
    served = load_runner(directory, precision="int4", positions=256)
    assert isinstance(served, NativeDecoder) and served.precision == "int4"
    fresh = NativeDecoder(pack_decoder(model, "int4"), blocks=8)
    assert torch.equal(all_rows(served, [chunk])[0], all_rows(fresh, [chunk])[0])


def test_pytorch_runs_the_values_the_integers_stand_for(model: Decoder, directory: Path) -> None:
    runner = load_runner(directory, engine="torch", positions=256)
    tokens = random_tokens(20, 97)
    found = step(runner, [Chunk(tokens, 0, blocks_for(20))])
    with torch.no_grad():
        wanted = unpack_decoder(pack_decoder(model, "int4"))(torch.tensor([tokens]))[0, -1:]
    assert torch.allclose(found, wanted, atol=1e-4)


def test_another_precision_and_adapters_are_refused(directory: Path) -> None:
    with pytest.raises(ModelError, match="quantised to int4, not to int8"):
        load_runner(directory, precision="int8")
    with pytest.raises(ModelError, match="takes no adapters"):
        load_runner(directory, adapters={"tuned": directory})


def test_a_damaged_file_is_refused_and_says_what_to_do(directory: Path) -> None:
    file = directory / "packed-int4.safetensors"
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match=r"damaged.*Quantise the model again"):
        read_packed(directory)
    file.unlink()
    with pytest.raises(ModelError, match="missing"):
        read_packed(directory)


def test_weights_in_an_older_layout_are_refused(directory: Path) -> None:
    file = directory / "packed-int4.safetensors"
    tensors = {name: tensor.clone() for name, tensor in read_tensors(file).items() if name != "inputs_turned_together"}
    write_tensors(file, tensors)
    file.with_suffix(".sha256").write_text(sha256_file(file))
    with pytest.raises(ModelError, match="another genwerk") as refused:
        read_packed(directory)
    assert "genwerk quantise" in refused.value.remedy
