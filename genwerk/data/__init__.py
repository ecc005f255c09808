"""Floor 1: files become cleaned, deduplicated documents with a ledger of every change, and examples made of them."""
