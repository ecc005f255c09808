"""Latent: codes as wide as noise, draws by a flow over them, kept pixels to the bit, and all of it asked by text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from picture_world import pictures, step_in

from genwerk.core.artifact import Source
from genwerk.core.errors import DataError, ModelError, RequestError
from genwerk.core.workspace import Artifact
from genwerk.generators.captions import CaptionEncoder, CaptionsConfig, embed_captions, load_vectors
from genwerk.generators.family import Ask, Batch, Space, sample
from genwerk.generators.flow import FlowConfig
from genwerk.generators.latent import Latent, LatentConfig
from genwerk.generators.loop import FitConfig, fit
from genwerk.generators.networks import NetworkConfig
from genwerk.generators.picture_examples import PictureExamples, to_numbers
from genwerk.generators.storage import load_family, save_family
from genwerk.generators.vae import VAE, Posterior, VAEConfig

CODEC = VAEConfig(codes=2, halvings=1, likelihood="gaussian", beta=0.01, width=8, lr=3e-3)
PRIOR = FlowConfig(network=NetworkConfig(kind="dit", width=32, depth=2, heads=2, patch=1), lr=3e-3, steps=4)
CONFIG = LatentConfig(codec=CODEC, prior=PRIOR)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> VAE:
    torch.manual_seed(0)
    made = VAE(CODEC, Space((1, 8, 8)))
    world = PictureExamples(pictures(64), pictures(32, seed=1), "nothing")
    config = FitConfig(steps=150, batch=16, warmup=10, eval_every=1000, checkpoint_every=1000)
    fit(made, world, config, step_in(tmp_path_factory.mktemp("codec")))
    made.network.eval()
    return made


@pytest.fixture
def latent(codec: VAE) -> Latent:
    torch.manual_seed(1)
    made = Latent(CONFIG, Space((1, 8, 8), classes=2))
    made.adopt(codec, [to_numbers(pictures(64).pixels)])
    made.network.eval()
    return made


def test_codes_are_as_wide_as_noise_and_come_back(latent: Latent) -> None:
    x = to_numbers(pictures(64).pixels)
    with torch.no_grad():
        drawn = Posterior(*latent.code(x).unbind(1)).draw()
        z = ((drawn - latent.network.mean) / latent.network.deviation).transpose(0, 1).flatten(1)
        back = latent.decode(latent.encode(x))
    assert latent.noise_shape == (2, 4, 4)
    assert z.mean(1).abs().max() < 0.1 and (z.std(1) - 1).abs().max() < 0.1
    assert float((back - x).square().mean()) < 0.1 * float(x.var())


def test_only_the_flow_learns(latent: Latent, tmp_path: Path) -> None:
    before = {name: weight.clone() for name, weight in latent.network.state_dict().items()}
    world = PictureExamples(pictures(64), pictures(32, seed=1), "class")
    fit(latent, world, FitConfig(steps=3, batch=8, warmup=1), step_in(tmp_path))
    for name, weight in latent.network.state_dict().items():
        if not name.startswith("prior."):
            assert torch.allclose(weight, before[name], atol=1e-6), name
    assert not torch.equal(latent.network.state_dict()["prior.first.weight"], before["prior.first.weight"])


def test_codes_made_before_are_learned_from_as_those_made_now(latent: Latent) -> None:
    x, given = to_numbers(pictures(8).pixels), torch.arange(8) % 2
    torch.manual_seed(3)
    now = latent.loss(Batch(x, given)).value
    torch.manual_seed(3)
    before = latent.loss(Batch(torch.zeros_like(x), given, codes=latent.code(x))).value
    assert torch.equal(now, before)


def test_a_preview_that_is_not_looked_at_is_not_decoded(latent: Latent, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = latent.decode
    monkeypatch.setattr(latent, "decode", lambda z: decoded.append(len(z)) or decode(z))
    sample(latent, Ask(2, 5))
    assert decoded == [2]


def test_what_is_saved_draws_the_same(latent: Latent, tmp_path: Path) -> None:
    save_family(tmp_path, "latent", CONFIG, latent, by="class", classes=("square", "bar"))
    ask = Ask(3, 5, given=torch.tensor([0, 1, -1]))
    assert torch.equal(sample(load_family(tmp_path).family, ask), sample(latent, ask))


def test_a_draw_is_the_same_alone_and_among_many_and_within_the_space(latent: Latent) -> None:
    many = sample(latent, Ask(16, 5, given=torch.arange(16) % 2))
    alone = sample(latent, Ask(1, 5, first=9, given=torch.tensor([1])))
    assert torch.allclose(many[9], alone[0], atol=2e-5) and many.abs().max() <= 1.0


def test_kept_pixels_stay_to_the_bit(latent: Latent) -> None:
    start = to_numbers(pictures(2, seed=4).pixels)
    keep = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    keep[..., :5] = True  # not a whole number of codes
    made = sample(latent, Ask(2, 5, start=start, keep=keep))
    assert torch.equal(made[keep], start[keep]) and not torch.equal(made, start)


def test_a_clip_has_a_code_for_each_frame_and_kept_frames_stay() -> None:
    torch.manual_seed(0)
    codec = VAEConfig(codes=3, frames=True, width=8)
    made = Latent(LatentConfig(codec=codec, prior=PRIOR), Space((5, 8, 8), classes=2))
    made.network.eval()
    clips = to_numbers(pictures(10, seed=4).pixels).reshape(2, 5, 8, 8)
    z = made.encode(clips)
    assert z.shape == (2, *made.noise_shape) == (2, 3, 5, 1)
    assert made.decode(z).shape == clips.shape
    one = made.codec.encode(clips[1:, 2:3].expand(-1, 5, -1, -1))  # a frame's code does not hang on the others
    assert torch.allclose(one[0, :, 0], made.codec.encode(clips)[1, :, 2], atol=1e-5)
    keep = torch.zeros(2, 5, 8, 8, dtype=torch.bool)
    keep[:, :2], keep[:, 2, :3] = True, True
    drawn = sample(made, Ask(2, 5, start=clips, keep=keep))
    assert torch.equal(drawn[keep], clips[keep]) and not torch.equal(drawn, clips)
    with pytest.raises(ModelError, match="no grid"):
        VAE(codec.model_copy(update={"halvings": 1}), Space((5, 8, 8)))


def test_a_codec_without_a_grid_is_refused() -> None:
    with pytest.raises(ModelError, match="one code for a picture"):
        Latent(LatentConfig(codec=VAEConfig(codes=4), prior=PRIOR), Space((1, 8, 8)))
    with pytest.raises(ModelError, match="cannot be halved 4 times"):
        Latent(LatentConfig(codec=CODEC.model_copy(update={"halvings": 4}), prior=PRIOR), Space((1, 8, 8)))


# Texts


def test_texts_become_vectors_and_long_ones_are_refused(minilm_dir: Path) -> None:
    reader = CaptionEncoder(minilm_dir)
    found = reader.embed(["red apple", "", "green apple", "steam locomotive"])
    assert found.shape == (4, 384) and not found[1].any()
    assert torch.allclose(found[[0, 2, 3]].norm(dim=1), torch.ones(3), atol=1e-5)
    assert float(found[0] @ found[2]) > float(found[0] @ found[3])
    assert torch.equal(reader.embed(["steam locomotive"])[0], found[3])
    with pytest.raises(RequestError, match="longer than the encoder reads"):
        reader.embed(["apple " * 400])


def test_captions_of_pictures_are_embedded_once(minilm_dir: Path, tmp_path: Path) -> None:
    some = pictures(4)
    made = step_in(tmp_path / "step")
    artifact = Artifact("0" * 16, "pictures", tmp_path, (), {}, {}, "", {}, "", "")
    for split in ("train", "heldout"):
        np.save(tmp_path / f"{split}.npy", some.pixels)
        (tmp_path / f"{split}.jsonl").write_text(
            "".join(f'{{"class": "", "text": "{text}"}}\n' for text in ("a square", "a bar", "", "a square"))
        )
    (tmp_path / "meta.json").write_text('{"classes": []}')
    source = Source("minilm", minilm_dir, "")
    counts = embed_captions(CaptionsConfig(), made, artifact, source)
    train, _ = load_vectors(made.out)
    assert counts["train"] == 3 and torch.equal(train[0], train[3]) and not train[2].any()
    for split in ("train", "heldout"):
        (tmp_path / f"{split}.jsonl").write_text('{"class": "", "text": ""}\n' * 4)
    with pytest.raises(DataError, match="no picture has a text"):
        embed_captions(CaptionsConfig(), made, artifact, source)
