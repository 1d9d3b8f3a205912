"""Writes how tiktoken, which is Tekken's own tokenizer, spells words and random texts with the demo
model's vocabulary, into tests/c/spellings.txt (PYTHONPATH=tests python -m oracle.write_spellings).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from random import Random

import tiktoken

ROOT = Path(__file__).parents[2]
WORDS = (
    "Ljubljana", "Voxtral", "voxtral", "LibreOffice", "iPhone", "McDonald", "OpenAI", "GPT-4o",
    "São Paulo", "Zürich", "Łódź", "Škofja Loka", "Čapek", "naïve", "Ångström", "ǅungla",
    "İstanbul", "don't", "O'Brien", "rock'n'roll", "AT&T", "C++", "C#", ".NET", "e-mail",
    "www.example.org/a/b", "2024", "3.14", "10 000", "B12", "x86-64", "ABC", "ABCdef", "abcDEF",
    "aBcDeF", "NASA's", "Москва", "Россия", "Αθήνα", "ΑΘΗΝΑ", "القاهرة", "ירושלים", "नई दिल्ली",
    "東京", "東京タワー", "서울", "กรุงเทพ", "e\u0301te\u0301", "\u0301a", "A\u0301B", "ﬁre", "ªº",
    "x²", "½ cup", "№ 5", "Ⅷ", "ʰa", "🙂 yes", "👩‍💻", "“Voxtral”", "(a)", "...", " / ", "a//b",
    "!?/", "_a_b", "a\u00a0b", "a\u2003 b", "a  b", "a \r b", "a. \r/", "\u3000x",
    "\U0001d4d0bc", "\U00010400\U00010428",
)  # fmt: skip
# What random texts are made of: some characters of every kind of the pattern.
POOL = "aabcABCéÉßñÑжЖδΔǅʰªאक中あア한01٢²½Ⅷ..,-'/!?_€+🙂\u0301\u093e\u200d    \u00a0\u2003\r"


def texts() -> list[str]:
    r = Random(0)
    random = ["".join(r.choices(POOL, k=r.randint(1, 14))) for _ in range(500)]
    return [form for word in WORDS for form in (word, f" {word}")] + random


def main() -> None:
    tekken = json.loads((ROOT / "demo" / "tekken.json").read_text(encoding="utf-8"))
    n_special = tekken["config"]["default_num_special_tokens"]
    n = tekken["config"]["default_vocab_size"] - n_special
    ranks = {base64.b64decode(e["token_bytes"]): e["rank"] for e in tekken["vocab"][:n]}
    encoding = tiktoken.Encoding(
        "demo", pat_str=tekken["config"]["pattern"], mergeable_ranks=ranks, special_tokens={}
    )
    lines = []
    for text in texts():
        tokens = encoding.encode(text, disallowed_special=())
        lines.append(f"{text}\t{' '.join(str(n_special + token) for token in tokens)}\n")
    (ROOT / "tests" / "c" / "spellings.txt").write_text("".join(lines), "utf-8", newline="")


if __name__ == "__main__":
    main()
