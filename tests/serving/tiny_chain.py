"""A whole chain in little: real steps on a few real documents, with an encoder of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics

import tokenizers
import torch
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer
from transformers import BertConfig, BertModel

from genwerk.core.config import Config
from genwerk.core.workspace import Artifact, Source, Step, Workspace
from genwerk.data.prepare import PrepareConfig
from genwerk.guardrails.policy import GuardsConfig
from genwerk.retrieval.building import IndexConfig
from genwerk.retrieval.fitting import FitConfig
from genwerk.tokenizers.bpe import TrainTokenizerConfig
from genwerk.training.pretrain import PretrainConfig
from genwerk.training.tokenise import TokeniseConfig

NAME = "handbook"
TOPICS = ("with", "assert", "lambda", "while", "del", "pass", "return", "import", "try", "if", "in", "integers")
SIGNS = """# Signs 𝄞 and 😀

Musicians write the treble clef 𝄞 at the left of the staff. The smiling face 😀 came much later.

# Help desk

The help desk of the reading room answers questions about borrowing under desk@library.example on every working day.
"""


def write_documents(folder: Path) -> None:
    """Twelve topics of the Python language reference, and a text with characters beyond the first plane."""
    folder.mkdir(parents=True)
    for name in TOPICS:
        (folder / f"{name}.txt").write_text(topics[name], encoding="utf-8")
    (folder / "signs.md").write_text(SIGNS, encoding="utf-8")


def write_encoder(folder: Path, texts: list[str]) -> None:
    """A BERT of 2 layers and 32 numbers per token, with a tokenizer learnt from `texts`."""
    tokenizer = tokenizers.Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(texts, WordPieceTrainer(vocab_size=800, special_tokens=special, show_progress=False))
    pair = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=pair)
    torch.manual_seed(7)
    shape = BertConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2,
                       num_attention_heads=2, intermediate_size=64, max_position_embeddings=256)  # fmt: skip
    BertModel(shape, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


class ReportConfig(Config):
    """What the made-up report says."""

    title: str = "Evaluation of handbook"


def make_report(config: ReportConfig, step: Step, *parts: Artifact) -> dict[str, float]:
    """A report and gates in the shape of the real ones."""
    page = (
        f"<!doctype html><title>{config.title}</title><style>body{{font:16px/1.6 sans-serif;margin:3rem auto;"
        f"max-width:44rem}}</style><h1>{config.title}</h1><p>Every citation re-slices exactly.</p>"
    )
    (step.out / "report.html").write_text(page, encoding="utf-8")
    result = {"gate": "citations.valid == 1", "measure": "citations.valid", "op": "==", "bound": 1.0, "value": 1.0,
              "passed": True, "reason": "measured 1, met == 1"}  # fmt: skip
    (step.out / "gates.json").write_text(json.dumps({"passed": True, "results": [result]}), encoding="utf-8")
    return {"citations.valid": 1.0, "retrieval.ndcg@10": 0.71}


def make_deployment(root: Path) -> Workspace:
    """Prepare, train, tokenise, pretrain, index, fit, report, promote."""
    write_documents(root / "documents")
    write_encoder(root / "encoder", [topics[name] for name in TOPICS] + [SIGNS])
    workspace = Workspace(root / "workspace")
    step = workspace.step
    files = Source.of_folder("documents", root / "documents")
    encoder = Source.of_folder(str(root / "encoder"), root / "encoder")
    prepare = PrepareConfig(sources=(str(root / "documents"),), holdout=0.2)
    dataset = step("genwerk.data.prepare:prepare", prepare, files, kind="dataset")
    vocabulary = TrainTokenizerConfig(vocab_size=512)
    tokenizer = step("genwerk.tokenizers.bpe:train_tokenizer", vocabulary, dataset, kind="tokenizer")
    tokens = step("genwerk.training.tokenise:tokenise", TokeniseConfig(), dataset, tokenizer, kind="tokens")
    training = PretrainConfig(depth=1, steps=18, batch_tokens=256, context=64, warmup=4, eval_every=3, eval_tokens=256)
    model = step("genwerk.training.pretrain:pretrain", training, tokens, tokenizer, kind="model")
    parts = {"dataset": dataset, "model": model, "adapter": tune(workspace, model, dataset)}
    parts["index"] = step("genwerk.retrieval.building:build_index", IndexConfig(), dataset, encoder, kind="index")
    fitting = FitConfig(n_questions=20)
    parts["fit"] = step(
        "genwerk.retrieval.fitting:fit_retrieval", fitting, parts["index"], encoder, dataset, kind="fit"
    )
    parts["report"] = step(make_report, ReportConfig(), *parts.values(), kind="report")
    notes = {"name": NAME, "embedder": str(root / "encoder"), "guards": GuardsConfig().model_dump(mode="json")}
    workspace.pin(f"serving-{NAME}", {part: artifact.id for part, artifact in parts.items()} | notes)
    return workspace


def tune(workspace: Workspace, model: Artifact, dataset: Artifact) -> Artifact:
    """An adapter of four steps."""
    from genwerk.alignment.sft import SFTConfig

    config = SFTConfig(rank=4, steps=4, batch=2, warmup=1, max_tokens=1500, max_examples=24, eval_examples=2)
    return workspace.step("genwerk.alignment.sft:train_sft", config, model, dataset, kind="adapter")
