"""LlamaIndex's ingestion pipeline over a folder, in its own environment: prints seconds and chunks as JSON.

python llamaindex.py FOLDER MODEL CHARS THREADS
"""

from __future__ import annotations

import json
import sys
import time

import torch
from llama_index.core import SimpleDirectoryReader
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.readers.file import DocxReader, HTMLTagReader, PDFReader


def main(folder: str, model: str, chars: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    embedder = HuggingFaceEmbedding(model, device="cpu", embed_batch_size=32)
    embedder.get_text_embedding("warm")
    # Its length of a text is that of what the tokenizer gives: characters, as the others count.
    splitter = SentenceSplitter(
        chunk_size=int(chars), chunk_overlap=0, tokenizer=lambda text: text, include_metadata=False
    )
    readers = {".html": HTMLTagReader(tag="body"), ".pdf": PDFReader(), ".docx": DocxReader()}
    start = time.perf_counter()
    documents = SimpleDirectoryReader(folder, exclude_hidden=False, recursive=True, file_extractor=readers).load_data()
    for document in documents:  # which it would embed with every chunk
        document.excluded_embed_metadata_keys = list(document.metadata)
    store = SimpleVectorStore()
    nodes = IngestionPipeline(transformations=[splitter, embedder], vector_store=store).run(documents=documents)
    print(json.dumps({"seconds": time.perf_counter() - start, "chunks": len(nodes)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
