"""A recipe of a generator, from pictures to a promoted model: one `workspace.step` per line.

name: digits
pictures: digits                # a folder with pictures, or digits, emoji, emoji-styles; with `sound:` scores, chorales
family: flow                    # vae, gan, diffusion, flow; super_resolution enlarges
fit: {minutes: 5}
gates: ["pictures.coverage >= 0.8"]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from genwerk.core.artifact import Artifact, Source
from genwerk.core.assets import KNOWN
from genwerk.core.config import Config, Field, Names, load_yaml
from genwerk.core.errors import ConfigError
from genwerk.core.workspace import Workspace
from genwerk.data.moving_digits import ClipsConfig
from genwerk.data.pictures import PicturesConfig
from genwerk.data.sequences import SequencesConfig
from genwerk.data.sound import SoundConfig
from genwerk.evaluation.attributes import AttributeConfig
from genwerk.evaluation.gates import parse_gates
from genwerk.evaluation.generator import ScoreConfig
from genwerk.evaluation.report import ReportConfig
from genwerk.evaluation.transfer import TransferConfig
from genwerk.generators.captions import CaptionsConfig
from genwerk.generators.features import FeaturesConfig
from genwerk.generators.loop import FitConfig
from genwerk.generators.reflow import PairsConfig
from genwerk.generators.storage import CODECS, PICTURES, settings_of
from genwerk.generators.train import GeneratorConfig
from genwerk.recipe import Outcome, fetch_source
from genwerk.recipes.explain import print_choices
from genwerk.recipes.places import places_of
from genwerk.recipes.promoting import print_generator, promote

__all__ = ["GeneratorRecipe", "load_generator_recipe", "run_generator", "run_generator_recipe"]

COLLECTIONS = {
    "digits": ("digits",),
    "emoji": ("emoji", "emoji-names"),
    "emoji-styles": ("emoji", "emoji-google", "emoji-names"),
    "chorales": ("chorales",),
}
_LONGEST = 2**16  # tokens of a piece that is played
_SCORING = {"super_resolution": "genwerk.evaluation.super_resolution:score_super_resolution"}


class CodecSection(Config):
    """The codec of a family that draws codes, trained before it: a VAE for latent, vq for codes."""

    settings: dict[str, Any] = Field({}, description="of the codec; empty takes those that are usual for the family")
    fit: FitConfig = Field(FitConfig(), description="how long and in which steps it is trained")


class ReflowSection(Config):
    """A flow that learns again from its own pairs of noise and sample, so that fewer steps do."""

    pairs: PairsConfig = Field(PairsConfig(), description="how many, and how they are drawn")
    fit: FitConfig = Field(FitConfig(), description="how long and in which steps it learns again")


class GeneratorRecipe(Config):
    """Everything `genwerk run` needs to make a generator. All keys but `name`, `pictures`, `family` have defaults."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="names the generator and its pins")
    pictures: Names = Field(min_length=1, description=f"folders, or {', '.join(COLLECTIONS)}")
    clips: ClipsConfig | None = Field(None, description="the pictures move: clips are learned")
    sound: SoundConfig | None = Field(None, description="scores are played: pictures of pitch over time are learned")
    size: int | None = Field(None, ge=4, le=1024, description="side in pixels; none: all must be of one size")
    colours: Literal["auto", "grey", "rgb"] = Field("auto", description="auto is grey where all pictures are")
    holdout: float = Field(0.2, gt=0, lt=1, description="share kept from training, for honest measures")
    license: str = Field("", description="licence of the pictures; empty: unspecified, or that of the collection")
    family: str = Field(description=f"how samples are made: {', '.join(PICTURES)}")
    settings: dict[str, Any] = Field({}, description="of the family; empty takes its defaults")
    ask: Literal["class", "text", "nothing"] = Field("class", description="what a sample can be asked by")
    encoder: str = Field("minilm", description="of texts, where a sample is asked by text")
    codec: CodecSection | None = Field(None, description="latent, codes: what makes the codes that are drawn")
    fit: FitConfig = Field(FitConfig(), description="how long and in which steps it is trained")
    reflow: ReflowSection | None = Field(None, description="flow: learns again from its own pairs")
    features: FeaturesConfig = Field(FeaturesConfig(), description="the network that reports compare pictures by")
    evaluate: ScoreConfig = Field(ScoreConfig(), description="how many samples are measured, and how they are drawn")
    transfer: TransferConfig | None = Field(None, description="measure style transfer between classes, on pairs")
    attribute: AttributeConfig | None = Field(None, description="measure the arithmetic of an attribute")
    gates: tuple[str, ...] = Field((), description="what must hold to be promoted")


