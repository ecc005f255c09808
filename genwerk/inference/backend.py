"""Which engine runs a network here, said aloud where it is not the fastest."""

from __future__ import annotations

from genwerk.core.errors import ModelError
from genwerk.core.progress import say
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.inference.runner import BLOCK, Runner
from genwerk.inference.torch_runner import TorchRunner
from genwerk.models.decoder import Decoder

__all__ = ["ENGINES", "choose_runner"]

ENGINES = ("auto", "native", "torch")


def choose_runner(model: Decoder, *, engine: str, precision: str, positions: int, adapters: tuple[str, ...]) -> Runner:
    """The runner named `engine`; auto is native where its kernels can be built and know the network, else torch.

    positions  room for keys and values, in tokens, of all sequences together.

    Raises ModelError for an unknown name, and for `native` where that cannot be.
    """
    if engine not in ENGINES:
        raise ModelError(f"there is no engine `{engine}`", remedy=f"Engines: {', '.join(ENGINES)}.")
    blocks = -(-positions // BLOCK)
    if engine != "torch" and model.device.type == "cpu":
        try:
            return NativeDecoder(model, precision=precision, blocks=blocks, adapters=adapters)
        except NativeUnavailableError as error:
            if engine == "native":
                raise
            say(f"PyTorch runs this model, more slowly: {error}", style="yellow")
    if precision != "float32":
        say(f"PyTorch runs the model in {model.dtype}, not in {precision}", style="yellow")
    return TorchRunner(model, blocks=blocks, adapters=adapters)
