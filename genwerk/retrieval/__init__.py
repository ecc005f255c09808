"""Retrieval: chunks, embeddings, one SQLite index, hybrid search, citations that can be checked, grounded answers."""
