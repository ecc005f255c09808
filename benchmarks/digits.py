"""Six families on handwritten digits, five minutes each on this machine: one table, one grid for each.

    python benchmarks/digits.py                     every recipe, one seed: about 45 minutes
    python benchmarks/digits.py flow vae --seeds 3  these, three times each
    python benchmarks/digits.py --pictures docs/images

Targets: −ELBO of the VAE at most 108 nats; coverage of the flow at 16 steps at least 0.80, of the GANs at least 0.70
with all ten classes. What was made before is found, so the table can be printed again at once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from pathlib import Path

import genwerk
from genwerk.core.atomic import write_text
from genwerk.core.cache import cache_directory
from genwerk.core.progress import say
from genwerk.core.workspace import Artifact, Workspace
from genwerk.recipes.generating import load_generator_recipe, run_generator_recipe

RECIPES = Path(genwerk.__file__).parent / "recipes"
ALL = ("vae", "wgan", "gan", "flow", "diffusion", "codes")
SHOWN = {
    "frechet": "Fréchet", "frechet_ratio": "to floor", "kernel": "kernel", "precision": "precision", "recall": "recall",
    "coverage": "coverage", "classes": "classes", "as_asked": "as asked", "nearer_to_learned": "to learned",
    "train_on_synthetic": "TSTR", "augmentation_gain": "gain", "calls": "calls", "milliseconds": "ms",
    "negative_elbo": "-ELBO",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which; all when left out")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each; default: 1")
    parser.add_argument("--minutes", type=float, help="instead of the recipe's five")
    parser.add_argument("--pictures", type=Path, help="folder for the grids")
    options = parser.parse_args()
    workspace = Workspace(cache_directory() / "benchmarks" / "digits")
    found = {name: [_run(name, seed, options.minutes, workspace) for seed in range(options.seeds)]
             for name in options.names or ALL}  # fmt: skip
    print(f"{'':10s}{'steps':>8s}" + "".join(f"{title:>12s}" for title in SHOWN.values()))
    for name, reports in found.items():
        steps = statistics.median(int(generator.metrics["steps"]) for generator, _ in reports)
        print(f"{name:10s}{steps:8.0f}" + "".join(f"{_cell(reports, key):>12s}" for key in SHOWN))
    floors = next(iter(found.values()))[0][1]
    print(f"{'floor':10s}{'':8s}" + "".join(f"{_floor(floors, key):>12s}" for key in SHOWN))
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        for name, reports in found.items():
            shutil.copy(reports[0][1] / "samples.png", options.pictures / f"digits-{name}.png")


def _run(name: str, seed: int, minutes: float | None, workspace: Workspace) -> tuple[Artifact, Path]:
    """The generator, and the folder of its report."""
    recipe = load_generator_recipe(RECIPES / f"digits-{name}.yaml")
    changes: dict[str, object] = {"seed": seed} | ({"minutes": minutes} if minutes else {})
    recipe = recipe.model_copy(update={"fit": recipe.fit.model_copy(update=changes)})
    outcome = run_generator_recipe(recipe, workspace)
    for gate in outcome.gates:
        say(f"{name}, seed {seed}: {gate.gate}: {gate.reason}")
    write_text(workspace.root / f"{name}-{seed}.txt", str(outcome.parts["report"].path))
    return outcome.parts["generator"], outcome.parts["report"].path


def _measures(report: Path) -> dict[str, dict[str, float]]:
    values = json.loads((report / "report.json").read_text(encoding="utf-8"))["measures"]
    return {one["name"].removeprefix("pictures."): one for one in values}


def _cell(reports: list[tuple[Artifact, Path]], key: str) -> str:
    """The median over seeds."""
    values = [_measures(report).get(key, {}).get("value") for _, report in reports]
    there = [value for value in values if value is not None]
    return f"{statistics.median(there):.4g}" if there else "-"


def _floor(report: Path, key: str) -> str:
    value = _measures(report).get(key, {}).get("floor")
    return "" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    main()
