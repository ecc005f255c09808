"""A U-Net for clips: what frames know of each other, and what they do not."""

from __future__ import annotations

import torch

from genwerk.models.unet import UNet
from genwerk.models.video_unet import TimeAttention, VideoUNet


def awake(module: torch.nn.Module) -> torch.nn.Module:
    """With weights where it begins at 0."""
    torch.manual_seed(1)
    for weight in module.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    return module.eval()


def network(**settings: object) -> VideoUNet:
    torch.manual_seed(0)
    return VideoUNet(4, width=8, multipliers=(1, 2), **settings)  # type: ignore[arg-type]


def test_an_untrained_one_sees_each_frame_alone() -> None:
    """As a U-Net for pictures with the same weights does; time begins to count with training."""
    video, x, time = network(classes=3), torch.randn(2, 4, 8, 8), torch.tensor([0.2, 0.7])
    torch.nn.init.normal_(video.unet.last.weight)
    given = torch.tensor([1, -1])
    plain = UNet(1, width=8, multipliers=(1, 2), classes=3)
    plain.load_state_dict({name: w for name, w in video.unet.state_dict().items() if "attention" not in name})
    found = video(x, time, given)
    for frame in range(4):
        assert torch.allclose(found[:, frame], plain(x[:, frame, None], time, given)[:, 0], atol=1e-5)


@torch.no_grad()
def test_frames_see_each_other_and_clips_do_not() -> None:
    video, x, time = awake(network(attention=(1,))), torch.randn(2, 4, 8, 8), torch.tensor([0.2, 0.7])
    before = video(x, time)
    changed = x.clone()
    changed[0, 3] += 1.0
    after = video(changed, time)
    assert before.shape == x.shape
    assert ((after - before)[0].abs().amax((1, 2)) > 1e-4).all()
    assert torch.allclose(after[1], before[1], atol=1e-5)


@torch.no_grad()
def test_attention_over_time_is_the_sum_that_is_written() -> None:
    look = awake(TimeAttention(8, 3))
    x = torch.randn(6, 8, 2, 2)
    h = look.norm(x).view(2, 3, 8, 2, 2)
    q, k, v = look.qkv(h.permute(0, 3, 4, 1, 2)).chunk(3, -1)  # (B, H, W, T, C)
    expected = torch.zeros_like(q)
    for t in range(3):
        scores = torch.stack(
            [(q[..., t, :] * k[..., u, :]).sum(-1) / 8**0.5 + look.near[0, t - u + 2] for u in range(3)]
        )
        for u, share in enumerate(scores.softmax(0)):
            expected[..., t, :] += share[..., None] * v[..., u, :]
    back = look.out(expected.permute(0, 3, 4, 1, 2).reshape(6, 8, 2, 2))
    assert torch.allclose(look(x), x + back, atol=1e-5)