def load_generator_recipe(path: Path) -> GeneratorRecipe:
    """Read and validate; folders are relative to the recipe. Raises ConfigError with line and key."""
    values, lines = load_yaml(path)
    recipe = GeneratorRecipe.parse(values, where=str(path), lines=lines)
    parse_gates(recipe.gates)
    settings_of(recipe.family, recipe.settings, makes="pictures")
    if (recipe.family in CODECS) != (recipe.codec is not None):
        what = f"{recipe.family} needs a `codec:`" if recipe.codec is None else f"{recipe.family} has no codec"
        remedy = f"It goes with {' and '.join(f'`family: {name}`' for name in CODECS)}, and only there."
        raise ConfigError(what, where=str(path), remedy=remedy)
    if recipe.reflow is not None and (recipe.family != "flow" or recipe.ask == "text"):
        what = "only a flow that is asked by class, or by nothing, can learn again from its pairs"
        raise ConfigError(what, where=str(path), remedy="Leave `reflow:` out, or say `family: flow`.")
    if recipe.transfer is not None and recipe.ask != "class":
        what = f"pictures are transferred between classes, and this is asked by {recipe.ask}"
        raise ConfigError(what, where=str(path), remedy="Say `ask: class`, or leave `transfer:` out.")
    if recipe.codec is not None:
        coding = settings_of(CODECS[recipe.family], recipe.codec.settings)
        if getattr(coding, "frames", False) and recipe.clips is None:
            remedy = "Add `clips: {}`, or leave `frames` out of the codec."
            raise ConfigError("only clips have frames", where=str(path), remedy=remedy)
    if recipe.clips is not None and recipe.sound is not None:
        raise ConfigError("clips have no sound here", where=str(path), remedy="Give `clips:` or `sound:`, not both.")
    if "chorales" in recipe.pictures and recipe.sound is None:
        remedy = "Add `sound: {}` to learn how they sound, or say `sequences:` instead of `pictures:`."
        raise ConfigError("chorales are no pictures", where=str(path), remedy=remedy)
    return recipe.model_copy(update={"pictures": places_of(recipe.pictures, COLLECTIONS, path)})


def run_generator_recipe(recipe: GeneratorRecipe, workspace: Workspace) -> Outcome:
    """From pictures to a promoted generator. Each line is found if it was made before."""
    step = workspace.step

    # 1  collect and prepare
    pictures = _prepare(recipe, workspace)

    # 2 and 3  choose the family, train
    training = GeneratorConfig(family=recipe.family, settings=recipe.settings, ask=recipe.ask, fit=recipe.fit)
    others = list[Artifact]()
    if recipe.ask == "text":
        encoding = CaptionsConfig(encoder=recipe.encoder)
        reading_texts = "genwerk.generators.captions:embed_captions"
        others.append(step(reading_texts, encoding, pictures, fetch_source(recipe.encoder), kind="vectors"))
    if recipe.codec is not None:
        usual: Config = settings_of(recipe.family, {}).codec  # type: ignore[attr-defined]
        coding = GeneratorConfig(family=CODECS[recipe.family], ask="nothing", fit=recipe.codec.fit,
                                 settings=recipe.codec.settings or usual.model_dump(mode="json"))  # fmt: skip
        others.append(step("genwerk.generators.train:train_generator", coding, pictures, kind="codec"))
    generator = step("genwerk.generators.train:train_generator", training, pictures, *others, kind="generator")

    if recipe.reflow is not None:
        pairs = step("genwerk.generators.reflow:draw_pairs", recipe.reflow.pairs, generator, kind="pairs")
        again = training.model_copy(update={"fit": recipe.reflow.fit})
        generator = step("genwerk.generators.train:train_generator", again, pairs, generator, kind="generator")

    # measure, report, and let the gates decide
    features = step("genwerk.generators.features:train_features", recipe.features, pictures, kind="features")
    made = (generator, pictures, features)
    scoring = _SCORING.get(recipe.family, "genwerk.evaluation.generator:score_generator")
    scores = step(scoring, recipe.evaluate, *made, kind="scores")
    further = _further(recipe, workspace, made)
    reporting = ReportConfig(title=recipe.name, gates=recipe.gates)
    writing = "genwerk.evaluation.generator_report:write_generator_report"
    report = step(writing, reporting, scores, generator, *further, kind="report")
    parts = {"pictures": pictures, "generator": generator, "features": features, "scores": scores, "report": report}
    return promote(workspace, _role(recipe), recipe.name, parts)


