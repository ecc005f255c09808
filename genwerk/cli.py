"""The `genwerk` command: what a user types. Every command imports what it needs when it runs, so --help is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from genwerk.commands.edit import EXAMPLES as EDITED
from genwerk.commands.edit import edit
from genwerk.commands.enlarge import EXAMPLES as ENLARGED
from genwerk.commands.enlarge import enlarge
from genwerk.commands.index import index
from genwerk.commands.keys import keys
from genwerk.commands.options import HERE, WorkspaceOption
from genwerk.core.errors import GenwerkError

app = typer.Typer(
    name="genwerk",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="From your files to a model you own: prepared, trained, tuned, served with sources, guarded and measured.",
)
app.add_typer(index, name="index")
app.add_typer(keys, name="keys")

HostOption = Annotated[
    str, typer.Option(show_default="the recipe's, 127.0.0.1", help="Address; other than loopback needs a key.")
]
PortOption = Annotated[int, typer.Option(show_default="the recipe's, 8000", help="Port to listen on.")]


@app.command(epilog="Example: `genwerk quickstart --no-serve`")
def quickstart(
    workspace: WorkspaceOption = HERE,
    serve_it: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve at the end, or stop before.")] = True,
    host: HostOption = "",
    port: PortOption = 0,
) -> None:
    """All six steps on the Python reference that comes with Python, then a page that answers with sources."""
    recipe = Path(__file__).parent / "recipes" / "quickstart.yaml"
    promoted = _run(recipe, workspace)
    if serve_it:
        _serve("quickstart", workspace, host, port)
    elif not promoted:
        raise typer.Exit(1)


@app.command(epilog="Example: `genwerk init handbook --docs ./docs`")
def init(
    name: Annotated[str, typer.Argument(help="Name of the deployment; the recipe becomes NAME.yaml.")],
    docs: Annotated[list[str], typer.Option("--docs", help="Folder or file with documents; may be repeated.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing recipe.")] = False,
) -> None:
    """Write a recipe for a folder of documents, every choice visible and explained."""
    from genwerk.recipes.template import write_recipe

    path = write_recipe(name, docs, Path(), force=force)
    _say(f"wrote {path}. Next: genwerk run {path}")


@app.command(epilog="Example: `genwerk run handbook.yaml`")
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")], workspace: WorkspaceOption = HERE
) -> None:
    """Prepare, train or load, tune, index, evaluate, and promote if the gates hold."""
    if not _run(recipe, workspace):
        raise typer.Exit(1)


@app.command(epilog="Example: `genwerk serve handbook --port 8080`")
def serve(
    name: Annotated[str, typer.Argument(help="Deployment or recipe; may be left out if there is only one.")] = "",
    workspace: WorkspaceOption = HERE,
    host: HostOption = "",
    port: PortOption = 0,
    replicas: Annotated[
        int, typer.Option(min=0, max=256, show_default="the recipe's, 1", help="Engines, in processes of Ray Serve's.")
    ] = 0,
    cache_precision: Annotated[
        str,
        typer.Option(show_default="the recipe's, auto", help="Of keys and values: auto, or int8 for twice as many."),
    ] = "",
    index: Annotated[
        str,
        typer.Option(
            "--index", "-i", show_default="the recipe's",
            help="Living index to answer from: its folder, or postgresql://host/database?schema=name.",
        ),
    ] = "",
) -> None:  # fmt: skip
    """Serve the promoted model: an OpenAI-compatible API and a page, behind guards."""
    _serve(name, workspace, host, port, replicas, cache_precision, index)


@app.command(epilog='Example: `genwerk chat handbook --question "How do I reset the pump?"`')
def chat(
    name: Annotated[str, typer.Argument(help="Deployment; may be left out if there is only one.")] = "",
    question: Annotated[str, typer.Option("--question", "-q", help="Ask once and leave.")] = "",
    adapter: Annotated[str, typer.Option(help="Adapter to use; `none` for the base model.")] = "",
    workspace: WorkspaceOption = HERE,
) -> None:
    """Ask in the terminal; answers come with their sources."""
    from genwerk.serving.terminal import chat_in_terminal

    chat_in_terminal(_workspace(workspace), _deployment_name(name, workspace), question=question, adapter=adapter)


@app.command(
    epilog='Examples: `genwerk generate --model 3f2a --prompt "The for statement" --max-tokens 60`, '
    "`genwerk generate --model 77aa --prompt 3,8 --n 16 --steps 16 --seed 7 --out grid.png`, "
    "`genwerk generate --model cc47 --n 24 --out molecules.png`"
)
def generate(
    model: Annotated[str, typer.Option(help="Artifact id (or its beginning), or a Hugging Face directory.")],
    prompt: Annotated[str, typer.Option(help="Text to continue; of pictures: classes, with commas between.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to write.")] = 100,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy, as for texts if left out; else 1.")] = None,
    top_p: Annotated[float, typer.Option(help="Nucleus mass.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same text.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="Text to stop at; may be repeated.")] = None,
    precision: Annotated[str, typer.Option(help="float32, int8 or int4.")] = "float32",
    engine: Annotated[str, typer.Option(help="auto, native, torch or vllm.")] = "auto",
    cache_precision: Annotated[str, typer.Option(help="Of keys and values: auto or int8.")] = "auto",
    draft: Annotated[str, typer.Option(help="Draft model that runs ahead: artifact id or directory.")] = "",
    window: Annotated[int, typer.Option(min=0, help="See only so many last tokens; 0: as the model has it.")] = 0,
    sinks: Annotated[int, typer.Option(min=0, help="First tokens seen beside the window: texts may go on then.")] = 0,
    receipt: Annotated[Path | None, typer.Option(help="File for the receipt, for `genwerk replay`.")] = None,
    n: Annotated[int, typer.Option(min=1, help="Pictures: how many.")] = 16,
    steps: Annotated[int, typer.Option(min=0, help="Pictures: of the solver; 0: the model's own.")] = 0,
    guidance: Annotated[float, typer.Option(help="Pictures: above 1 more obedient, less varied.")] = 1.0,
    solver: Annotated[str, typer.Option(help="Pictures: euler, heun, dpm_solver or ancestral.")] = "",
    start: Annotated[Path | None, typer.Option(help="Pictures: one to begin from.")] = None,
    strength: Annotated[float, typer.Option(help="Pictures: how much of it is made anew, up to 1.")] = 1.0,
    mask: Annotated[Path | None, typer.Option(help="Pictures: white is made anew, black stays.")] = None,
    average: Annotated[float, typer.Option(help="Pictures: width of the average of weights; 0: as trained.")] = 0.0,
    rule: Annotated[bool, typer.Option(help="Molecules: only what closes, and what valences allow.")] = True,
    out: Annotated[
        Path | None, typer.Option(help=".png; clips .gif, sound .wav; sequences .txt, .mid, .musicxml.")
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Continue a text, or draw pictures, molecules or music, with a model of the workspace; no retrieval, no guards."""
    path, ahead = _model_path(model, workspace), _model_path(draft, workspace) if draft else None
    if (path / "family.json").exists():
        from genwerk.recipes.drawing import Drawing, generate_samples

        warm = 1.0 if temperature is None else temperature
        asked = Drawing(prompt, n, seed, steps, guidance, solver, start, strength, mask, average, warm, rule)
        lines, said = generate_samples(path, asked, out)
        print(*lines, sep="\n", end="\n" if lines else "")
        _say(said)
        return
    if not prompt:
        raise GenwerkError("there is no text to continue", where="--prompt", remedy="Give one: --prompt TEXT.")

    from genwerk.core.types import Sampling
    from genwerk.recipes.continuing import continue_text

    sampling = Sampling(
        temperature=temperature or 0.0, top_p=top_p, max_tokens=max_tokens, seed=seed, stop=tuple(stop or ()),
        logprobs=None if receipt is None else 0,
    )  # fmt: skip
    continue_text(
        path, prompt, sampling, receipt, engine=engine, precision=precision, draft=ahead, window=window or None,
        sinks=sinks, cache_precision=cache_precision,
    )  # fmt: skip


