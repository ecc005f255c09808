"""Haystack's indexing pipeline over a folder, in its own environment: prints seconds and chunks as JSON.

python haystack_pipeline.py FOLDER MODEL CHARS THREADS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from haystack import Pipeline
from haystack.components.converters import DOCXToDocument, HTMLToDocument, PyPDFToDocument
from haystack.components.joiners import DocumentJoiner
from haystack.components.preprocessors import RecursiveDocumentSplitter
from haystack.components.routers import FileTypeRouter
from haystack.components.writers import DocumentWriter
from haystack.dataclasses import Document
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import ComponentDevice
from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
CONVERTERS = {"text/html": HTMLToDocument, "application/pdf": PyPDFToDocument, DOCX: DOCXToDocument}


def main(folder: str, model: str, chars: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    store = InMemoryDocumentStore()
    device = ComponentDevice.from_str("cpu")
    embedder = SentenceTransformersDocumentEmbedder(model=model, device=device, batch_size=32, progress_bar=False)
    embedder.warm_up()
    embedder.run([Document(content="warm")])
    pipeline = Pipeline()
    pipeline.add_component("router", FileTypeRouter(list(CONVERTERS)))
    pipeline.add_component("joiner", DocumentJoiner())
    for number, (kind, converter) in enumerate(CONVERTERS.items()):
        pipeline.add_component(f"converter{number}", converter())
        pipeline.connect(f"router.{kind}", f"converter{number}.sources")
        pipeline.connect(f"converter{number}", "joiner")
    # Without its separator "sentence", which fetches rules of NLTK.
    splitter = RecursiveDocumentSplitter(
        split_length=int(chars), split_overlap=0, split_unit="char", separators=["\n\n", "\n", ". ", " "]
    )
    pipeline.add_component("splitter", splitter)
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("writer", DocumentWriter(store))
    for one, other in (("joiner", "splitter"), ("splitter", "embedder"), ("embedder", "writer")):
        pipeline.connect(one, other)
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    start = time.perf_counter()
    pipeline.run({"router": {"sources": files}})
    print(json.dumps({"seconds": time.perf_counter() - start, "chunks": store.count_documents()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
