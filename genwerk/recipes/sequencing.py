"""A recipe of a generator of sequences, from molecules, scores or lines to a promoted model.

name: molecules
sequences: moses                # or chorales, or folders and files with a layout
family: autoregressive          # or sequence_vae
fit: {minutes: 10}
gates: ["molecules.valid >= 0.85"]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from genwerk.core.artifact import Source
from genwerk.core.assets import KNOWN
from genwerk.core.config import Config, Field, Lines, Names, load_yaml
from genwerk.core.workspace import Workspace
from genwerk.data.sequences import SequencesConfig
from genwerk.evaluation.gates import parse_gates
from genwerk.evaluation.report import ReportConfig
from genwerk.evaluation.sequences import SequenceScoreConfig
from genwerk.generators.loop import FitConfig
from genwerk.generators.storage import SEQUENCES, settings_of
from genwerk.generators.train import GeneratorConfig
from genwerk.recipe import Outcome, fetch_source
from genwerk.recipes.explain import print_choices
from genwerk.recipes.places import places_of
from genwerk.recipes.promoting import print_generator, promote

__all__ = ["SequenceRecipe", "load_sequence_recipe", "run_sequence_recipe", "run_sequences"]

COLLECTIONS = {"moses": (("moses-train", "moses-test"), "molecules"), "chorales": (("chorales",), "chorales")}


class SequenceRecipe(Config):
    """Everything `genwerk run` needs to make a generator of sequences. All but `name`, `sequences`, `family` have
    defaults."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="names the generator and its pins")
    sequences: Names = Field(min_length=1, description="files and folders, or moses or chorales")
    layout: Literal["lines", "molecules", "chorales"] = Field("lines", description="how files are read")
    longest: int = Field(256, ge=2, description="tokens of a sequence, its end included; longer ones are left out")
    window: int = Field(0, ge=0, description="above 0: longer ones are cut into windows of so many tokens instead")
    stride: int = Field(0, ge=0, description="tokens between the beginnings of two windows; 0: as many as a window has")
    classes: tuple[str, ...] = Field((), description="only these; none: all")
    variants: bool = Field(True, description="what is learned from also in every other key, where it is music")
    most: int = Field(0, ge=0, description="sequences to learn from at most, the first ones; 0: all")
    holdout: float = Field(0.1, gt=0, lt=1, description="share kept from training, where a source has no split")
    license: str = Field("", description="licence of the sequences; empty: unspecified, or that of the collection")
    family: str = Field(description=f"how samples are made: {', '.join(SEQUENCES)}")
    settings: dict[str, Any] = Field({}, description="of the family; empty takes its defaults")
    ask: Literal["class", "nothing"] = Field("nothing", description="what a sample can be asked by")
    fit: FitConfig = Field(FitConfig(), description="how long and in which steps it is trained")
    evaluate: SequenceScoreConfig = Field(SequenceScoreConfig(), description="how many samples are measured, and how")
    gates: tuple[str, ...] = Field((), description="what must hold to be promoted")


def load_sequence_recipe(path: Path) -> SequenceRecipe:
    """Read and validate; files are relative to the recipe. Raises ConfigError with line and key."""
    values, lines = load_yaml(path)
    recipe = SequenceRecipe.parse(values, where=str(path), lines=lines)
    parse_gates(recipe.gates)
    settings_of(recipe.family, recipe.settings, makes="sequences")
    files = places_of(recipe.sequences, COLLECTIONS, path)
    layout = COLLECTIONS[files[0]][1] if files[0] in COLLECTIONS else recipe.layout
    recipe = recipe.model_copy(update={"sequences": files, "layout": layout})
    _reading(recipe, where=str(path), lines=lines)
    return recipe


def run_sequence_recipe(recipe: SequenceRecipe, workspace: Workspace) -> Outcome:
    """From sequences to a promoted generator. Each line is found if it was made before."""
    step = workspace.step
    assets, _ = COLLECTIONS.get(recipe.sequences[0], ((), ""))
    sources = [fetch_source(name) for name in assets] or [_source(Path(one)) for one in recipe.sequences]
    license_ = recipe.license or (KNOWN[assets[0]].license if assets else "unspecified")
    reading = _reading(recipe).model_copy(update={"license": license_})

    # 1  collect and prepare
    sequences = step("genwerk.data.sequences:prepare_sequences", reading, *sources, kind="sequences")

    # 2 and 3  choose the family, train
    training = GeneratorConfig(family=recipe.family, settings=recipe.settings, ask=recipe.ask, fit=recipe.fit)
    generator = step("genwerk.generators.train:train_generator", training, sequences, kind="generator")

    # measure, report, and let the gates decide
    scoring = "genwerk.evaluation.sequences:score_sequences"
    scores = step(scoring, recipe.evaluate, generator, sequences, kind="scores")
    reporting = ReportConfig(title=recipe.name, gates=recipe.gates)
    writing = "genwerk.evaluation.generator_report:write_generator_report"
    report = step(writing, reporting, scores, generator, kind="report")
    parts = {"sequences": sequences, "generator": generator, "scores": scores, "report": report}
    return promote(workspace, "sequencing", recipe.name, parts)


def run_sequences(path: Path, workspace: Workspace) -> bool:
    """Run a recipe and say what came of it; whether it was promoted."""
    recipe = load_sequence_recipe(path)
    print_choices(recipe)
    print_choices(settings_of(recipe.family, recipe.settings), title=f"settings of {recipe.family}")
    outcome = run_sequence_recipe(recipe, workspace)
    print_generator(outcome, f"genwerk generate --model {outcome.parts['generator'].id[:8]} --n 16")
    return outcome.promoted


def _reading(recipe: SequenceRecipe, *, where: str = "", lines: Lines | None = None) -> SequencesConfig:
    """How sequences are read. Raises ConfigError for windows that cannot be."""
    values = {name: getattr(recipe, name) for name in SequencesConfig.model_fields}
    return SequencesConfig.parse(values, where=where, lines=lines)


def _source(path: Path) -> Source:
    return Source.of_folder(path.name, path) if path.is_dir() else Source.of_file(path.name, path)