app.command(epilog=EDITED)(edit)
app.command(epilog=ENLARGED)(enlarge)


@app.command(epilog="Example: `genwerk replay ans-0123456789abcdef`")
def replay(
    receipt: Annotated[str, typer.Argument(help="Answer id, or the JSON file of `genwerk generate --receipt`.")],
    model: Annotated[str, typer.Option(help="For a file: the model now, if not where the receipt says.")] = "",
    adapter: Annotated[str, typer.Option(help="For a file: artifact or directory of the adapter it names.")] = "",
    workspace: WorkspaceOption = HERE,
) -> None:
    """Generate an answer again and compare it token by token; exit code 1 where they differ."""
    from genwerk.serving.replay import print_replay

    if not print_replay(_workspace(workspace), receipt, model=model, adapter=adapter):
        raise typer.Exit(1)


@app.command(
    epilog="Examples: `genwerk quantise --model 3f2a --adapter 77aa --dataset 8c1d`, "
    "`genwerk quantise --model ./qwen3 --dataset 8c1d --precision int8`, "
    "then `genwerk generate --model` with the id it prints"
)
def quantise(
    model: Annotated[str, typer.Option(help="Artifact id (or its beginning), or a Hugging Face directory.")],
    dataset: Annotated[str, typer.Option(help="Dataset artifact: its training documents calibrate, the others check.")],
    adapter: Annotated[str, typer.Option(help="Adapter artifact to merge first.")] = "",
    precision: Annotated[str, typer.Option(help="int4 or int8.")] = "int4",
    gptq: Annotated[bool, typer.Option("--gptq/--no-gptq", help="Make up for errors, or round to nearest.")] = True,
    smooth: Annotated[float, typer.Option(min=0, max=1, help="SmoothQuant's alpha.")] = 0.5,
    no_smooth: Annotated[bool, typer.Option("--no-smooth", help="Leave activations as they are.")] = False,
    act_order: Annotated[bool, typer.Option("--act-order", help="Round the inputs that matter most first.")] = False,
    windows: Annotated[int, typer.Option(min=1, help="Windows of text that are calibrated on.")] = 24,
    most_kl: Annotated[float | None, typer.Option(help="Refused beyond, nats per token.")] = None,
    most_rise: Annotated[float | None, typer.Option(help="Of perplexity, refused beyond.")] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Round a model to integers calibrated on your own documents, and say what that costs; refused beyond its bounds.

    The result is an artifact that `generate` takes; `serve` uses it where a recipe says `quantise:`.
    """
    from genwerk.inference.quantisation.config import QuantiseConfig
    from genwerk.recipe import quantise_model
    from genwerk.recipes.explain import print_choices

    values = {"precision": precision, "gptq": gptq, "act_order": act_order, "windows": windows}
    values |= {"most_kl": most_kl, "most_rise": most_rise, "smooth": None if no_smooth else smooth}
    usual = QuantiseConfig()
    config = QuantiseConfig.parse({key: value for key, value in values.items() if value != getattr(usual, key)})
    print_choices(config, title="quantise", source="the command line")
    made = quantise_model(_workspace(workspace), config, model=model, dataset=dataset, adapter=adapter)
    _say(f"quantised {made.id}. Next: genwerk generate --model {made.id} --prompt TEXT")


@app.command(epilog="Example: `genwerk distill smollm2-135m-instruct --docs ./docs --minutes 10`")
def distill(
    model: Annotated[str, typer.Argument(help="Known name, artifact id (or its beginning), or directory of a model.")],
    docs: Annotated[list[str], typer.Option("--docs", help="Documents it is asked about; may be repeated.")],
    depth: Annotated[int, typer.Option(min=1, help="Layers of the draft; its width follows.")] = 3,
    texts: Annotated[int, typer.Option(min=1, help="Texts that the model says, to learn from.")] = 600,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps, where --minutes is not given.")] = 1500,
    minutes: Annotated[float | None, typer.Option(help="Time to train for, after the texts.")] = None,
    precision: Annotated[str, typer.Option(help="In which the model is served: float32, int8 or int4.")] = "int8",
    workspace: WorkspaceOption = HERE,
) -> None:
    """Make a small draft model that foretells what a model says: the same answers, in fewer steps."""
    from genwerk.alignment.distill import DistillConfig
    from genwerk.recipes.distilling import distill_model

    config = DistillConfig(depth=depth, texts=texts, steps=steps, minutes=minutes, precision=precision)
    made = distill_model(model, tuple(docs), config, _workspace(workspace))
    foretold = made.metrics.get("foretold")
    _say(f"draft {made.id}" + (f": foretells {foretold:.0%} of held-out words" if foretold is not None else ""))
    _say("Serve it with `serve: {draft: DIRECTORY}` in the recipe, or try `genwerk generate --draft`:")
    sys.stdout.write(f"{made.path}\n")


@app.command(epilog="Example: `genwerk evaluate handbook.yaml`")
def evaluate(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")], workspace: WorkspaceOption = HERE
) -> None:
    """Measure what a recipe made, print the measures with their intervals, and say where the report is."""
    from genwerk.evaluation.terminal import print_measures
    from genwerk.recipe import load_recipe, run_recipe

    outcome = run_recipe(load_recipe(recipe), _workspace(workspace))
    print_measures(outcome.parts["report"])


@app.command(name="ls", epilog="Example: `genwerk ls --kind model`")
def list_artifacts(
    kind: Annotated[str, typer.Option(help="Only this kind.")] = "", workspace: WorkspaceOption = HERE
) -> None:
    """List the artifacts of a workspace, newest first."""
    from genwerk.core.listing import print_artifacts

    print_artifacts(_workspace(workspace), kind)


@app.command(epilog="Example: `genwerk show 3f2a --verify`")
def show(
    artifact: Annotated[str, typer.Argument(help="Artifact id or its beginning.")],
    verify: Annotated[bool, typer.Option("--verify", help="Hash every file again.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Show one artifact: parents, config, metrics and files with their hashes."""
    from genwerk.core.listing import print_artifact

    opened = _workspace(workspace)
    if not print_artifact(opened, opened.find(artifact), verify=verify):
        raise typer.Exit(1)


@app.command(epilog="Example: `genwerk trace ans-0123456789abcdef`")
def trace(
    answer: Annotated[str, typer.Argument(help="Answer id; the page and the API show it.")],
    workspace: WorkspaceOption = HERE,
) -> None:
    """Print the chain from an answer to the source files, with hashes, checking every citation again."""
    from genwerk.serving.trace import print_trace

    if not print_trace(_workspace(workspace), answer):
        raise typer.Exit(1)


@app.command(epilog="Example: `genwerk gc --dry-run`")
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Remove artifacts that nothing served depends on."""
    removed = _workspace(workspace).collect_garbage((), dry_run=dry_run)
    for artifact in removed:
        _say(f"{'would remove' if dry_run else 'removed'} {artifact.kind} {artifact.id}")
    _say(f"{len(removed)} artifacts {'would be ' if dry_run else ''}removed")


@app.command(hidden=True)
def reference() -> None:
    """Print the reference of every command as Markdown (docs/cli.md)."""
    from genwerk.recipes.reference import command_reference

    sys.stdout.write(command_reference(app))


def _workspace(path: Path) -> Any:
    from genwerk.core.workspace import Workspace

    return Workspace(path)


def _model_path(model: str, workspace: Path) -> Path:
    if Path(model).is_dir():
        return Path(model)
    return Path(_workspace(workspace).find(model).path)


def _run(recipe: Path, workspace: Path) -> bool:
    from genwerk.core.config import load_yaml

    keys = load_yaml(recipe)[0].keys()
    if "sequences" in keys:
        from genwerk.recipes.sequencing import run_sequences

        return run_sequences(recipe, _workspace(workspace))
    if "family" in keys:
        from genwerk.recipes.generating import run_generator

        return run_generator(recipe, _workspace(workspace))
    from genwerk.evaluation.terminal import print_outcome
    from genwerk.recipe import load_recipe, run_recipe
    from genwerk.recipes.explain import print_choices

    loaded = load_recipe(recipe)
    print_choices(loaded)
    outcome = run_recipe(loaded, _workspace(workspace))
    print_outcome(loaded.name, outcome.parts["report"], outcome.gates, promoted=outcome.promoted)
    return outcome.promoted


def _serve(
    name: str, workspace: Path, host: str, port: int, replicas: int = 0, cache_precision: str = "", index: str = ""
) -> None:
    from genwerk.serving.run import serve_deployment

    opened, chosen = _workspace(workspace), _deployment_name(name, workspace)
    noted = opened.pinned(f"serving-{chosen}").get("serve", {})
    host, port = host or noted.get("host", "127.0.0.1"), port or noted.get("port", 8000)
    replicas = replicas or noted.get("replicas", 1)
    serve_deployment(
        opened, chosen, host=host, port=port, replicas=replicas, cache_precision=cache_precision, index=index
    )


def _deployment_name(name: str, workspace: Path) -> str:
    """`handbook`, `handbook.yaml`, or the only deployment there is."""
    if name:
        return Path(name).stem if name.endswith((".yaml", ".yml")) else name
    promoted: list[tuple[str, str, str]] = [pin.partition("-") for pin in _workspace(workspace).pins()]
    pins = [one[2] for one in promoted if one[0] == "serving"] or [one[2] for one in promoted if one[0] == "generating"]
    if len(pins) == 1:
        return pins[0]
    what = f"several deployments: {', '.join(pins)}" if pins else "nothing has been promoted yet"
    raise GenwerkError(what, where=str(workspace), remedy="Name one, or run a recipe first: `genwerk run RECIPE`.")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> None:
    """Run the command; a Genwerk error is one message and exit code 1, an interrupt exit code 130."""
    try:
        app()
    except GenwerkError as error:
        _say(f"genwerk: {error}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        _say("genwerk: stopped; what was finished is kept, and the same command goes on from there")
        raise SystemExit(130) from None