def _prepare(recipe: GeneratorRecipe, workspace: Workspace) -> Artifact:
    """Pictures; where the recipe says so they are played scores, or they move."""
    step = workspace.step
    first = recipe.pictures[0]
    specs = COLLECTIONS.get(first, recipe.pictures)
    sources = [fetch_source(spec) if spec in KNOWN else Source.of_folder(Path(spec).name, Path(spec)) for spec in specs]
    license_ = recipe.license or _license(first)
    if recipe.sound is not None:
        scores = SequencesConfig(layout="chorales", longest=_LONGEST, variants=False, holdout=recipe.holdout,
                                 license=license_)  # fmt: skip
        sequences = step("genwerk.data.sequences:prepare_sequences", scores, *sources, kind="sequences")
        return step("genwerk.data.sound:play_scores", recipe.sound, sequences, kind="pictures")
    reading = PicturesConfig(layout=first if first in COLLECTIONS else "folder", size=recipe.size,
                             colours=recipe.colours, holdout=recipe.holdout, license=license_)  # fmt: skip
    pictures = step("genwerk.data.pictures:prepare_pictures", reading, *sources, kind="pictures")
    if recipe.clips is None:
        return pictures
    return step("genwerk.data.moving_digits:move_pictures", recipe.clips, pictures, kind="pictures")


def _further(
    recipe: GeneratorRecipe, workspace: Workspace, made: tuple[Artifact, Artifact, Artifact]
) -> Iterator[Artifact]:
    """What else is measured of the generator, where the recipe says so."""
    if recipe.transfer is not None:
        turns = recipe.features.model_copy(update={"tell": "turns"})
        content = workspace.step("genwerk.generators.features:train_features", turns, made[1], kind="features")
        scoring = "genwerk.evaluation.transfer:score_transfer"
        yield workspace.step(scoring, recipe.transfer, *made, content, kind="transfers")
    if recipe.attribute is not None:
        scoring = "genwerk.evaluation.attributes:score_attribute"
        yield workspace.step(scoring, recipe.attribute, *made, kind="attributes")


def _license(name: str) -> str:
    """Of a collection; what is in its parts, where it has no licence of its own."""
    if name in KNOWN:
        return KNOWN[name].license
    return "; ".join(KNOWN[part].license for part in COLLECTIONS.get(name, ())) or "unspecified"


def run_generator(path: Path, workspace: Workspace) -> bool:
    """Run a recipe and say what came of it; whether it was promoted."""
    recipe = load_generator_recipe(path)
    print_choices(recipe)
    print_choices(settings_of(recipe.family, recipe.settings), title=f"settings of {recipe.family}")
    outcome = run_generator_recipe(recipe, workspace)
    model = outcome.parts["generator"].id[:8]
    page = f"; on a page: genwerk serve {recipe.name}" if outcome.promoted else ""
    drawing = f"genwerk generate --model {model} --out grid.png{page}"
    enlarging = f"genwerk enlarge PICTURE --model {model} --out large.png"
    print_generator(outcome, enlarging if _role(recipe) == "enlarging" else drawing)
    return outcome.promoted


def _role(recipe: GeneratorRecipe) -> str:
    """What enlarges draws nothing of itself, so it is not served beside those that do."""
    return "enlarging" if recipe.family == "super_resolution" else "generating"
